//! [`Progress`]: a line on the terminal that says how far a command is.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use crate::run::signals;

/// The least time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);

/// Takes the line away.
const CLEAR: &[u8] = b"\r\x1b[K";

/// Shown where standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    begin: Instant,
    next: Instant,
}

impl Progress {
    /// If it is shown, ^C takes it away.
    pub(crate) fn new(is_json: bool) -> io::Result<Self> {
        let is_shown = !is_json && io::stderr().is_terminal();
        if is_shown {
            let requests = signals::listen()?;
            thread::spawn(move || {
                if let Ok(request) = requests.recv() {
                    let _ = io::stderr().write_all(CLEAR);
                    std::process::exit(request.exit_code().into());
                }
            });
        }
        let begin = Instant::now();
        Ok(Self {
            is_shown,
            begin,
            next: begin + INTERVAL,
        })
    }

    /// Draws the line that `line` makes of the time from the start on, unless the last one is too new.
    pub(crate) fn draw(&mut self, line: impl FnOnce(Duration) -> String) {
        let now = Instant::now();
        if !self.is_shown || now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let line = line(now.duration_since(self.begin));
        let _ = io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes());
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if self.is_shown {
            let _ = io::stderr().write_all(CLEAR);
        }
    }
}
