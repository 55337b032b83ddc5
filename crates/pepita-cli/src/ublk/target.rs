//! [`Target`]: what holds the data of a disk.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pepita::blk_mq::{BlockDevice, GeometryError, ZoneLimits};
use pepita::io::compose::{FaultDevice, FaultPlanError, StripeDevice, StripeError, ZonedBelow};
use pepita::io::{
    AnyDevice, FileDevice, FileDeviceError, FileOptions, NullDevice, RamDevice, ZonedRamDevice,
};
use pepita::zram::{ZramConfig, ZramDevice, ZramError};
use serde::{Deserialize, Serialize};

use super::args::{AddArgs, Kind, Recovery};
use crate::units::show_size;

/// Bytes of a sector, as block requests count them.
pub(super) const SECTOR_BYTES: u64 = 512;

/// What holds the data of a disk, so that another process can open it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Target {
    Null {
        bytes: u64,
    },
    Ram {
        bytes: u64,
    },
    Zram {
        bytes: u64,
        mem_limit: Option<u64>,
    },
    Zoned {
        bytes: u64,
        zone_bytes: u64,
        conventional: u32,
        /// 0 for no limit, as the next.
        max_open: u32,
        max_active: u32,
    },
    File(FileTarget),
    Stripe {
        /// In their order.
        members: Vec<FileTarget>,
        chunk_bytes: u64,
    },
    Fault {
        file: FileTarget,
        /// A [`FaultPlan`] as text.
        plan: String,
    },
}

/// What was opened; compressed memory also as what it is, for who tells of it.
pub(super) type Opened = (AnyDevice, Option<Arc<ZramDevice>>);

/// A file that holds data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileTarget {
    /// From the root.
    pub(super) path: PathBuf,
    pub(super) direct: bool,
    pub(super) read_only: bool,
}

/// Bytes of a chunk of a stripe, where nothing else is said: as of md's.
const CHUNK_BYTES: u64 = 512 << 10;

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("{0}")]
    Usage(String),
    #[error(
        "there is no file {}; `truncate --size SIZE {}` makes one",
        path.display(),
        path.display()
    )]
    NoFile { path: PathBuf },
    #[error(
        "{} is locked by another program; `pepita ublk list` shows whether it is served already",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: FileDeviceError,
    },
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Zram(#[from] ZramError),
    #[error(
        "{} is too small for a disk; `truncate --size SIZE {}` makes it larger",
        path.display(),
        path.display()
    )]
    Empty { path: PathBuf },
    #[error("{} has {}, {} are asked for", path.display(), show_size(*has), show_size(*asked))]
    TooSmall { path: PathBuf, has: u64, asked: u64 },
    #[error("the stripe has {}, {} are asked for", show_size(*has), show_size(*asked))]
    StripeTooSmall { has: u64, asked: u64 },
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Zoned(#[from] ZonedBelow),
    #[error(transparent)]
    Plan(#[from] FaultPlanError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

impl Target {
    /// What `args` ask for.
    pub(super) fn new(args: &AddArgs) -> Result<Self, TargetError> {
        let usage = |message: &str| Err(TargetError::Usage(message.to_owned()));
        let with_file = matches!(args.kind, Kind::File | Kind::Stripe | Kind::Fault);
        match args.kind {
            _ if args.chunk.is_some() && args.kind != Kind::Stripe => {
                usage("--chunk is for `-t stripe` alone")
            }
            _ if args.plan.is_some() && args.kind != Kind::Fault => {
                usage("--plan is for `-t fault` alone")
            }
            _ if args.zones.zone_size.is_some() && args.kind != Kind::Zoned => {
                usage("--zone-size is for `-t zoned` alone")
            }
            Kind::File => Ok(Self::File(FileTarget::only(args)?)),
            Kind::Fault => match &args.plan {
                None => usage("`-t fault` needs a plan: --plan 'write error=EIO nth=3'"),
                Some(plan) => Ok(Self::Fault {
                    file: FileTarget::only(args)?,
                    plan: plan.clone(),
                }),
            },
            Kind::Stripe => Self::stripe(args),
            _ if !args.file.is_empty() && !with_file => {
                usage("--file is for `-t file`, `stripe` and `fault`")
            }
            kind if args.mem_limit.is_some() && kind != Kind::Zram => {
                usage("--mem-limit is for `-t zram` alone")
            }
            Kind::Ram | Kind::Zram | Kind::Zoned if args.recovery != Recovery::None => {
                usage("the data is memory of the server, and goes with it: leave out --recovery")
            }
            kind => match args.size {
                None => usage("a disk without a file needs a size: --size 1GiB"),
                Some(bytes) if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) => {
                    usage("--size: expected a multiple of 512 bytes, and not zero")
                }
                Some(bytes) if kind == Kind::Zram && !bytes.is_multiple_of(4096) => {
                    usage("--size: compressed memory has pages: expected a multiple of 4096 bytes")
                }
                Some(bytes) if kind == Kind::Zoned => Self::zoned(args, bytes),
                Some(bytes) if kind == Kind::Ram => Ok(Self::Ram { bytes }),
                Some(bytes) if kind == Kind::Zram => Ok(Self::Zram {
                    bytes,
                    mem_limit: args.mem_limit,
                }),
                Some(bytes) => Ok(Self::Null { bytes }),
            },
        }
    }

    fn zoned(args: &AddArgs, bytes: u64) -> Result<Self, TargetError> {
        let usage = |message: &str| Err(TargetError::Usage(message.to_owned()));
        let zones = args.zones;
        let Some(zone_bytes) = zones.zone_size else {
            return usage("`-t zoned` needs the size of its zones: --zone-size 4MiB");
        };
        if args.queues.unprivileged {
            return usage(
                "the driver makes no zoned disks for users without rights: leave out --unprivileged",
            );
        }
        let (least, most) = (4096, 1 << 40);
        if !zone_bytes.is_power_of_two() || zone_bytes < least || zone_bytes > most {
            return usage("--zone-size: expected a power of two, 4KiB to 1TiB");
        }
        if !bytes.is_multiple_of(zone_bytes) {
            return usage("--size: expected a multiple of --zone-size");
        }
        let count = bytes / zone_bytes;
        let above = |zones: u32| u64::from(zones) > count;
        if above(zones.conventional) || above(zones.max_open) || above(zones.max_active) {
            return usage(&format!("there are {count} zones"));
        }
        if zones.max_active != 0 && zones.max_open > zones.max_active {
            return usage(
                "--max-open: expected no more than --max-active, since open zones are active",
            );
        }
        Ok(Self::Zoned {
            bytes,
            zone_bytes,
            conventional: zones.conventional,
            max_open: zones.max_open,
            max_active: zones.max_active,
        })
    }

    fn stripe(args: &AddArgs) -> Result<Self, TargetError> {
        let usage = |message: &str| Err(TargetError::Usage(message.to_owned()));
        if args.file.len() < 2 {
            return usage("`-t stripe` needs its members: --file PATH --file PATH …");
        }
        let chunk_bytes = args.chunk.unwrap_or(CHUNK_BYTES);
        if chunk_bytes == 0 || !chunk_bytes.is_multiple_of(SECTOR_BYTES) {
            return usage("--chunk: expected a multiple of 512 bytes, and not zero");
        }
        let members = args.file.iter().map(|path| FileTarget::new(path, args));
        let members: Vec<FileTarget> = members.collect::<Result<_, _>>()?;
        let mut seen = HashSet::new();
        for member in &members {
            if !seen.insert(member.file()?) {
                let path = member.path.display();
                return usage(&format!("{path} is a member twice"));
            }
        }
        Ok(Self::Stripe {
            members,
            chunk_bytes,
        })
    }

    /// Opens it; it has to have `least_bytes`.
    pub(super) fn open(&self, least_bytes: u64) -> Result<Opened, TargetError> {
        let device = match self {
            Self::Null { bytes } => AnyDevice::new(NullDevice::new(bytes / SECTOR_BYTES)),
            Self::Ram { bytes } => AnyDevice::new(RamDevice::new(bytes / SECTOR_BYTES)),
            Self::Zoned {
                bytes,
                zone_bytes,
                conventional,
                max_open,
                max_active,
            } => {
                // What does not fit is longer than any zone.
                let zone_sectors = u32::try_from(zone_bytes / SECTOR_BYTES).unwrap_or(u32::MAX);
                let limits = ZoneLimits {
                    max_open_zones: *max_open,
                    max_active_zones: *max_active,
                    ..ZoneLimits::new(zone_sectors)
                };
                let sectors = bytes / SECTOR_BYTES;
                AnyDevice::new(ZonedRamDevice::new(sectors, limits, *conventional)?)
            }
            Self::Zram { bytes, mem_limit } => {
                let device = zram(*bytes, *mem_limit)?;
                return Ok((AnyDevice::from(device.clone()), Some(device)));
            }
            Self::File(file) => AnyDevice::new(file.open(least_bytes)?),
            Self::Fault { file, plan } => {
                AnyDevice::new(FaultDevice::new(file.open(least_bytes)?, plan.parse()?)?)
            }
            Self::Stripe {
                members,
                chunk_bytes,
            } => {
                let members = members.iter().map(|member| member.open(0));
                let members: Vec<FileDevice> = members.collect::<Result<_, _>>()?;
                // A chunk that is longer than can be is longer than any member.
                let chunk = u32::try_from(chunk_bytes / SECTOR_BYTES).unwrap_or(u32::MAX);
                let stripe = StripeDevice::new(members, chunk)?;
                let has = stripe.geometry().capacity_sectors * SECTOR_BYTES;
                if has < least_bytes {
                    let asked = least_bytes;
                    return Err(TargetError::StripeTooSmall { has, asked });
                }
                AnyDevice::new(stripe)
            }
        };
        Ok((device, None))
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null { .. } => "null".to_owned(),
            Self::Ram { .. } => "ram".to_owned(),
            Self::Zoned {
                zone_bytes,
                conventional,
                ..
            } => match conventional {
                0 => format!("zoned, of {}", show_size(*zone_bytes)),
                count => format!("zoned, of {}, {count} conventional", show_size(*zone_bytes)),
            },
            Self::Zram { mem_limit, .. } => match mem_limit {
                Some(limit) => format!("zram, at most {} of memory", show_size(*limit)),
                None => "zram".to_owned(),
            },
            Self::File(file) => format!("file {}", file.describe()),
            Self::Fault { file, plan } => format!("file {} with faults: {plan}", file.describe()),
            Self::Stripe {
                members,
                chunk_bytes,
            } => {
                let members: Vec<String> = members.iter().map(FileTarget::describe).collect();
                let chunk = show_size(*chunk_bytes);
                format!("stripe by {chunk} over {}", members.join(" and "))
            }
        }
    }
}

impl FileTarget {
    /// The file that `args` name, as the only one.
    fn only(args: &AddArgs) -> Result<Self, TargetError> {
        match &*args.file {
            [path] => Self::new(path, args),
            [] => Err(TargetError::Usage(
                "`-t file` and `-t fault` need the file: --file PATH".to_owned(),
            )),
            _ => Err(TargetError::Usage(
                "several files are for `-t stripe`".to_owned(),
            )),
        }
    }

    fn new(path: &Path, args: &AddArgs) -> Result<Self, TargetError> {
        let path = path.canonicalize().map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => TargetError::NoFile { path },
                _ => TargetError::Path { path, source },
            }
        })?;
        Ok(Self {
            path,
            direct: args.direct,
            read_only: args.read_only,
        })
    }

    /// The numbers of the file, by whatever name: a disk's own, or those of its file system and inode.
    fn file(&self) -> Result<(u64, u64), TargetError> {
        let file = self.path.metadata().map_err(|source| {
            let path = self.path.clone();
            TargetError::Path { path, source }
        })?;
        Ok(match file.file_type().is_block_device() {
            true => (file.rdev(), 0),
            false => (file.dev(), file.ino()),
        })
    }

    /// Opens it; it has to have `least_bytes`.
    fn open(&self, least_bytes: u64) -> Result<FileDevice, TargetError> {
        let path = &self.path;
        let mut options = FileOptions::new().locked();
        if self.direct {
            options = options.direct();
        }
        if self.read_only {
            options = options.read_only();
        }
        let device = options.open(path).map_err(|source| {
            let path = path.clone();
            match source {
                FileDeviceError::Locked { .. } => TargetError::Locked { path },
                source => TargetError::File { path, source },
            }
        })?;
        let has = device.geometry().capacity_sectors * SECTOR_BYTES;
        if has == 0 {
            return Err(TargetError::Empty { path: path.clone() });
        }
        if has < least_bytes {
            return Err(TargetError::TooSmall {
                path: path.clone(),
                has,
                asked: least_bytes,
            });
        }
        Ok(device)
    }

    fn describe(&self) -> String {
        let direct = if self.direct { ", direct" } else { "" };
        let read_only = if self.read_only { ", read-only" } else { "" };
        format!("{}{direct}{read_only}", self.path.display())
    }
}

fn zram(bytes: u64, mem_limit: Option<u64>) -> Result<Arc<ZramDevice>, TargetError> {
    let mut config = ZramConfig::with_size(bytes);
    if let Some(limit) = mem_limit {
        config = config.mem_limit(limit);
    }
    Ok(Arc::new(ZramDevice::new(config)?))
}
