//! [`Console`]: standard output, standard error and the progress between them.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

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
    Bar(ProgressBar),
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
    /// `total` is the number of jobs, if it is known.
    pub(crate) fn new(format: Format, show_progress: bool, total: Option<u64>) -> Self {
        let begin = Instant::now();
        let progress = match (show_progress, io::stderr().is_terminal()) {
            (false, _) => Progress::Hidden,
            (true, false) => Progress::Lines {
                next: begin + PLAIN_INTERVAL,
            },
            (true, true) => Progress::Bar(bar(total)),
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
        let Outputs { stdout, stderr } = outputs;
        if stdout.len() == 0 && stderr.len() == 0 {
            return Ok(());
        }
        self.write_both(|out| stdout.write_to(out), |err| stderr.write_to(err))
    }

    /// As [`outputs`](Self::outputs), of bytes in memory.
    pub(crate) fn bytes(&mut self, stdout: &[u8], stderr: &[u8]) -> Result<(), OutputClosed> {
        if stdout.is_empty() && stderr.is_empty() {
            return Ok(());
        }
        self.write_both(|out| out.write_all(stdout), |err| err.write_all(stderr))
    }

    fn write_both(
        &mut self,
        write_stdout: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
        write_stderr: impl FnOnce(&mut io::StderrLock<'_>) -> io::Result<()>,
    ) -> Result<(), OutputClosed> {
        let stdout = &self.stdout;
        self.progress.around(|| {
            // What standard error does not take has nowhere else to go.
            let _ = write_stderr(&mut io::stderr().lock());
            let mut stdout = stdout.lock();
            write_stdout(&mut stdout)?;
            Ok(stdout.flush()?)
        })
    }

    /// Writes one object, if a program reads.
    pub(crate) fn json(&mut self, line: &Line<'_>) -> Result<(), OutputClosed> {
        if self.format == Format::Json {
            let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
            text.push(b'\n');
            let mut stdout = self.stdout.lock();
            stdout.write_all(&text)?;
            stdout.flush()?;
        }
        Ok(())
    }

    /// Writes one line to standard output, if a person reads.
    pub(crate) fn print(&mut self, line: &[u8]) -> Result<(), OutputClosed> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(line)?;
        stdout.write_all(b"\n")?;
        Ok(())
    }

    /// Tells the user something, on standard error.
    pub(crate) fn note(&self, message: &str) {
        self.progress.around(|| complain(message));
    }

    /// Whether a person watches the progress.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(self.progress, Progress::Bar(_))
    }

    /// Moves the progress on. `total` is the number of jobs as far as it is known.
    pub(crate) fn advance(&mut self, summary: &Summary, total: Option<u64>) {
        let done = summary.done() + summary.cancelled + summary.skipped;
        match &mut self.progress {
            Progress::Hidden => {}
            Progress::Bar(bar) => {
                if let Some(total) = total.filter(|total| bar.length() != Some(*total)) {
                    bar.set_style(style(true));
                    bar.set_length(total);
                }
                bar.set_position(done);
                if summary.failed > 0 {
                    bar.set_message(format!("{} failed", summary.failed));
                }
            }
            Progress::Lines { next } => {
                let now = Instant::now();
                if now < *next {
                    return;
                }
                *next = now + PLAIN_INTERVAL;
                let line = progress_line(done, summary.failed, total, now - self.begin);
                complain(&line);
            }
        }
    }

    /// Takes the progress away.
    pub(crate) fn finish(&mut self) {
        if let Progress::Bar(bar) = &self.progress {
            bar.finish_and_clear();
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
    fn around<R>(&self, write: impl FnOnce() -> R) -> R {
        match self {
            Self::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    bar.with_style(style(total.is_some()))
}

fn style(has_total: bool) -> ProgressStyle {
    let template = match has_total {
        true => "{bar:30} {pos}/{len} {rate}, {eta} left {msg}",
        false => "{spinner} {pos} done, {rate} {msg}",
    };
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // Text grows; it does not fail.
        let _ = write!(text, "{:.1}/s", state.per_sec());
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", rate)
}

/// `pepita: 1200 of 4000 done, 2 failed, 120.0/s, 23.30 s left`.
fn progress_line(done: u64, failed: u64, total: Option<u64>, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = match total {
        Some(total) => format!("pepita: {done} of {total} done"),
        None => format!("pepita: {done} done"),
    };
    if failed > 0 {
        line += &format!(", {failed} failed");
    }
    line += &format!(", {rate:.1}/s");
    if let Some(total) = total.filter(|_| rate > 0.0) {
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let left = total.saturating_sub(done) as f64 / rate;
        // A time beyond what a duration can hold is not shown.
        if let Ok(left) = Duration::try_from_secs_f64(left) {
            line += &format!(", {} left", show_duration(left));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_tells_count_failures_rate_and_rest() {
        let line =
            |done, failed, total| progress_line(done, failed, total, Duration::from_secs(10));
        assert_eq!(line(100, 0, None), "pepita: 100 done, 10.0/s");
        assert_eq!(
            line(100, 2, Some(400)),
            "pepita: 100 of 400 done, 2 failed, 10.0/s, 30.00 s left"
        );
        assert_eq!(line(0, 0, Some(400)), "pepita: 0 of 400 done, 0.0/s");
    }
}
