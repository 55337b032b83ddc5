#![expect(unsafe_code, reason = "asks a driver of the kernel by ioctl(2)")]
//! A device that the kernel's own drivers use: VDUSE, with `virtio_vdpa` on the other side.
//!
//! The kernel's driver sets queues up in memory that this process maps, kicks by eventfds, and tells of its status by
//! messages. Sources: `include/uapi/linux/vduse.h`, `Documentation/userspace-api/vduse.rst`.
//!
//! # Invariants
//! * *layout*: a structure has the layout that the header gives it, and as many bytes as its command says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;

use pepita_virtio::GuestRam;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Bytes of a name.
const NAME_MAX: usize = 256;

/// What rings are aligned to.
const RING_ALIGN: u32 = 4096;

/// `struct vduse_dev_config`, with room for any configuration space here.
#[repr(C)]
struct DevConfig {
    name: [u8; NAME_MAX],
    vendor_id: u32,
    device_id: u32,
    features: u64,
    vq_num: u32,
    vq_align: u32,
    reserved: [u32; 13],
    config_size: u32,
    config: [u8; 256],
}

/// Bytes of `struct vduse_dev_config`, without the configuration space.
const DEV_CONFIG_BYTES: usize = mem::offset_of!(DevConfig, config);

/// `struct vduse_vq_config`
#[repr(C)]
struct VqConfig {
    index: u32,
    max_size: u16,
    reserved: [u16; 13],
}

/// `struct vduse_vq_info`
#[repr(C)]
#[derive(Default)]
struct VqInfo {
    index: u32,
    num: u32,
    areas: [u64; 3],
    /// Where the queue stands.
    state: [u16; 4],
    ready: u8,
}

/// `struct vduse_vq_eventfd`
#[repr(C)]
struct VqEventfd {
    index: u32,
    fd: i32,
}

/// `struct vduse_iotlb_entry`
#[repr(C)]
#[derive(Default)]
struct IotlbEntry {
    offset: u64,
    start: u64,
    last: u64,
    perm: u8,
}

/// The commands of `vduse.h`, by their numbers there.
mod command {
    use super::{DEV_CONFIG_BYTES, IotlbEntry, NAME_MAX, VqConfig, VqEventfd, VqInfo};

    const BASE: u64 = 0x81;
    const WRITE: u64 = 1;
    const READ: u64 = 2;

    /// `_IOC` of `asm-generic/ioctl.h`
    const fn of(direction: u64, number: u64, bytes: usize) -> u64 {
        direction << 30 | (bytes as u64) << 16 | BASE << 8 | number
    }

    pub(super) const SET_API_VERSION: u64 = of(WRITE, 1, size_of::<u64>());
    pub(super) const CREATE_DEV: u64 = of(WRITE, 2, DEV_CONFIG_BYTES);
    pub(super) const DESTROY_DEV: u64 = of(WRITE, 3, NAME_MAX);
    pub(super) const IOTLB_GET_FD: u64 = of(READ | WRITE, 0x10, size_of::<IotlbEntry>());
    pub(super) const DEV_GET_FEATURES: u64 = of(READ, 0x11, size_of::<u64>());
    pub(super) const VQ_SETUP: u64 = of(WRITE, 0x14, size_of::<VqConfig>());
    pub(super) const VQ_GET_INFO: u64 = of(READ | WRITE, 0x15, size_of::<VqInfo>());
    pub(super) const VQ_SETUP_KICKFD: u64 = of(WRITE, 0x16, size_of::<VqEventfd>());
    pub(super) const VQ_INJECT_IRQ: u64 = of(WRITE, 0x17, size_of::<u32>());
}

/// Gives `command` its structure; what the driver returns.
fn ask<T>(file: &File, command: u64, value: &mut T) -> io::Result<i32> {
    // SAFETY: *layout*.
    match unsafe { libc::ioctl(file.as_raw_fd(), command, ptr::from_mut(value)) } {
        -1 => Err(io::Error::last_os_error()),
        returned => Ok(returned),
    }
}

/// What the driver of the other side wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The device's status is this; 0 is a reset.
    Status(u8),
    /// Memory is not mapped any more.
    Unmapped,
}

/// What the driver says of a queue.
#[derive(Debug)]
pub(crate) struct QueueInfo {
    pub(crate) size: u32,
    pub(crate) areas: [u64; 3],
    pub(crate) is_ready: bool,
}

/// Words of `struct vduse_dev_request`, and of `struct vduse_dev_response`.
const MESSAGE_WORDS: usize = 38;
/// Where the part of a message begins that differs.
const BODY: usize = 6;

/// A message that has to be answered.
pub(crate) struct Message {
    id: u32,
    pub(crate) request: Request,
}

/// A device at `/dev/vduse/NAME`.
///
/// Removed with this value: its file is closed before.
pub(crate) struct Vduse {
    device: File,
    _entry: Entry,
}

/// That the device is there.
struct Entry {
    control: File,
    name: [u8; NAME_MAX],
}

impl Vduse {
    /// Makes a device with queues of `queue_size`.
    pub(crate) fn create(
        name: &str,
        device_id: u32,
        features: u64,
        config: &[u8],
        queues: u32,
        queue_size: u16,
    ) -> io::Result<Self> {
        let control = open("control")?;
        ask(&control, command::SET_API_VERSION, &mut 0_u64)?;
        let mut wanted = DevConfig {
            name: [0; NAME_MAX],
            vendor_id: 0,
            device_id,
            features,
            vq_num: queues,
            vq_align: RING_ALIGN,
            reserved: [0; 13],
            config_size: u32::try_from(config.len()).expect("small"),
            config: [0; 256],
        };
        wanted.name[..name.len()].copy_from_slice(name.as_bytes());
        wanted.config[..config.len()].copy_from_slice(config);
        ask(&control, command::CREATE_DEV, &mut wanted)?;
        let entry = Entry {
            control,
            name: wanted.name,
        };
        let this = Self {
            device: open(name)?,
            _entry: entry,
        };
        for index in 0..queues {
            let mut queue = VqConfig {
                index,
                max_size: queue_size,
                reserved: [0; 13],
            };
            ask(&this.device, command::VQ_SETUP, &mut queue)?;
        }
        Ok(this)
    }

    /// Readable when there is a message.
    pub(crate) fn descriptor(&self) -> i32 {
        self.device.as_raw_fd()
    }

    /// The next message.
    pub(crate) fn receive(&self) -> io::Result<Message> {
        let mut bytes = [0; 4 * MESSAGE_WORDS];
        (&self.device).read_exact(&mut bytes)?;
        let word = |at: usize| u32::from_ne_bytes(bytes[4 * at..][..4].try_into().expect("four"));
        let request = match word(0) {
            1 => Request::Status(bytes[4 * BODY]),
            2 => Request::Unmapped,
            // `virtio_vdpa` never asks where a queue stands.
            other => panic!("a request of type {other}"),
        };
        Ok(Message {
            id: word(1),
            request,
        })
    }

    /// Says that what a message wants is done.
    pub(crate) fn answer(&self, message: &Message) -> io::Result<()> {
        let mut bytes = [0; 4 * MESSAGE_WORDS];
        bytes[..4].copy_from_slice(&message.id.to_ne_bytes());
        (&self.device).write_all(&bytes)
    }

    /// The features that were agreed on.
    pub(crate) fn features(&self) -> io::Result<u64> {
        let mut features = 0_u64;
        ask(&self.device, command::DEV_GET_FEATURES, &mut features)?;
        Ok(features)
    }

    /// What the driver says of a queue.
    pub(crate) fn queue(&self, index: u32) -> io::Result<QueueInfo> {
        let mut info = VqInfo {
            index,
            ..VqInfo::default()
        };
        ask(&self.device, command::VQ_GET_INFO, &mut info)?;
        Ok(QueueInfo {
            size: info.num,
            areas: info.areas,
            is_ready: info.ready != 0,
        })
    }

    /// Has the kicks of a queue come to an eventfd.
    pub(crate) fn kicks(&self, index: u32, eventfd: &OwnedFd) -> io::Result<()> {
        let fd = eventfd.as_raw_fd();
        ask(
            &self.device,
            command::VQ_SETUP_KICKFD,
            &mut VqEventfd { index, fd },
        )
        .map(drop)
    }

    /// Tells the driver that a queue has used buffers.
    pub(crate) fn interrupt(&self, index: u32) -> io::Result<()> {
        ask(&self.device, command::VQ_INJECT_IRQ, &mut { index }).map(drop)
    }

    /// The memory that the driver has mapped by now.
    pub(crate) fn ram(&self) -> io::Result<GuestRam> {
        let mut regions = Vec::new();
        let mut from = 0;
        loop {
            let mut entry = IotlbEntry {
                start: from,
                last: u64::MAX,
                ..IotlbEntry::default()
            };
            let Ok(fd) = ask(&self.device, command::IOTLB_GET_FD, &mut entry) else {
                break;
            };
            // SAFETY: the driver has just opened it for us.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            let bytes = usize::try_from(entry.last - entry.start + 1).expect("it is mapped");
            let file = FileOffset::new(fd.into(), entry.offset);
            let mapping = MmapRegion::from_file(file, bytes).map_err(io::Error::other)?;
            let region = GuestRegionMmap::<()>::new(mapping, GuestAddress(entry.start));
            regions.push(region.expect("no end of the addresses"));
            match entry.last.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        let memory = GuestMemoryMmap::from_regions(regions).map_err(io::Error::other)?;
        GuestRam::new(memory.into()).map_err(Into::into)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _ = ask(&self.control, command::DESTROY_DEV, &mut self.name);
    }
}

fn open(name: &str) -> io::Result<File> {
    let path = PathBuf::from("/dev/vduse").join(name);
    OpenOptions::new().read(true).write(true).open(path)
}

/// Waits until something is readable; which ones are. A negative one never is.
pub(crate) fn wait_for_any(descriptors: &[i32]) -> io::Result<Vec<bool>> {
    let entry = |fd: &i32| libc::pollfd {
        fd: *fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut all: Vec<_> = descriptors.iter().map(entry).collect();
    let count = libc::nfds_t::try_from(all.len()).expect("few");
    // SAFETY: *layout*: as many entries as are said.
    if unsafe { libc::poll(all.as_mut_ptr(), count, -1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(all.iter().map(|entry| entry.revents != 0).collect())
}
