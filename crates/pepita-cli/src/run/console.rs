//! [`Console`]: standard output, standard error and the progress between them.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::bar::{Bar, Count, rate, time_left};
use super::closed::check_stdout;
use super::json::{Line, Summary};
use super::spool::Outputs;
use crate::units::show_duration;

/// How often a line of progress is written where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How often a run wakes to move its progress when nothing else happens.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Where a run shows itself.
#[derive(Debug)]
pub(crate) struct Console {
    stdout: io::Stdout,
    format: Format,
    progress: Progress,
    begin: Instant,
}

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A person, or the next program of a pipeline: the jobs' own output.
    Plain,
    /// A program: one JSON object a line.
    Json,
}

#[derive(Debug)]
enum Progress {
    Bar(Bar),
    Lines { next: Instant },
    Hidden,
}

/// Standard output is not read any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub(crate) struct OutputClosed(#[from] pub(crate) io::Error);

impl OutputClosed {
    /// Whether the reader went away, which is no error of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Console {
    /// Shows no progress unless it is told to.
    pub(crate) fn new(format: Format, show_progress: bool) -> Self {
        let begin = Instant::now();
        let progress = match (show_progress, io::stderr().is_terminal()) {
            (false, _) => Progress::Hidden,
            (true, false) => Progress::Lines {
                next: begin + PLAIN_INTERVAL,
            },
            (true, true) => Progress::Bar(Bar::new(begin)),
        };
        Self {
            stdout: io::stdout(),
            format,
            progress,
            begin,
        }
    }

    /// Who reads standard output.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Shows what a job printed, each stream where it belongs.
    pub(crate) fn outputs(&mut self, outputs: &mut Outputs) -> Result<(), OutputClosed> {
        if outputs.is_empty() {
            return Ok(());
        }
        let Outputs { stdout, stderr } = outputs;
        let is_open = if stdout.len() > 0 {
            check_stdout()
        } else {
            Ok(())
        };
        self.write_both(
            |out| is_open.and_then(|()| stdout.write_to(out)),
            |err| stderr.write_to(err),
        )
    }

    /// As [`outputs`](Self::outputs), of bytes in memory.
    pub(crate) fn bytes(&mut self, stdout: &[u8], stderr: &[u8]) -> Result<(), OutputClosed> {
        if stdout.is_empty() && stderr.is_empty() {
            return Ok(());
        }
        let is_open = if stdout.is_empty() {
            Ok(())
        } else {
            check_stdout()
        };
        self.write_both(
            |out| is_open.and_then(|()| out.write_all(stdout)),
            |err| err.write_all(stderr),
        )
    }

    fn write_both(
        &mut self,
        write_stdout: impl FnOnce(&mut Ending<io::StdoutLock<'_>>) -> io::Result<()>,
        write_stderr: impl FnOnce(&mut Ending<io::StderrLock<'_>>) -> io::Result<()>,
    ) -> Result<(), OutputClosed> {
        let stdout = &self.stdout;
        let has_bar = self.is_watched();
        self.progress.around(|| {
            let mut stderr = Ending::of(io::stderr().lock());
            // What standard error does not take has nowhere else to go.
            let _ = write_stderr(&mut stderr);
            let _ = stderr.end_line(has_bar);
            let mut stdout = Ending::of(stdout.lock());
            write_stdout(&mut stdout)?;
            stdout.end_line(has_bar && io::stdout().is_terminal())?;
            Ok(stdout.flush()?)
        })
    }

    /// Writes one object, if a program reads.
    pub(crate) fn json(&mut self, line: &Line<'_>) -> Result<(), OutputClosed> {
        if self.format == Format::Json {
            let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
            text.push(b'\n');
            check_stdout()?;
            let mut stdout = self.stdout.lock();
            stdout.write_all(&text)?;
            stdout.flush()?;
        }
        Ok(())
    }

    /// Writes one line to standard output, if a person reads.
    pub(crate) fn print(&mut self, line: &[u8]) -> Result<(), OutputClosed> {
        check_stdout()?;
        let mut stdout = self.stdout.lock();
        stdout.write_all(line)?;
        stdout.write_all(b"\n")?;
        Ok(())
    }

    /// Tells the user something, on standard error.
    pub(crate) fn note(&mut self, message: &str) {
        match self.format {
            Format::Plain => self.progress.around(|| complain(message)),
            Format::Json => {
                let message = message.strip_prefix("pepita: ").unwrap_or(message);
                complain(&serde_json::json!({ "note": message }).to_string());
            }
        }
    }

    /// Whether a person watches the progress.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(self.progress, Progress::Bar(_))
    }

    /// Moves the progress on. `total` is the number of jobs as far as it is known.
    pub(crate) fn advance(&mut self, summary: &Summary, total: Option<u64>) {
        let count = Count {
            done: summary.settled(),
            failed: summary.failed,
            total,
        };
        match &mut self.progress {
            Progress::Hidden => {}
            Progress::Bar(bar) => bar.advance(count),
            Progress::Lines { next } => {
                let now = Instant::now();
                if now < *next {
                    return;
                }
                *next = now + PLAIN_INTERVAL;
                complain(&progress_line(count, now - self.begin));
            }
        }
    }

    /// Takes the progress away.
    pub(crate) fn finish(&mut self) {
        if let Progress::Bar(bar) = &mut self.progress {
            bar.clear();
        }
        self.progress = Progress::Hidden;
    }
}

/// Writes a line to standard error; where that is closed there is nobody to tell.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

impl Progress {
    /// Does something that writes, without tearing the bar apart.
    fn around<R>(&mut self, write: impl FnOnce() -> R) -> R {
        match self {
            Self::Bar(bar) => bar.around(write),
            _ => write(),
        }
    }
}

/// Writes through, and knows whether a line is left open at the end.
#[derive(Debug)]
struct Ending<W> {
    inner: W,
    last: u8,
}

impl<W: Write> Ending<W> {
    fn of(inner: W) -> Self {
        Self { inner, last: b'\n' }
    }

    /// Ends a line that was left open, if `is_wanted`.
    fn end_line(&mut self, is_wanted: bool) -> io::Result<()> {
        match self.last {
            b'\n' => Ok(()),
            _ if is_wanted => self.write_all(b"\n"),
            _ => Ok(()),
        }
    }
}

impl<W: Write> Write for Ending<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.last = bytes[..len].last().copied().unwrap_or(self.last);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// `pepita: 1200 of 4000 done, 2 failed, 120.0/s, 23.30 s left`.
fn progress_line(count: Count, elapsed: Duration) -> String {
    let mut line = match count.total {
        Some(total) => format!("pepita: {} of {total} done", count.done),
        None => format!("pepita: {} done", count.done),
    };
    if count.failed > 0 {
        line += &format!(", {} failed", count.failed);
    }
    if let Some(rate) = rate(count.done, elapsed) {
        line += &format!(", {rate:.1}/s");
    }
    if let Some(left) = time_left(count, elapsed) {
        line += &format!(", {} left", show_duration(left));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_tells_count_failures_rate_and_rest() {
        let line = |done, failed, total| {
            let count = Count {
                done,
                failed,
                total,
            };
            progress_line(count, Duration::from_secs(10))
        };
        assert_eq!(line(100, 0, None), "pepita: 100 done, 10.0/s");
        assert_eq!(
            line(100, 2, Some(400)),
            "pepita: 100 of 400 done, 2 failed, 10.0/s, 30.00 s left"
        );
        assert_eq!(line(0, 0, Some(400)), "pepita: 0 of 400 done");
    }

    #[test]
    fn a_line_that_was_left_open_is_ended_only_where_that_is_wanted() {
        for (text, is_wanted, want) in [
            ("open", true, "open\n"),
            ("open", false, "open"),
            ("whole\n", true, "whole\n"),
            ("", true, ""),
        ] {
            let mut bytes = Ending::of(Vec::new());
            bytes.write_all(text.as_bytes()).unwrap();
            bytes.end_line(is_wanted).unwrap();
            assert_eq!(bytes.inner, want.as_bytes());
        }
    }
}
