//! `pepita zram stat`.

use std::{fs, io};

use serde_json::{Value, json};

use super::args::RawLine;
use super::figures::{BdStat, Figures, IoStat, MmStat};
use super::{Problem, Shown, export, printable};
use crate::ublk::record::RunDir;
use crate::units::show_size;

/// A disk, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// `/dev/ublkbN`.
    Ublk(u32),
    /// `/dev/zramN`.
    Kernel(u32),
}

impl Disk {
    fn parse(text: &str) -> Result<Self, Problem> {
        let name = text.strip_prefix("/dev/").unwrap_or(text);
        let number = |prefix| {
            let digits: &str = name.strip_prefix(prefix)?;
            let number: u32 = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        };
        match (number("ublkb"), number("zram")) {
            (Some(id), _) => Ok(Self::Ublk(id)),
            (_, Some(id)) => Ok(Self::Kernel(id)),
            _ => Err(Problem::Usage(format!(
                "{} is no zram disk; expected ublkb0 or zram0, or /dev/ before it",
                printable(text)
            ))),
        }
    }
}

/// A disk that does not say what it holds, and why.
#[derive(Debug)]
struct Silent {
    disk: String,
    error: io::Error,
}

/// What `pepita zram stat` shows.
pub(super) fn run(names: &[String], raw: Option<RawLine>, is_json: bool) -> Result<Shown, Problem> {
    if raw.is_some() && is_json {
        return Err(Problem::Usage(
            "--raw is not JSON: leave out --json".to_owned(),
        ));
    }
    let dir = RunDir::new();
    let named = names.iter().map(|name| Disk::parse(name));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let (figures, silent) = match named.is_empty() {
        true => all(&dir)?,
        false => {
            let each = named.into_iter().map(|disk| one(&dir, disk));
            (each.collect::<Result<_, _>>()?, Vec::new())
        }
    };
    let problems = silent
        .iter()
        .map(|silent| Problem::of(&silent.disk, &silent.error));
    let mut failed: Vec<Problem> = problems.collect();
    let text = if let Some(line) = raw {
        let mut text = String::new();
        for figures in &figures {
            match as_raw(figures, line) {
                Ok(line) => text += &line,
                Err(problem) => failed.push(problem),
            }
        }
        text
    } else if is_json {
        as_json(&figures, &silent).to_string() + "\n"
    } else if figures.is_empty() && failed.is_empty() {
        "no zram disks; `pepita ublk add -t zram --size 4GiB` makes one\n".to_owned()
    } else {
        let texts: Vec<String> = figures.iter().map(as_text).collect();
        texts.join("\n")
    };
    Ok(Shown { text, failed })
}

/// What a disk that was named says.
fn one(dir: &RunDir, disk: Disk) -> Result<Figures, Problem> {
    match disk {
        Disk::Ublk(id) => match (export::ask(dir, id), dir.ids()) {
            (Ok(Some(figures)), _) => Ok(figures),
            (_, Err(no_dir)) => Err(no_dir.into()),
            (Err(error), _) => Err(Problem::of(format_args!("ublkb{id}"), &error)),
            (Ok(None), Ok(_)) => Err(Problem::Failed(format!(
                "ublkb{id} is no zram disk of pepita; `pepita ublk list` shows what it is"
            ))),
        },
        Disk::Kernel(id) => kernel(id).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Problem::Failed(format!(
                "there is no zram{id}; `modprobe zram` and /sys/class/zram-control make one"
            )),
            _ => Problem::of(format_args!("zram{id}"), &error),
        }),
    }
}

/// What all disks say that are there and in use.
fn all(dir: &RunDir) -> Result<(Vec<Figures>, Vec<Silent>), Problem> {
    let (mut figures, mut silent) = (Vec::new(), Vec::new());
    let mut note = |disk: String, said: io::Result<Option<Figures>>| match said {
        Ok(said) => figures.extend(said),
        Err(error) => silent.push(Silent { disk, error }),
    };
    for id in dir.ids()? {
        note(format!("ublkb{id}"), export::ask(dir, id));
    }
    for id in ids_in("/sys/block", "zram")? {
        let said = match kernel(id) {
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            said => said.map(|figures| Some(figures).filter(|figures| figures.bytes > 0)),
        };
        note(format!("zram{id}"), said);
    }
    Ok((figures, silent))
}

/// Numbers that follow `prefix` in names of a directory, ascending; none if there is no such directory.
fn ids_in(dir: &str, prefix: &str) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(prefix));
        ids.extend(id.and_then(|id| id.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// What the kernel says of `zramN`.
///
/// Source: `Documentation/admin-guide/blockdev/zram.rst`.
fn kernel(id: u32) -> io::Result<Figures> {
    let read = |name: &str| fs::read_to_string(format!("/sys/block/zram{id}/{name}"));
    let algorithms = read("comp_algorithm")?;
    Ok(Figures {
        disk: format!("zram{id}"),
        bytes: numbers::<1>(&read("disksize")?)?[0],
        compressor: chosen(&algorithms).to_owned(),
        mm_stat: MmStat::from(numbers(&read("mm_stat")?)?),
        io_stat: IoStat::from(numbers(&read("io_stat")?)?),
        bd_stat: match read("bd_stat") {
            Ok(line) => Some(BdStat::from(numbers(&line)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        },
        more: None,
    })
}

/// The first `N` numbers of a line: later kernels may have more.
fn numbers<const N: usize>(line: &str) -> io::Result<[u64; N]> {
    let mut words = line.split_ascii_whitespace().map(str::parse);
    let mut numbers = [0; N];
    for number in &mut numbers {
        let word = words.next().and_then(Result::ok);
        *number = word.ok_or_else(|| io::Error::other(format!("{N} numbers expected: {line}")))?;
    }
    Ok(numbers)
}

/// The one in brackets: `lzo [lz4] zstd`.
fn chosen(algorithms: &str) -> &str {
    let from = algorithms.split_once('[').map(|(_, from)| from);
    let chosen = from.and_then(|from| from.split_once(']'));
    chosen.map_or(algorithms.trim(), |(chosen, _)| chosen)
}

fn as_json(figures: &[Figures], silent: &[Silent]) -> Value {
    let mut disks: Vec<Value> = figures.iter().map(|figures| json!(figures)).collect();
    disks.extend(
        silent
            .iter()
            .map(|Silent { disk, error }| json!({ "disk": disk, "error": error.to_string() })),
    );
    json!({ "disks": disks })
}

fn as_raw(figures: &Figures, line: RawLine) -> Result<String, Problem> {
    let disk = &figures.disk;
    Ok(match (line, &figures.bd_stat) {
        (RawLine::Memory, _) => format!("{}\n", figures.mm_stat.line()),
        (RawLine::Io, _) => format!("{}\n", figures.io_stat.line()),
        (RawLine::Backing, Some(bd_stat)) => format!("{}\n", bd_stat.line()),
        (RawLine::Backing, None) => {
            let why = match disk.starts_with("zram") {
                true => "this kernel was built without CONFIG_ZRAM_WRITEBACK",
                false => "its server does not tell it",
            };
            return Err(Problem::Failed(format!("{disk} has no bd_stat: {why}")));
        }
    })
}

fn as_text(figures: &Figures) -> String {
    let Figures {
        disk,
        bytes,
        compressor,
        mm_stat: mm,
        io_stat: io,
        ..
    } = figures;
    let limit = match mm.mem_limit {
        0 => "no limit".to_owned(),
        limit => format!("limit {}", show_size(limit)),
    };
    let compressor = printable(compressor);
    let mut text = format!("/dev/{disk}: {}, {compressor}\n", show_size(*bytes));
    let mut row = |what: &str, value: String| text += &format!("  {what:<16}{value}\n");
    row("stored", show_size(mm.orig_data_size));
    row(
        "compressed",
        format!(
            "{}{}",
            show_size(mm.compr_data_size),
            over(mm.orig_data_size, mm.compr_data_size)
        ),
    );
    row(
        "memory",
        format!(
            "{}{}, at most {}, {limit}",
            show_size(mm.mem_used_total),
            over(mm.orig_data_size, mm.mem_used_total),
            show_size(mm.mem_used_max)
        ),
    );
    if let Some(more) = &figures.more {
        row("books", show_size(more.metadata_bytes));
    }
    let mut kinds = format!("{} same-filled, ", mm.same_pages);
    if let Some(more) = &figures.more {
        kinds += &format!("{} duplicate, ", more.duplicate_pages);
    }
    row("pages", format!("{kinds}{} incompressible", mm.huge_pages));
    if let Some(more) = &figures.more {
        row(
            "done",
            format!("{} reads, {} writes", more.num_reads, more.num_writes),
        );
    }
    row(
        "failed",
        format!("{} reads, {} writes", io.failed_reads, io.failed_writes),
    );
    if let Some(more) = figures.more.as_ref().filter(|more| more.corrupt_reads > 0) {
        row("corrupt", format!("{} reads", more.corrupt_reads));
    }
    if let Some(bd) = figures.bd_stat.as_ref().filter(|bd| bd.bd_writes > 0) {
        row(
            "written back",
            format!(
                "{} pages, {} read, {} written",
                bd.bd_count, bd.bd_reads, bd.bd_writes
            ),
        );
    }
    text
}

/// `, 2.63 × less`.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn over(of: u64, to: u64) -> String {
    match to {
        0 => String::new(),
        to => format!(", {:.2} × less", of as f64 / to as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_named_with_or_without_its_directory() {
        for (text, want) in [
            ("ublkb3", Some(Disk::Ublk(3))),
            ("/dev/ublkb3", Some(Disk::Ublk(3))),
            ("zram0", Some(Disk::Kernel(0))),
            ("/dev/zram12", Some(Disk::Kernel(12))),
            ("sda", None),
            ("3", None),
            ("zram", None),
            ("zram/../x", None),
            ("ublkb+0", None),
            ("ublkb00", None),
            ("zram007", None),
        ] {
            assert_eq!(Disk::parse(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(chosen("lzo-rle lzo [lz4] zstd\n"), "lz4");
        assert_eq!(chosen("lz4\n"), "lz4");
        assert_eq!(numbers("  1  22 0 3\n").unwrap(), [1, 22, 0, 3]);
        assert_eq!(numbers("1 2 3 4\n").unwrap(), [1, 2]);
        assert!(numbers::<3>("1 2\n").is_err());
        assert!(numbers::<1>("-1\n").is_err());
    }

    #[test]
    fn a_disk_without_data_is_shown_without_ratios() {
        let figures = Figures {
            disk: "zram0".into(),
            bytes: 1 << 30,
            compressor: "lz4".into(),
            mm_stat: MmStat::from([0; 9]),
            io_stat: IoStat::from([0, 2, 0, 0]),
            bd_stat: None,
            more: None,
        };
        let text = as_text(&figures);
        assert!(text.starts_with("/dev/zram0: 1 GiB, lz4\n"), "{text}");
        assert!(text.contains("0 reads, 2 writes"), "{text}");
        assert!(!text.contains('×'), "{text}");
        let raw = as_raw(&figures, RawLine::Io).unwrap();
        assert_eq!(raw, "       0        2 0        0\n");
        for (disk, why) in [
            ("zram0", "zram0 has no bd_stat: this kernel was built"),
            ("ublkb0", "ublkb0 has no bd_stat: its server"),
        ] {
            let disk = disk.to_owned();
            let figures = Figures {
                disk,
                ..figures.clone()
            };
            let error = as_raw(&figures, RawLine::Backing).unwrap_err();
            assert!(error.to_string().starts_with(why), "{error}");
        }
        let figures = Figures {
            compressor: "a\x1b[2J\nb".into(),
            ..figures
        };
        let text = as_text(&figures);
        assert!(
            text.starts_with("/dev/zram0: 1 GiB, a\\u{1b}[2J\\nb\n"),
            "{text}"
        );
    }
}
