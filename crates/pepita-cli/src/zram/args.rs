//! The command line of `pepita zram`.

use std::ffi::OsString;

use clap::{Subcommand, ValueEnum};

pub(crate) const HELP: &str = "\
Examples:
  pepita zram analyze disk.img         what compressed memory would make of a file or a disk
  pepita zram analyze 4711             the same for the memory of a process
  pepita zram stat                     what the zram disks of this host hold, pepita's and the kernel's
  pepita zram stat ublkb0 --raw mm_stat
  pepita ublk add -t zram --size 4GiB  makes such a disk

docs/zram.md is the guide.";

/// What to do with compressed memory.
#[derive(Debug, Subcommand)]
pub(crate) enum ZramCommand {
    /// Say what compressed memory would make of given data
    #[command(after_help = "\
Each page of 4 KiB is looked at as a zram device would: pages that repeat 8 bytes and pages that are there already take no
memory, the others are compressed in each way that there is. Nothing is stored or changed, and memory is bounded: from
3.5 GiB of distinct pages on, a part of them is looked at, and the rest follows from it.

Of a process, the pages are taken that would go to swap: those that it has written to, in memory or in swap. What it has
only read (the kernel's zero page) is left out, and so is a page of zeroes that it shares with a fork. It goes on meanwhile.
That needs the right to trace it: as the same user, or CAP_SYS_PTRACE.")]
    Analyze {
        /// A file, a disk, or the number of a process (`./4711` is a file)
        #[arg(value_name = "FILE|PID")]
        what: OsString,
    },
    /// Show what zram disks hold and have done, those of `pepita ublk` and the kernel's
    Stat {
        /// The disks: `ublkb0` or `zram0`, also with `/dev/`; all when left out
        #[arg(value_name = "DISK")]
        disks: Vec<String>,
        /// Print one line as /sys/block/zramN/LINE has it, byte for byte, of each disk
        #[arg(long, value_enum, value_name = "LINE")]
        raw: Option<RawLine>,
    },
}

/// A file of the kernel's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RawLine {
    /// Nine numbers: what is held
    #[value(name = "mm_stat")]
    Memory,
    /// Four numbers: what failed
    #[value(name = "io_stat")]
    Io,
    /// Three numbers: pages of the backing device
    #[value(name = "bd_stat")]
    Backing,
}
