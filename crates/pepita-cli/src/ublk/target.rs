//! [`Target`]: what holds the data of a disk.

use std::io;
use std::path::PathBuf;

use pepita::blk_mq::BlockDevice;
use pepita::io::{AnyDevice, FileDevice, FileDeviceError, FileOptions, NullDevice, RamDevice};
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
    File {
        /// From the root.
        path: PathBuf,
        direct: bool,
        read_only: bool,
    },
}

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
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: FileDeviceError,
    },
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Zram(#[from] ZramError),
    #[error("{} has {}, {} are asked for", path.display(), show_size(*has), show_size(*asked))]
    TooSmall { path: PathBuf, has: u64, asked: u64 },
}

impl Target {
    /// What `args` ask for.
    pub(super) fn new(args: &AddArgs) -> Result<Self, TargetError> {
        let usage = |message: &str| Err(TargetError::Usage(message.to_owned()));
        match args.kind {
            Kind::File => match &args.file {
                None => usage("`-t file` needs the file: --file PATH"),
                Some(path) => Self::file(path, args),
            },
            _ if args.file.is_some() => usage("--file is for `-t file` alone"),
            kind if args.mem_limit.is_some() && kind != Kind::Zram => {
                usage("--mem-limit is for `-t zram` alone")
            }
            Kind::Ram | Kind::Zram if args.recovery != Recovery::None => {
                usage("the data is memory of the server, and goes with it: leave out --recovery")
            }
            kind => match args.size {
                None => usage("a disk without a file needs a size: --size 1GiB"),
                Some(bytes) if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) => {
                    usage("--size: expected a multiple of 512 bytes, and not zero")
                }
                Some(bytes) if kind == Kind::Ram => Ok(Self::Ram { bytes }),
                Some(bytes) if kind == Kind::Zram => Ok(Self::Zram {
                    bytes,
                    mem_limit: args.mem_limit,
                }),
                Some(bytes) => Ok(Self::Null { bytes }),
            },
        }
    }

    fn file(path: &std::path::Path, args: &AddArgs) -> Result<Self, TargetError> {
        let path = path.canonicalize().map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => TargetError::NoFile { path },
                _ => TargetError::Path { path, source },
            }
        })?;
        Ok(Self::File {
            path,
            direct: args.direct,
            read_only: args.read_only,
        })
    }

    /// Opens it; it has to have `least_bytes`.
    pub(super) fn open(&self, least_bytes: u64) -> Result<AnyDevice, TargetError> {
        let (path, direct, read_only) = match self {
            Self::Null { bytes } => {
                return Ok(AnyDevice::new(NullDevice::new(bytes / SECTOR_BYTES)));
            }
            Self::Ram { bytes } => return Ok(AnyDevice::new(RamDevice::new(bytes / SECTOR_BYTES))),
            Self::Zram { bytes, mem_limit } => {
                let mut config = ZramConfig::with_size(*bytes);
                if let Some(limit) = mem_limit {
                    config = config.mem_limit(*limit);
                }
                return Ok(AnyDevice::new(ZramDevice::new(config)?));
            }
            Self::File {
                path,
                direct,
                read_only,
            } => (path, *direct, *read_only),
        };
        let mut options = FileOptions::new();
        if direct {
            options = options.direct();
        }
        if read_only {
            options = options.read_only();
        }
        let device: FileDevice = options.open(path).map_err(|source| TargetError::File {
            path: path.clone(),
            source,
        })?;
        let has = device.geometry().capacity_sectors * SECTOR_BYTES;
        if has < least_bytes {
            return Err(TargetError::TooSmall {
                path: path.clone(),
                has,
                asked: least_bytes,
            });
        }
        Ok(AnyDevice::new(device))
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null { .. } => "null".to_owned(),
            Self::Ram { .. } => "ram".to_owned(),
            Self::Zram { mem_limit, .. } => match mem_limit {
                Some(limit) => format!("zram, at most {} of memory", show_size(*limit)),
                None => "zram".to_owned(),
            },
            Self::File {
                path,
                direct,
                read_only,
            } => {
                let direct = if *direct { ", direct" } else { "" };
                let read_only = if *read_only { ", read-only" } else { "" };
                format!("file {}{direct}{read_only}", path.display())
            }
        }
    }
}
