//! ^C and SIGTERM as messages.

use std::io;
use std::thread;

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

/// From now on, SIGINT, SIGTERM and SIGHUP arrive here instead of ending the process.
pub(crate) fn listen() -> io::Result<Receiver<StopRequest>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(StopRequest { signal }).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Does what the `count`th request to stop asks for.
pub(crate) fn obey(request: StopRequest, count: u32, engine: &Engine, console: &Console) {
    match count {
        1 => {
            engine.brake();
            console.note("pepita: no new job starts; waiting for those that run (^C kills them)");
        }
        2 => {
            engine.kill_all();
            console.note("pepita: killing the jobs that run");
        }
        // The kernel ends the jobs with the threads that serve them.
        _ => std::process::exit(request.exit_code().into()),
    }
}
