//! The command line of `pepita ublk`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pepita::io::compose::FaultPlan;
use pepita::ublk::{UBLK_F_NEED_GET_DATA, UBLK_F_USER_COPY};
use serde::{Deserialize, Serialize};

use crate::units::parse_size;

pub(crate) const HELP: &str = "\
Examples:
  pepita ublk add -t ram --size 1GiB                 a RAM disk, /dev/ublkb0
  pepita ublk add -t zram --size 4GiB --swap         compressed memory, for swap
  pepita ublk add -t file --file disk.img --direct   a file as a disk, past the page cache
  pepita ublk add -t file --file disk.img --recovery reissue
  pepita ublk add -t stripe --file a.img --file b.img --chunk 64KiB
  pepita ublk add -t fault --file disk.img --plan 'write sectors=0..2048 error=EIO'
  pepita ublk add -t zoned --size 1GiB --zone-size 4MiB --conventional 8
  pepita ublk recover 0                              serve it again when its server was killed
  pepita ublk list
  pepita ublk del 0

Needs Linux 6.4 or later with the ublk driver (`modprobe ublk_drv`) and CAP_SYS_ADMIN;
`pepita doctor` says what is here.";

/// What to do with disks.
#[derive(Debug, Subcommand)]
pub(crate) enum UblkCommand {
    /// Make a disk and serve it
    #[command(after_help = "\
The command returns when the disk is there; a process of its own goes on to serve it, until
`pepita ublk del`. With --foreground this process serves it, until it gets SIGINT or SIGTERM.
What is served is noted in /run/pepita/ublk, beside the log of the process.")]
    Add(Box<AddArgs>),
    /// Stop disks and delete them
    Del(DelArgs),
    /// Show the disks of this host
    List,
    /// Show who made a disk, as numbers of user and group, for a rule of udev
    #[command(hide = true)]
    Owner(OwnerArgs),
    /// Show what this host's driver can do, and since which kernel
    Features,
    /// Serve a disk again whose server is gone; it waits if it was made with --recovery
    Recover(RecoverArgs),
}

/// `pepita ublk add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What holds the data
    #[arg(short = 't', long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: Kind,
    /// The size of a disk without a file; the least size of a file
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) size: Option<u64>,
    /// The most memory of `-t zram`; writes that need more fail with ENOSPC
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) mem_limit: Option<u64>,
    /// The file or block device that holds the data; of `-t stripe` each member, in their order
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// What goes to one member of `-t stripe` before the next one has its turn
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) chunk: Option<u64>,
    /// The faults of `-t fault`, such as `write error=EIO nth=3; read delay=10ms chance=0.1`: see docs/ublk.md
    #[arg(long, value_name = "PLAN", value_parser = parse_plan)]
    pub(crate) plan: Option<String>,
    #[command(flatten)]
    pub(crate) zones: ZoneArgs,
    /// Go past the page cache of the file
    #[arg(long, requires = "file")]
    pub(crate) direct: bool,
    /// Refuse writes to the file
    #[arg(long, requires = "file")]
    pub(crate) read_only: bool,
    /// The disk is /dev/ublkbID; the driver chooses when left out
    #[arg(short = 'n', long, value_name = "ID")]
    pub(crate) id: Option<u32>,
    #[command(flatten)]
    pub(crate) queues: Queues,
    /// What becomes of the disk when its server is killed
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Recovery::None)]
    pub(crate) recovery: Recovery,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The zones of `-t zoned`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ZoneArgs {
    /// The size of a zone of `-t zoned`: a power of two
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) zone_size: Option<u64>,
    /// How many of the first zones can be written anywhere
    #[arg(long, value_name = "N", default_value_t = 0, requires = "zone_size")]
    pub(crate) conventional: u32,
    /// The most zones that are open at a time; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0, requires = "zone_size")]
    pub(crate) max_open: u32,
    /// The most zones that are begun and not full at a time; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0, requires = "zone_size")]
    pub(crate) max_active: u32,
}

/// How a disk's requests reach its server.
#[derive(Debug, Clone, Copy, Args, Serialize, Deserialize)]
pub(crate) struct Queues {
    /// Queues, each with a thread; at most one for each CPU
    #[arg(short = 'q', long, value_name = "N", default_value_t = 1)]
    pub(crate) queues: u16,
    /// Requests in flight in each queue
    #[arg(short = 'd', long, value_name = "N", default_value_t = 64)]
    pub(crate) depth: u16,
    /// The most bytes of a request, of which each has memory
    #[arg(long, value_name = "SIZE", value_parser = parse_io_bytes, default_value = "512KiB")]
    pub(crate) max_io: u32,
    /// Who copies the data of requests
    #[arg(long, value_enum, value_name = "MODE", default_value_t = CopyMode::Driver)]
    #[serde(default)]
    pub(crate) copy: CopyMode,
    /// The same as --copy user
    #[arg(long, conflicts_with = "copy")]
    pub(crate) user_copy: bool,
    /// For a disk that is swap: all memory of the server is locked, and its threads get memory without waiting
    /// for swap
    #[arg(long)]
    #[serde(default)]
    pub(crate) swap: bool,
    /// The disk is this user's, who needs no rights but a rule of udev: see docs/ublk.md
    #[arg(long, conflicts_with = "user_copy")]
    #[serde(default)]
    pub(crate) unprivileged: bool,
}

impl Queues {
    /// Who copies, however that was asked for.
    pub(crate) const fn copy_mode(&self) -> CopyMode {
        if self.user_copy {
            return CopyMode::User;
        }
        self.copy
    }
}

/// Who copies the data of requests, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CopyMode {
    /// The driver does, into and from memory that the server holds for each request
    #[default]
    Driver,
    /// The driver does, and asks before each write where its data goes
    GetData,
    /// The server does, by a system call for each request
    User,
}

impl CopyMode {
    /// The flag by which the driver is asked for it.
    pub(crate) const fn flag(self) -> u64 {
        match self {
            Self::Driver => 0,
            Self::GetData => UBLK_F_NEED_GET_DATA,
            Self::User => UBLK_F_USER_COPY,
        }
    }

    /// That of a device with `flags`.
    pub(crate) const fn of_flags(flags: u64) -> Self {
        if flags & UBLK_F_USER_COPY != 0 {
            return Self::User;
        }
        if flags & UBLK_F_NEED_GET_DATA != 0 {
            return Self::GetData;
        }
        Self::Driver
    }

    /// As it is asked for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::GetData => "get-data",
            Self::User => "user",
        }
    }
}

/// Who serves.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ServerArgs {
    /// Serve from this process, until it is told to stop
    #[arg(long)]
    pub(crate) foreground: bool,
    /// This process is the one that serves, and tells who started it when the disk is there.
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) hand_over: bool,
}

/// `pepita ublk del`.
#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// The disks, by the number in their name
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<u32>,
    /// All of this host
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Also those that are mounted, swap, or part of another device; kills a server that does not answer
    #[arg(long)]
    pub(crate) force: bool,
}

/// `pepita ublk owner`.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// The disk, by the number in its name
    #[arg(value_name = "ID")]
    pub(crate) id: u32,
}

/// `pepita ublk recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The disk, by the number in its name
    #[arg(value_name = "ID")]
    pub(crate) id: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What holds the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Nothing does: reads are zeroes or old memory of the server, for measuring
    Null,
    /// Memory of the server, taken as it is written
    Ram,
    /// Memory of the server, compressed
    Zram,
    /// Memory of the server, in zones that are written in order
    Zoned,
    /// A file or block device of the host
    File,
    /// Several of them, by turns
    Stripe,
    /// One of them, with faults by a plan
    Fault,
}

/// What becomes of a disk whose server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Recovery {
    /// It goes away
    None,
    /// It waits for `pepita ublk recover`; requests that the server had are errors
    Plain,
    /// It waits, and those requests are given to the next server again
    Reissue,
}

/// The text of a plan, if it is one.
fn parse_plan(text: &str) -> Result<String, String> {
    let plan = text.parse::<FaultPlan>();
    plan.map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

fn parse_io_bytes(text: &str) -> Result<u32, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    u32::try_from(bytes).map_err(|_| "expected at most 32MiB".into())
}
