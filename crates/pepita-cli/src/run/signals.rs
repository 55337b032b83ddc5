//! ^C and SIGTERM as messages.

use std::time::{Duration, Instant};
use std::{fs, io, mem, thread};

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

/// A SIGTERM or SIGHUP that comes so soon after a request is a part of it: `timeout` sends its
/// signal to the program and then to its process group, a service manager SIGHUP after SIGTERM.
const TOGETHER: Duration = Duration::from_millis(100);

/// Tells which signals are requests.
#[derive(Debug, Default)]
struct Requests {
    last: Option<Instant>,
    is_hung_up: bool,
}

impl Requests {
    /// Whether `signal`, which arrived at `now`, asks for more than those before it.
    fn is_new(&mut self, signal: i32, now: Instant) -> bool {
        // The kernel and the shell both tell of a terminal that was closed.
        let is_told = signal == SIGHUP && mem::replace(&mut self.is_hung_up, true);
        let age = self.last.map(|last| now.saturating_duration_since(last));
        let is_part = signal != SIGINT && age.is_some_and(|age| age < TOGETHER);
        if is_told || is_part {
            return false;
        }
        self.last = Some(now);
        true
    }
}

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
            let mut requests = Requests::default();
            let mut first = None;
            let heard = signals.forever();
            let heard = heard.filter(|signal| requests.is_new(*signal, Instant::now()));
            for (index, signal) in heard.enumerate() {
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
    fn signals_that_are_sent_together_are_one_request() {
        let ms = Duration::from_millis;
        // Milliseconds from the start, and whether it is a request.
        for signals in [
            // `timeout`, and again by hand.
            &[
                (SIGTERM, 0, true),
                (SIGTERM, 1, false),
                (SIGTERM, 100, true),
            ][..],
            // A service manager.
            &[
                (SIGTERM, 0, true),
                (SIGHUP, 1, false),
                (SIGTERM, 5000, true),
            ],
            // A terminal that was closed, by a shell that took its time; then an impatient user.
            &[
                (SIGHUP, 0, true),
                (SIGHUP, 5000, false),
                (SIGTERM, 5001, true),
            ],
            // Keys are pressed one by one.
            &[(SIGINT, 0, true), (SIGINT, 1, true), (SIGINT, 2, true)],
            // What goes on without end is not one request.
            &[
                (SIGTERM, 0, true),
                (SIGTERM, 60, false),
                (SIGTERM, 120, true),
            ],
        ] {
            let mut requests = Requests::default();
            let start = Instant::now();
            for &(signal, at, want) in signals {
                let is_new = requests.is_new(signal, start + ms(at));
                assert_eq!(is_new, want, "{signal} at {at} ms of {signals:?}");
            }
        }
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read_in_hexadecimal() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001003\n";
        assert_eq!(ignored_signals(status), 0x1003);
        assert_eq!(ignored_signals(""), 0);
    }
}
