//! ^C and SIGTERM as messages.

use std::time::Duration;
use std::{fs, io, thread};

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::console::Console;
use super::engine::Engine;

/// A request to stop, by the number of its signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopRequest {
    signal: i32,
}

impl StopRequest {
    /// The exit code that tells a shell of this signal.
    pub(crate) fn exit_code(self) -> u8 {
        u8::try_from(128 + self.signal).unwrap_or(u8::MAX)
    }
}

/// How long after the third request the program is still here: as long as it takes to kill what
/// runs and to take its control group away, unless something hangs.
const PATIENCE: Duration = Duration::from_millis(300);

/// From now on, SIGINT, SIGTERM and SIGHUP arrive here instead of ending the process.
///
/// Those that were ignored when the program began, as `nohup` and a shell's `&` have it, stay so.
pub(crate) fn listen() -> io::Result<Receiver<StopRequest>> {
    let ignored = ignored_signals(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let is_heard = |signal: &i32| *signal == SIGTERM || ignored & (1 << (signal - 1)) == 0;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP].into_iter().filter(is_heard))?;
    let (sender, receiver) = unbounded();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut first = None;
            for (index, signal) in signals.forever().enumerate() {
                let request = StopRequest { signal };
                let first = *first.get_or_insert(request);
                // A run that is at its end hears no more, and may hang there.
                let _ = sender.send(request);
                if index >= 2 {
                    thread::sleep(PATIENCE);
                    std::process::exit(first.exit_code().into());
                }
            }
        })?;
    Ok(receiver)
}

/// The mask of `SigIgn` in the text of `/proc/PID/status`.
fn ignored_signals(status: &str) -> u64 {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0)
}

/// Does what the `count`th request to stop asks for.
pub(crate) fn obey(count: u32, engine: &Engine, console: &mut Console) {
    match count {
        1 => {
            engine.brake();
            console.note("pepita: no new job starts; waiting for those that run (^C kills them)");
        }
        2 => {
            engine.kill_all();
            console.note("pepita: killing the jobs that run");
        }
        // The thread that listens exits soon; until then the jobs can be killed as whole trees.
        _ => engine.kill_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read_in_hexadecimal() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001003\n";
        assert_eq!(ignored_signals(status), 0x1003);
        assert_eq!(ignored_signals(""), 0);
    }
}
