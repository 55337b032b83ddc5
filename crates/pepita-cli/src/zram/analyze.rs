//! `pepita zram analyze`.
//!
//! This thread reads and counts; threads for the CPUs compress. What is on its way between them is bounded.

use std::ffi::OsStr;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use pepita::zram::analysis::{Analysis, AnalysisReport, Coders, GROUPS, NewPage, PageSizes};
use serde_json::{Value, json};

use super::source::{CHUNK, Next, Page, Source};
use super::{Problem, printable};
use crate::progress::Progress;
use crate::units::{show_duration, show_size};

/// Pages that a thread compresses before it says what came of them.
const BATCH: usize = 64;

/// Pages that are new.
type Batch = Vec<(NewPage, Page)>;

/// What became of them.
type Measured = Vec<(NewPage, PageSizes)>;

/// What `pepita zram analyze WHAT` shows.
pub(super) fn run(what: &OsStr, is_json: bool) -> Result<String, Problem> {
    let mut source = Source::open(what)?;
    let mut progress = Progress::new(is_json)?;
    let report = analyze(&mut source, &mut progress);
    progress.clear();
    let (report, name, lost) = (report?, source.name(), source.lost_bytes());
    if lost > 0 {
        let lost = show_size(lost);
        tracing::warn!(name, lost, "the file is shorter than it was at the start");
    }
    Ok(match is_json {
        true => as_json(&source, &report).to_string() + "\n",
        false => as_text(&printable(&name), &report, source.unreadable()),
    })
}

fn analyze(source: &mut Source, progress: &mut Progress) -> Result<AnalysisReport, Problem> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (to_do, batches) = bounded::<Batch>(2 * threads);
    let (say, measured) = unbounded::<Measured>();
    let mut analysis = Analysis::new();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (batches, say) = (batches.clone(), say.clone());
            scope.spawn(move || compress(&batches, &say));
        }
        drop((batches, say));
        let read = count(source, &mut analysis, &to_do, &measured, progress);
        // The threads end with what they have.
        drop(to_do);
        for (page, sizes) in measured.iter().flatten() {
            analysis.measured(page, sizes);
        }
        read
    })?;
    Ok(analysis.report())
}

/// Counts all pages, and sends those that are new to be compressed.
fn count(
    source: &mut Source,
    analysis: &mut Analysis,
    to_do: &Sender<Batch>,
    measured: &Receiver<Measured>,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let mut chunk = vec![[0; size_of::<Page>()]; CHUNK];
    let mut batch = Batch::with_capacity(BATCH);
    let mut pages = 0;
    loop {
        let next = source.read(&mut chunk)?;
        let read = match next {
            Next::Pages(read) => read,
            Next::Zeroes(left_out) => {
                analysis.add_zeroes(left_out);
                pages += left_out;
                0
            }
            Next::End => 0,
        };
        for page in &chunk[..read] {
            let Some(new) = analysis.add(page) else {
                continue;
            };
            batch.push((new, *page));
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Batch::with_capacity(BATCH));
                // They end after this.
                let _ = to_do.send(full);
            }
        }
        for (page, sizes) in measured.try_iter().flatten() {
            analysis.measured(page, sizes);
        }
        pages += read as u64;
        let done = pages * size_of::<Page>() as u64;
        progress.draw(|elapsed| line(done, source.bytes(), elapsed));
        if next == Next::End {
            let _ = to_do.send(batch);
            return Ok(());
        }
    }
}

fn compress(batches: &Receiver<Batch>, say: &Sender<Measured>) {
    let mut coders = Coders::new();
    for batch in batches {
        let measured = batch.iter().map(|(new, page)| (*new, coders.measure(page)));
        let _ = say.send(measured.collect());
    }
}

/// `512 MiB of 4 GiB, 80 MiB/s, 44.80 s left`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate and a time for people"
)]
fn line(done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let per_second = show_size(rate as u64);
    let rest = total
        .and_then(|total| total.checked_sub(done))
        .filter(|rest| *rest > 0);
    match (total, rest) {
        (Some(total), Some(rest)) => {
            let left = Duration::try_from_secs_f64(rest as f64 / rate.max(1.0));
            let left = left.map_or_else(|_| "unknown".to_owned(), show_duration);
            format!(
                "{} of {}, {per_second}/s, {left} left",
                show_size(done),
                show_size(total)
            )
        }
        _ => format!("{}, {per_second}/s", show_size(done)),
    }
}

fn as_json(source: &Source, report: &AnalysisReport) -> Value {
    let codecs = report.codecs.iter().map(|codec| {
        json!({
            "name": codec.name,
            "compressed_bytes": codec.compressed_bytes,
            "memory_bytes": codec.memory_bytes,
            "ratio": ratio(report.bytes(), codec.compressed_bytes),
            "incompressible_pages": codec.incompressible_pages,
            "histogram": codec.histogram,
        })
    });
    json!({
        "source": source.name(),
        "bytes": report.bytes(),
        "pages": report.pages,
        "zero_pages": report.zero_pages,
        "same_pages": report.same_pages,
        "distinct_pages": report.distinct_pages,
        "duplicate_pages": report.duplicate_pages,
        "unreadable_pages": source.unreadable(),
        "lost_bytes": source.lost_bytes(),
        "looked_at_one_in": report.looked_at_one_in,
        "codecs": codecs.collect::<Vec<_>>(),
    })
}

/// None where nothing is left.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

fn as_text(name: &str, report: &AnalysisReport, unreadable: u64) -> String {
    let mut text = format!(
        "{name}: {}, {} pages of 4 KiB\n\n",
        show_size(report.bytes()),
        report.pages
    );
    let other = report.same_pages - report.zero_pages;
    for (what, pages, note) in [
        ("zero", report.zero_pages, "take no memory"),
        ("repeat 8 bytes", other, "take no memory"),
        ("duplicate", report.duplicate_pages, "take no memory"),
        ("distinct", report.distinct_pages, "are compressed"),
    ] {
        let percent = percent(pages, report.pages);
        text += &format!("{what:<16} {pages:>12} {percent:>7}   {note}\n");
    }
    if unreadable > 0 {
        text += &format!(
            "{:<16} {unreadable:>12}           are left out\n",
            "unreadable"
        );
    }
    if report.looked_at_one_in > 1 {
        text += &format!(
            "One in {} distinct pages was looked at; the figures follow from those.\n",
            report.looked_at_one_in
        );
    }
    text += &format!(
        "\n{:<10} {:>12} {:>12} {:>8} {:>16}\n",
        "codec", "compressed", "memory", "ratio", "incompressible"
    );
    for codec in &report.codecs {
        let ratio = ratio(report.bytes(), codec.compressed_bytes);
        text += &format!(
            "{:<10} {:>12} {:>12} {:>8} {:>16}\n",
            codec.name,
            show_size(codec.compressed_bytes),
            show_size(codec.memory_bytes),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            codec.incompressible_pages,
        );
    }
    text + &histogram(report)
}

/// Distinct pages by their compressed size, of each codec that compresses; the bars are those of the first.
fn histogram(report: &AnalysisReport) -> String {
    let [lz4, fast, dense, _] = &report.codecs;
    let most = lz4.histogram.iter().copied().max().unwrap_or(0).max(1);
    let mut text = format!(
        "\n{:<12} {:>10} {:>10} {:>10}\n",
        "bytes a page", lz4.name, fast.name, dense.name
    );
    for group in 0..GROUPS {
        let (from, to) = (group * 256 + 1, (group + 1) * 256);
        let counts = [lz4, fast, dense].map(|codec| codec.histogram[group]);
        let cells = u128::from(counts[0]) * 30 / u128::from(most);
        let bar = "#".repeat(usize::try_from(cells).unwrap_or(0));
        let row = format!(
            "{from:>5}-{to:<6} {:>10} {:>10} {:>10}  {bar}",
            counts[0], counts[1], counts[2]
        );
        text += row.trim_end();
        text += "\n";
    }
    text
}

fn percent(part: u64, of: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(of.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_long_it_takes_where_the_end_is_known() {
        let second = Duration::from_secs(1);
        for (done, total, want) in [
            (
                64 << 20,
                Some(128 << 20),
                "64 MiB of 128 MiB, 64 MiB/s, 1.00 s left",
            ),
            (64 << 20, Some(1 << 20), "64 MiB, 64 MiB/s"),
            (64 << 20, None, "64 MiB, 64 MiB/s"),
        ] {
            assert_eq!(line(done, total, second), want);
        }
    }
}
