//! [`Process`]: pages of another process, which goes on meanwhile.
//!
//! Source: `Documentation/filesystems/proc.rst` (`maps`, `mem`), `Documentation/admin-guide/mm/pagemap.rst`.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

use super::Problem;
use super::source::Page;

const PAGE: u64 = size_of::<Page>() as u64;

/// Pages whose entries of pagemap are read at once.
const ENTRIES: usize = 8192;

/// Bits of an entry of pagemap: in memory; in swap; of a file, or shared; mapped by this process alone.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// Beginnings of the names of mappings that are shared, and go to swap nevertheless.
const SHARED_MEMORY: [&str; 4] = ["/memfd:", "/SYSV", "/dev/zero", "/dev/shm/"];

/// The pages of a process that would go to swap.
pub(super) struct Process {
    pid: String,
    mem: File,
    pagemap: File,
    /// Bytes that it has about.
    bytes: Option<u64>,
    /// Mappings that were not looked at, the last one first.
    mappings: Vec<Mapping>,
    /// Runs of pages that are to be read, the last one first.
    runs: Vec<Run>,
    unreadable: u64,
}

/// Pages that follow each other, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    range: Range<u64>,
    /// Those of them that are zero are the kernel's zero page, which memory is that was only read.
    may_be_unwritten: bool,
}

/// What is left of a mapping, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    range: Range<u64>,
    is_shared_memory: bool,
}

impl Process {
    pub(super) fn open(pid: &str) -> Result<Self, Problem> {
        let fail = |error: io::Error| {
            Problem::Failed(match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::SRCH) => {
                    format!("there is no process {pid}; a file of this name is `./{pid}`")
                }
                Some(Errno::ACCESS | Errno::PERM) => format!(
                    "the memory of process {pid} is not to be read: that needs the same user (and \
                     /proc/sys/kernel/yama/ptrace_scope 0), or root with CAP_SYS_PTRACE"
                ),
                _ => format!("process {pid}: {error}"),
            })
        };
        let open = |name: &str| File::open(format!("/proc/{pid}/{name}")).map_err(fail);
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(fail)?;
        let mut mappings: Vec<_> = maps.lines().filter_map(mapping).collect();
        if mappings.is_empty() {
            return Err(Problem::Failed(format!(
                "process {pid} has no memory of its own: it is a thread of the kernel, or has ended"
            )));
        }
        mappings.reverse();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(fail)?;
        Ok(Self {
            pid: pid.to_owned(),
            mem: open("mem")?,
            pagemap: open("pagemap")?,
            bytes: swappable_bytes(&status),
            mappings,
            runs: Vec::new(),
            unreadable: 0,
        })
    }

    pub(super) fn name(&self) -> String {
        format!("process {}", self.pid)
    }

    pub(super) const fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    pub(super) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Reads the next pages, of one run: none at the end.
    pub(super) fn read(&mut self, chunk: &mut [Page]) -> Result<usize, Problem> {
        loop {
            let Some(run) = self.runs.last_mut() else {
                if !self.find_runs()? {
                    return Ok(0);
                }
                continue;
            };
            let range = &mut run.range;
            if range.is_empty() {
                self.runs.pop();
                continue;
            }
            let pages = usize::try_from((range.end - range.start) / PAGE).unwrap_or(usize::MAX);
            let pages = pages.min(chunk.len());
            let read = self
                .mem
                .read_at(chunk[..pages].as_flattened_mut(), range.start);
            let whole = match read {
                Ok(0) => return Err(self.has_ended()),
                Ok(len) => len / size_of::<Page>(),
                // What is no memory (a device's), or went away.
                Err(_) => 0,
            };
            if whole == 0 {
                self.unreadable += 1;
                range.start += PAGE;
                continue;
            }
            range.start += whole as u64 * PAGE;
            let pages = match run.may_be_unwritten {
                true => without_zeroes(&mut chunk[..whole]),
                false => whole,
            };
            if pages > 0 {
                return Ok(pages);
            }
        }
    }

    /// Looks at the next part of the mappings; false at the end.
    fn find_runs(&mut self) -> Result<bool, Problem> {
        let Some(mapping) = self.mappings.last_mut() else {
            return Ok(false);
        };
        let mut entries = [0; ENTRIES * 8];
        let first = mapping.range.start;
        let pages = (mapping.range.end - first) / PAGE;
        let wanted = usize::try_from(pages).unwrap_or(ENTRIES).min(ENTRIES);
        let read = self
            .pagemap
            .read_at(&mut entries[..wanted * 8], first / PAGE * 8);
        let entries = match read {
            Ok(0) => return Err(self.has_ended()),
            Ok(len) => entries[..len].as_chunks().0,
            Err(error) => return Err(Problem::of(format_args!("process {}", self.pid), &error)),
        };
        let is_shared_memory = mapping.is_shared_memory;
        self.runs = runs(first, entries, is_shared_memory);
        mapping.range.start += entries.len() as u64 * PAGE;
        if mapping.range.is_empty() {
            self.mappings.pop();
        }
        Ok(true)
    }

    fn has_ended(&self) -> Problem {
        Problem::Failed(format!("process {} has ended meanwhile", self.pid))
    }
}

/// Runs of pages that would go to swap, of those from `first` on, the last one first.
fn runs(first: u64, entries: &[[u8; 8]], is_shared_memory: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, entry) in (first..).step_by(size_of::<Page>()).zip(entries) {
        let entry = u64::from_ne_bytes(*entry);
        let is_there = entry & (PRESENT | SWAPPED) != 0;
        if !is_there || (entry & OF_FILE != 0 && !is_shared_memory) {
            continue;
        }
        // The zero page is nobody's alone. Pages that are shared with a fork look so too.
        let may_be_unwritten = entry & (PRESENT | OF_FILE | EXCLUSIVE) == PRESENT;
        match runs.last_mut() {
            Some(run) if run.range.end == at && run.may_be_unwritten == may_be_unwritten => {
                run.range.end += PAGE;
            }
            _ => runs.push(Run {
                range: at..at + PAGE,
                may_be_unwritten,
            }),
        }
    }
    runs.reverse();
    runs
}

/// Moves the pages that are not zero to the front, in their order, and says how many those are.
fn without_zeroes(pages: &mut [Page]) -> usize {
    let mut kept = 0;
    for at in 0..pages.len() {
        if pages[at].iter().any(|byte| *byte != 0) {
            pages.swap(kept, at);
            kept += 1;
        }
    }
    kept
}

/// A line of `maps`: `55a0-55b0 rw-p 00000000 00:00 0   /memfd:name`; none for what nobody may read.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    let may_read = words.next()?.starts_with('r');
    let name = words.nth(3).unwrap_or_default();
    // The kernel's page of system calls is at an address that no process has.
    let is_process = range.start < range.end && range.start < 1 << 63;
    (may_read && is_process).then(|| Mapping {
        range,
        is_shared_memory: SHARED_MEMORY.iter().any(|begin| name.starts_with(begin)),
    })
}

/// What `/proc/PID/status` counts of memory that would go to swap, or is there.
fn swappable_bytes(status: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some((kib("RssAnon:")? + kib("RssShmem:")? + kib("VmSwap:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_can_be_read_are_found() {
        for (line, want) in [
            (
                "1000-3000 rw-p 00000000 00:00 0 ",
                Some((0x1000..0x3000, false)),
            ),
            (
                "1000-2000 rw-s 00000000 00:01 12   /memfd:a b (deleted)",
                Some((0x1000..0x2000, true)),
            ),
            (
                "1000-2000 r-xp 00000000 08:01 9 /bin/sh",
                Some((0x1000..0x2000, false)),
            ),
            ("1000-2000 ---p 00000000 00:00 0", None),
            (
                "ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0 [vsyscall]",
                None,
            ),
            ("2000-1000 rw-p 0 0 0", None),
            ("", None),
        ] {
            let want = want.map(|(range, is_shared_memory)| Mapping {
                range,
                is_shared_memory,
            });
            assert_eq!(mapping(line), want, "{line}");
        }
    }

    #[test]
    fn pages_in_memory_or_swap_that_are_no_files_are_runs() {
        let entries = [
            PRESENT | EXCLUSIVE,
            SWAPPED | 5,
            0,
            PRESENT | OF_FILE,
            PRESENT | EXCLUSIVE | 7,
            PRESENT,
        ];
        let entries = entries.map(u64::to_ne_bytes);
        let run = |range, may_be_unwritten| Run {
            range,
            may_be_unwritten,
        };
        let unwritten = run(0x6000..0x7000, true);
        let private = [run(0x5000..0x6000, false), run(0x1000..0x3000, false)];
        let shared = [run(0x4000..0x6000, false), run(0x1000..0x3000, false)];
        for (is_shared_memory, written) in [(false, private), (true, shared)] {
            let found = runs(0x1000, &entries, is_shared_memory);
            assert_eq!(found[0], unwritten);
            assert_eq!(found[1..], written);
        }
    }

    #[test]
    fn memory_that_was_only_read_is_left_out() {
        const HALF: usize = 16 << 20;
        let mut memory = vec![0_u8; 2 * HALF];
        assert_eq!(memory.iter().position(|byte| *byte != 0), None);
        memory[..HALF].fill(1);
        let first = (memory.as_ptr() as u64).next_multiple_of(PAGE);
        let mut process = Process::open(&std::process::id().to_string()).unwrap();
        process.mappings = vec![Mapping {
            range: first..first + 2 * HALF as u64 - PAGE,
            is_shared_memory: false,
        }];
        let mut chunk = vec![[0; size_of::<Page>()]; 256];
        let mut pages = 0;
        loop {
            match process.read(&mut chunk).unwrap() {
                0 => break,
                read => pages += read,
            }
        }
        // A huge page may be where written memory ends.
        let written = HALF / size_of::<Page>();
        assert!((written - 1..written + 512).contains(&pages), "{pages}");
        assert_eq!(memory.last(), Some(&0));
    }

    #[test]
    fn memory_that_would_go_to_swap_is_counted() {
        let status = "VmRSS:\t 900 kB\nRssAnon:\t  12 kB\nRssFile:\t 7 kB\nRssShmem:\t 4 kB\nVmSwap:\t 8 kB\n";
        assert_eq!(swappable_bytes(status), Some(24 << 10));
        assert_eq!(swappable_bytes("Name:\tkthreadd\n"), None);
    }
}
