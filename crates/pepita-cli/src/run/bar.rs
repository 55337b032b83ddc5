//! [`Bar`]: the line of progress at the foot of a terminal.

use std::env;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::units::show_duration;

/// The least time between two drawings, but for those after an output.
const INTERVAL: Duration = Duration::from_millis(100);
/// The columns of a terminal that does not say.
const COLUMNS: usize = 80;
/// The columns of the bar itself, where there is room.
const BAR_COLUMNS: usize = 30;

/// How far a run is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Jobs in all, if that is known.
    pub(super) total: Option<u64>,
}

/// A line on standard error that is taken away for every output and drawn again after it.
#[derive(Debug)]
pub(super) struct Bar {
    begin: Instant,
    next: Instant,
    count: Count,
    is_drawn: bool,
    charset: Charset,
}

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Unicode,
}

impl Bar {
    pub(super) fn new(begin: Instant) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|name| env::var(name).ok())
            .find(|value| !value.is_empty());
        Self {
            begin,
            next: begin,
            count: Count::default(),
            is_drawn: false,
            charset: charset(&locale.unwrap_or_default()),
        }
    }

    /// Shows `count`, unless it was drawn a moment ago.
    pub(super) fn advance(&mut self, count: Count) {
        self.count = count;
        let now = Instant::now();
        if now >= self.next {
            self.next = now + INTERVAL;
            self.draw();
        }
    }

    /// Does something that writes to the terminal, without tearing the bar apart.
    pub(super) fn around<R>(&mut self, write: impl FnOnce() -> R) -> R {
        let was_drawn = self.is_drawn;
        self.clear();
        let written = write();
        if was_drawn {
            self.draw();
        }
        written
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            put("\r\x1b[K");
        }
    }

    fn draw(&mut self) {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let columns = match size.map(|size| usize::from(size.ws_col)) {
            Ok(columns) if columns > 0 => columns,
            _ => COLUMNS,
        };
        let line = line(self.count, self.begin.elapsed(), columns, self.charset);
        put(&format!("\r{line}\x1b[K"));
        self.is_drawn = true;
    }
}

/// In one write; where standard error is closed there is nobody to tell.
fn put(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

fn charset(locale: &str) -> Charset {
    let locale = locale.to_ascii_lowercase();
    match locale.contains("utf-8") || locale.contains("utf8") {
        true => Charset::Unicode,
        false => Charset::Ascii,
    }
}

/// `█████▌    12/40 3.2/s, 8.75 s left, 2 failed`, shorter than `columns`, so that it never wraps.
fn line(count: Count, elapsed: Duration, columns: usize, charset: Charset) -> String {
    let room = columns.saturating_sub(1);
    let mut text = match count.total {
        Some(total) => format!("{}/{total}", count.done),
        None => format!("{} done", count.done),
    };
    let bar_room = room.saturating_sub(text.len() + 1);
    let mut bar = String::new();
    if let Some(total) = count.total.filter(|total| *total > 0)
        && bar_room >= 10
    {
        bar = filled(
            count.done,
            total,
            bar_room.min(BAR_COLUMNS).min(room / 3),
            charset,
        ) + " ";
    }
    let left = time_left(count, elapsed).map(|left| format!("{} left", show_duration(left)));
    let failed = (count.failed > 0).then(|| format!("{} failed", count.failed));
    let rate = rate(count.done, elapsed).map(|rate| format!("{rate:.1}/s"));
    // What matters most comes first, and the rest where there is room.
    for part in [failed, left, rate].into_iter().flatten() {
        let part = match charset {
            Charset::Ascii => part.replace('µ', "u"),
            Charset::Unicode => part,
        };
        let len = [&bar, &text, &part].map(|part| part.chars().count());
        if len.iter().sum::<usize>() + 2 <= room {
            text = text + ", " + &part;
        }
    }
    (bar + &text).chars().take(room).collect()
}

fn filled(done: u64, total: u64, width: usize, charset: Charset) -> String {
    let cells = u128::from(done.min(total)) * width as u128 / u128::from(total);
    let cells = usize::try_from(cells).unwrap_or(width);
    let (full, empty) = match charset {
        Charset::Ascii => ("#", "-"),
        Charset::Unicode => ("█", "░"),
    };
    full.repeat(cells) + &empty.repeat(width - cells)
}

/// Jobs a second, as soon as one is done.
pub(super) fn rate(done: u64, elapsed: Duration) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    (done > 0).then_some(rate)
}

/// How long the rest takes at the rate so far: unknown before the first job is done, and nothing
/// to speak of after the last.
pub(super) fn time_left(count: Count, elapsed: Duration) -> Option<Duration> {
    let rest = count
        .total?
        .checked_sub(count.done)
        .filter(|rest| *rest > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let left = rest as f64 / rate(count.done, elapsed)?;
    // A time beyond what a duration can hold is not shown.
    Duration::try_from_secs_f64(left).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(done: u64, failed: u64, total: Option<u64>, columns: usize) -> String {
        let count = Count {
            done,
            failed,
            total,
        };
        line(count, Duration::from_secs(10), columns, Charset::Ascii)
    }

    #[test]
    fn a_bar_shows_what_there_is_room_for() {
        let half = "###############---------------";
        assert_eq!(
            shown(20, 2, Some(40), 100),
            format!("{half} 20/40, 2 failed, 10.00 s left, 2.0/s")
        );
        assert_eq!(shown(20, 2, Some(40), 30), "####----- 20/40, 2 failed");
        assert_eq!(shown(20, 0, None, 80), "20 done, 2.0/s");
    }

    #[test]
    fn nothing_is_foretold_before_the_first_job_is_done() {
        let line = shown(0, 0, Some(40), 100);
        assert_eq!(line, "-".repeat(30) + " 0/40");
    }

    #[test]
    fn a_bar_never_fills_its_terminal_which_would_wrap_it() {
        for columns in 0..120 {
            for total in [None, Some(0), Some(7), Some(u64::MAX)] {
                let line = shown(7, 7, total, columns);
                assert!(line.len() < columns.max(1), "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn only_a_locale_of_utf_8_has_blocks() {
        assert_eq!(charset("de_DE.UTF-8"), Charset::Unicode);
        assert_eq!(charset("C.utf8"), Charset::Unicode);
        assert_eq!(charset("C"), Charset::Ascii);
        assert_eq!(charset(""), Charset::Ascii);
        let count = Count {
            done: 1,
            failed: 0,
            total: Some(2),
        };
        let line = line(count, Duration::from_micros(900), 80, Charset::Ascii);
        assert!(line.is_ascii(), "{line}");
    }
}
