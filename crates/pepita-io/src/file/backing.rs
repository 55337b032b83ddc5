//! [`Backing`]: the file behind a device, and what it is found to be.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use pepita_sys::blk_mq::{DeviceId, DiscardLimits, Geometry, SECTOR_SHIFT, Segment, WriteCache};
use pepita_sys::error::{Errno, KernelError};
use rustix::event::EventfdFlags;
use rustix::fs::{AtFlags, FallocateFlags, FileType, OFlags, Stat, StatxFlags};

use super::error::FileDeviceError;
use super::job::Way;

/// The most sectors of a read or write: 4 MiB, which front ends cut to what they can.
const MAX_SECTORS: u32 = 8192;

/// The most segments: `UIO_MAXIOV`. readv(2)
const MAX_SEGMENTS: u16 = 1024;

/// The most sectors of a discard, or of zeroes: 1 GiB.
const RANGE_SECTORS: u32 = 1 << 21;

/// The alignment of `O_DIRECT` where nobody tells: none is known to want more than a page.
const DIRECT_UNKNOWN: u32 = 4096;

/// The file behind a device.
#[derive(Debug)]
pub(super) struct Backing {
    file: File,
    /// With the capacity at first.
    geometry: Geometry,
    capacity_sectors: AtomicU64,
    direct: Option<Direct>,
    is_block_device: bool,
    /// Bits of the [`Way`]s that it has said not to know.
    lacks: AtomicU8,
    id: DeviceId,
}

/// What `O_DIRECT` wants. Both are powers of two.
#[derive(Debug, Clone, Copy)]
struct Direct {
    /// Alignment of addresses.
    memory: u32,
    /// Alignment of offsets and lengths.
    offset: u32,
}

impl Backing {
    /// Looks at `file`.
    pub(super) fn new(
        file: File,
        read_only: bool,
        block_size: Option<u32>,
    ) -> Result<Self, FileDeviceError> {
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|errno| failed("fcntl", errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed("fstat", errno))?;
        let is_block_device = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            _ => return Err(FileDeviceError::Kind),
        };
        let read_only = read_only | reads_only(flags)?;
        // What is read of it is as of any disk.
        if is_block_device && !read_only && needs_order(stat.st_rdev) {
            return Err(FileDeviceError::Zoned);
        }
        let device_block = match is_block_device {
            true => {
                rustix::fs::ioctl_blksszget(&file).map_err(|errno| failed("BLKSSZGET", errno))?
            }
            false => 512,
        };
        let direct = match flags.contains(OFlags::DIRECT) {
            true => Some(direct_alignment(
                &file,
                is_block_device.then_some(device_block),
            )?),
            false => None,
        };
        let min = direct.map_or(device_block, |direct| direct.offset.max(device_block));
        let bytes = block_size.unwrap_or(min);
        if !bytes.is_power_of_two() || !(min..=4096).contains(&bytes) {
            return Err(FileDeviceError::BlockSize { bytes, min });
        }
        let mut backing = Self {
            file,
            geometry: Geometry::new(0),
            capacity_sectors: AtomicU64::new(0),
            direct,
            is_block_device,
            lacks: AtomicU8::new(0),
            id: id_of(&stat, is_block_device),
        };
        backing.geometry = backing.describe(&stat, read_only, bytes)?;
        Ok(backing)
    }

    /// What the device is and takes.
    fn describe(
        &self,
        stat: &Stat,
        read_only: bool,
        logical: u32,
    ) -> Result<Geometry, FileDeviceError> {
        let of_device = if self.is_block_device {
            stat.st_rdev
        } else {
            stat.st_dev
        };
        let file_block = u32::try_from(stat.st_blksize)
            .unwrap_or(4096)
            .clamp(512, 4096);
        let physical = if self.is_block_device {
            rustix::fs::ioctl_blkpbszget(&self.file).map_err(|errno| failed("BLKPBSZGET", errno))?
        } else {
            file_block
        };
        // A file's writes are durable with its metadata only, whatever the disk below it does.
        let write_through = self.is_block_device
            && self.direct.is_some()
            && attribute(of_device, "write_cache").as_deref() == Some("write through");
        let mut geometry = Geometry {
            logical_block_size: logical,
            physical_block_size: power_of_two(physical).max(logical),
            max_sectors: MAX_SECTORS,
            max_segments: MAX_SEGMENTS,
            max_write_zeroes_sectors: RANGE_SECTORS,
            write_cache: match write_through {
                true => WriteCache::WriteThrough,
                false => WriteCache::WriteBackWithFua,
            },
            rotational: attribute(of_device, "rotational").as_deref() == Some("1"),
            read_only,
            ..Geometry::new(0)
        };
        geometry.capacity_sectors = self.measure(geometry.block_sectors())?;
        self.capacity_sectors
            .store(geometry.capacity_sectors, Ordering::Relaxed);
        let granularity = match self.is_block_device {
            true => discard_granularity(of_device),
            false => (!read_only && self.punches()).then_some(file_block),
        };
        geometry.discard = granularity.map(|bytes| DiscardLimits {
            max_sectors: RANGE_SECTORS,
            granularity_sectors: bytes.max(logical) / logical * geometry.block_sectors(),
        });
        Ok(geometry)
    }

    /// Whole blocks of the file, in sectors.
    fn measure(&self, block_sectors: u32) -> Result<u64, KernelError> {
        let bytes = (&self.file).seek(SeekFrom::End(0));
        let bytes = bytes.map_err(|error| KernelError::from_errno("lseek", errno_of(&error)))?;
        let sectors = bytes >> SECTOR_SHIFT;
        Ok(sectors - sectors % u64::from(block_sectors))
    }

    /// Whether the file system knows holes: asked of a place so far behind the end that nobody is there.
    fn punches(&self) -> bool {
        let Ok(metadata) = self.file.metadata() else {
            return false;
        };
        let far = metadata.len().next_multiple_of(1 << 30) + (1 << 30);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, mode, far, 4096) {
            // The file system has no files of that length, and has looked at nothing else.
            Ok(()) | Err(rustix::io::Errno::FBIG) => true,
            Err(_) => false,
        }
    }

    /// Looks at the file's size again.
    pub(super) fn update_capacity(&self) -> Result<u64, KernelError> {
        let sectors = self.measure(self.geometry.block_sectors())?;
        self.capacity_sectors.store(sectors, Ordering::Relaxed);
        Ok(sectors)
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            capacity_sectors: self.capacity_sectors.load(Ordering::Relaxed),
            ..self.geometry
        }
    }

    pub(super) const fn id(&self) -> DeviceId {
        self.id
    }

    /// The file's descriptor, open as long as this lives.
    pub(super) fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    pub(super) const fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    pub(super) const fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    pub(super) const fn is_read_only(&self) -> bool {
        self.geometry.read_only
    }

    /// Whether a read or write may have these segments as they are.
    pub(super) fn takes(&self, segments: &[Segment]) -> bool {
        let Some(direct) = self.direct else {
            return true;
        };
        let (memory, offset) = (direct.memory as usize - 1, direct.offset as usize - 1);
        let aligned =
            |segment: &Segment| segment.base().addr() & memory == 0 && segment.len() & offset == 0;
        segments.iter().all(aligned)
    }

    /// Whether the sectors are the device's.
    ///
    /// # Errors
    /// `EIO`.
    pub(super) fn check_range(&self, sector: u64, nr_sectors: u32) -> Result<(), Errno> {
        let capacity = self.capacity_sectors.load(Ordering::Relaxed);
        match sector.checked_add(u64::from(nr_sectors)) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// Whether the file has said that it does not know `way`.
    pub(super) fn lacks(&self, way: Way) -> bool {
        self.lacks.load(Ordering::Relaxed) & bit(way) != 0
    }

    pub(super) fn note_lack(&self, way: Way) {
        self.lacks.fetch_or(bit(way), Ordering::Relaxed);
    }
}

const fn bit(way: Way) -> u8 {
    match way {
        Way::Punch => 1,
        Way::ZeroRange => 2,
        Way::Discard => 4,
        _ => 0,
    }
}

/// Whether a file opened with `flags` can only be read.
fn reads_only(flags: OFlags) -> Result<bool, FileDeviceError> {
    let refused = [
        (OFlags::PATH, "O_PATH"),
        (OFlags::WRONLY, "O_WRONLY"),
        // Then every write goes to the end of the file. pwrite(2)
        (OFlags::APPEND, "O_APPEND"),
    ];
    for (bit, flag) in refused {
        if flags.contains(bit) {
            return Err(FileDeviceError::OpenedWith { flag });
        }
    }
    Ok(!flags.contains(OFlags::RDWR))
}

/// What `O_DIRECT` wants of `file`, a block device with such blocks, or none.
fn direct_alignment(file: &File, block: Option<u32>) -> Result<Direct, FileDeviceError> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        .map_err(|errno| failed("statx", errno))?;
    if stat.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        let both = block.unwrap_or(DIRECT_UNKNOWN);
        return Ok(Direct {
            memory: both,
            offset: both,
        });
    }
    let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
    if !memory.is_power_of_two() || !offset.is_power_of_two() {
        // Zeroes, where this file cannot, whatever others of its file system can.
        return Err(FileDeviceError::NoDirect);
    }
    Ok(Direct { memory, offset })
}

/// What is discarded together of a block device; `None` if it does not discard.
fn discard_granularity(device: u64) -> Option<u32> {
    let number = |name| attribute(device, name)?.parse::<u64>().ok();
    if number("discard_max_bytes")? == 0 {
        return None;
    }
    Some(u32::try_from(number("discard_granularity")?).unwrap_or(0))
}

/// Whether the zones of a block device have to be written in order.
fn needs_order(device: u64) -> bool {
    attribute(device, "zoned").as_deref() == Some("host-managed")
}

/// What the kernel says of a block device's queue, or of that of its whole disk.
/// `Documentation/ABI/stable/sysfs-block`
fn attribute(device: u64, name: &str) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = format!("/sys/dev/block/{major}:{minor}");
    let of = |queue: &str| std::fs::read_to_string(format!("{folder}/{queue}/{name}"));
    let text = of("queue").or_else(|_| of("../queue")).ok()?;
    Some(text.trim().to_owned())
}

/// The file's numbers, which no other file has at the same time.
fn id_of(stat: &Stat, is_block_device: bool) -> DeviceId {
    let name = if is_block_device {
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        format!("block {major}:{minor}")
    } else {
        let (major, minor) = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        );
        format!("{major}:{minor}:{}", stat.st_ino)
    };
    // An inode's number can be long; its end tells more than its beginning.
    let from = name.len().saturating_sub(DeviceId::BYTES);
    DeviceId::new(&name[from..])
}

/// The greatest power of two that is not above `bytes`, which is none of the kernel's if it is no such power.
const fn power_of_two(bytes: u32) -> u32 {
    match bytes.checked_ilog2() {
        Some(log) => 1 << log,
        None => 1,
    }
}

/// What a call of the system said.
pub(super) fn failed(operation: &'static str, errno: rustix::io::Errno) -> FileDeviceError {
    let errno = Errno::from_raw(errno.raw_os_error());
    KernelError::from_errno(operation, errno).into()
}

/// The number in an error of the standard library's; every one of a system call has it.
pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// What a lane is waited for by: readable once it was rung, until it is read.
pub(crate) fn bell() -> Result<OwnedFd, KernelError> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    rustix::event::eventfd(0, flags)
        .map_err(|errno| KernelError::from_errno("eventfd", Errno::from_raw(errno.raw_os_error())))
}
