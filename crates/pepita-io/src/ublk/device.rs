//! A device of the driver, from its making to its deletion: [`Device`], whose type says how far it is.

use std::fmt;
use std::path::PathBuf;

use pepita_sys::blk_mq::Geometry;
use pepita_sys::ublk::*;

use super::channel::Channel;
use super::control::Control;
use super::error::UblkError;
use super::params;

/// What every server of this crate asks for, and cannot do without.
const NEEDED: u64 = UBLK_F_CMD_IOCTL_ENCODE;

/// What changes how a device is served, and is not served so here.
const UNSERVED: u64 = UBLK_F_SUPPORT_ZERO_COPY
    | UBLK_F_UNPRIVILEGED_DEV
    | UBLK_F_ZONED
    | UBLK_F_AUTO_BUF_REG
    | UBLK_F_BATCH_IO
    | UBLK_F_INTEGRITY
    | UBLK_F_SHMEM_ZC;

/// The most bytes of a request for which a server has memory for each tag.
const IO_BYTES_MAX: u32 = 32 << 20;

/// Bytes of a page, of which the driver wants whole ones.
const PAGE_BYTES: u32 = 4096;

/// How a device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceOptions {
    /// The id, which is in the name of the disk; `None` lets the driver choose.
    pub id: Option<u32>,
    /// Count of queues, 1 to 4096; the driver makes at most one for each CPU.
    pub queues: u16,
    /// Requests in flight for each queue, 1 to 4096.
    pub depth: u16,
    /// The most bytes of a request, of which each tag has memory: whole pages, at most 32 MiB.
    pub max_io_bytes: u32,
    /// `UBLK_F_` flags to ask for, of which these mean something here; what the driver does not know, it clears: see
    /// [`cleared_flags`](Device::cleared_flags).
    ///
    /// * `UBLK_F_USER_RECOVERY`, `UBLK_F_USER_RECOVERY_REISSUE`: the disk outlives its server.
    /// * `UBLK_F_USER_COPY`: the queue's thread copies data, by a system call for each request (Linux 6.5). It
    ///   says when, so a tag's memory is never the driver's.
    /// * `UBLK_F_NEED_GET_DATA`: the driver asks where the data of each write goes.
    pub flags: u64,
}

impl Default for DeviceOptions {
    /// One queue of 64 requests of at most 512 KiB.
    fn default() -> Self {
        Self {
            id: None,
            queues: 1,
            depth: 64,
            max_io_bytes: 512 << 10,
            flags: 0,
        }
    }
}

impl DeviceOptions {
    fn check(&self) -> Result<(), UblkError> {
        let queues_max = UBLK_MAX_NR_QUEUES.into();
        UblkError::check("the count of queues", self.queues.into(), 1, queues_max)?;
        let depth_max = UBLK_MAX_QUEUE_DEPTH.into();
        UblkError::check("the depth of a queue", self.depth.into(), 1, depth_max)?;
        let (bytes, page) = (self.max_io_bytes.into(), PAGE_BYTES.into());
        UblkError::check("the size of a request", bytes, page, IO_BYTES_MAX.into())
    }
}

fn check_flags(flags: u64) -> Result<(), UblkError> {
    match flags & UNSERVED {
        0 => Ok(()),
        flags => Err(UblkError::Unserved { flags }),
    }
}

/// Where a device is: what deletes it when nobody has it any more.
struct Registered {
    control: Control,
    info: UblksrvCtrlDevInfo,
    /// `UBLK_F_` flags that were asked for.
    asked: u64,
    /// Whether it goes with this value.
    is_ours: bool,
}

impl Registered {
    /// Stops and deletes the device, once.
    fn delete(&mut self) -> Result<(), UblkError> {
        if !std::mem::take(&mut self.is_ours) {
            return Ok(());
        }
        match self.control.delete(self.info.dev_id) {
            // Somebody else was faster.
            Err(UblkError::NoDevice { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // There is nobody to hear of an error.
        let _ = self.delete();
    }
}

/// How far a device is: it has no parameters.
#[derive(Debug)]
pub struct Added(());

/// How far a device is: it has parameters, and waits for the queues to fetch.
#[derive(Debug)]
pub struct Prepared {
    geometry: Geometry,
    /// Its disk is there already, and waits for a new server.
    recovers: bool,
}

/// How far a device is: its disk is there.
#[derive(Debug)]
pub struct Live {
    geometry: Geometry,
}

/// A device of the driver, on its way from [`Added`] over [`Prepared`] to [`Live`].
///
/// Dropping it stops and deletes it, for which its [channel](Self::channel)s have to be gone; what takes too
/// long goes on without the program. [`Server`](super::Server) does all of this.
///
/// ```compile_fail,E0599
/// use pepita_io::ublk::{Control, Device, DeviceOptions};
///
/// let control = Control::open().unwrap();
/// let added = Device::add(&control, &DeviceOptions::default()).unwrap();
/// added.start(); // it has no parameters yet
/// ```
pub struct Device<S> {
    registered: Registered,
    state: S,
}

impl<S> Device<S> {
    /// The id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.registered.info.dev_id
    }

    /// What the driver made of what was asked for.
    #[must_use]
    pub const fn info(&self) -> &UblksrvCtrlDevInfo {
        &self.registered.info
    }

    /// The `UBLK_F_` flags that were asked for and that the driver does not know.
    #[must_use]
    pub const fn cleared_flags(&self) -> u64 {
        self.registered.asked & !self.registered.info.flags
    }

    /// The CPUs whose requests go to queue `queue_id`, in ascending order.
    ///
    /// # Errors
    /// As [`Control::queue_affinity`].
    pub fn queue_affinity(&self, queue_id: u16) -> Result<Vec<usize>, UblkError> {
        self.registered.control.queue_affinity(self.id(), queue_id)
    }

    /// Stops the device: see [`Control::stop`].
    ///
    /// # Errors
    /// As there.
    pub fn stop(&self) -> Result<(), UblkError> {
        self.registered.control.stop(self.id())
    }

    /// Stops and deletes the device: see [`Control::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(mut self) -> Result<(), UblkError> {
        self.registered.delete()
    }

    /// Leaves the device as it is.
    pub fn leave(mut self) {
        self.registered.is_ours = false;
    }

    fn into_state<T>(self, state: T) -> Device<T> {
        let Self { registered, .. } = self;
        Device { registered, state }
    }
}

impl Device<Added> {
    /// Makes a device.
    ///
    /// # Errors
    /// [`UblkError::Limit`], [`UblkError::IdInUse`], [`UblkError::Permission`]; [`UblkError::TooOld`] before
    /// Linux 6.4; [`UblkError::Unserved`] where the driver took other flags than those that mean something here; what
    /// else the driver says.
    pub fn add(control: &Control, options: &DeviceOptions) -> Result<Self, UblkError> {
        options.check()?;
        let asked = options.flags | NEEDED;
        let info = control.add(UblksrvCtrlDevInfo {
            nr_hw_queues: options.queues,
            queue_depth: options.depth,
            max_io_buf_bytes: options.max_io_bytes - options.max_io_bytes % PAGE_BYTES,
            dev_id: options.id.unwrap_or(u32::MAX),
            flags: asked,
            ..UblksrvCtrlDevInfo::default()
        })?;
        let registered = Registered {
            control: control.clone(),
            info,
            asked,
            is_ours: true,
        };
        check_flags(info.flags)?;
        let state = Added(());
        Ok(Self { registered, state })
    }

    /// Gives it the parameters of `geometry`.
    ///
    /// # Errors
    /// [`UblkError::Geometry`], [`UblkError::Limit`]; what the driver says.
    pub fn set_params(self, geometry: &Geometry) -> Result<Device<Prepared>, UblkError> {
        let params = params::of_geometry(geometry, self.info().max_io_buf_bytes)?;
        self.registered.control.set_params(self.id(), params)?;
        let geometry = Geometry {
            max_sectors: params.basic.max_sectors,
            max_segments: 1,
            ..*geometry
        };
        Ok(self.into_state(Prepared {
            geometry,
            recovers: false,
        }))
    }
}

impl Device<Prepared> {
    /// Takes over the device `id`, whose server is gone, to be served with `geometry`. Whatever goes wrong, the
    /// device is left as it is, until it has started.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`]; [`UblkError::Busy`] while the old server is there or its requests come to rest;
    /// [`UblkError::Capacity`]; `EINVAL` for a device that was added without `UBLK_F_USER_RECOVERY`.
    pub fn recover(control: &Control, id: u32, geometry: &Geometry) -> Result<Self, UblkError> {
        let (waiting, served) = (
            control.params(id)?.basic.dev_sectors,
            geometry.capacity_sectors,
        );
        if waiting != served {
            return Err(UblkError::Capacity { waiting, served });
        }
        check_flags(control.info(id)?.flags)?;
        control.start_recovery(id)?;
        let info = control.info(id)?;
        let max_sectors = params::of_geometry(geometry, info.max_io_buf_bytes)?
            .basic
            .max_sectors;
        let registered = Registered {
            control: control.clone(),
            info,
            asked: info.flags,
            is_ours: false,
        };
        let geometry = Geometry {
            max_sectors,
            max_segments: 1,
            ..*geometry
        };
        let state = Prepared {
            geometry,
            recovers: true,
        };
        Ok(Self { registered, state })
    }

    /// Opens the character device, which one process may do at a time. All queues go through it.
    ///
    /// # Errors
    /// [`UblkError::Permission`], or what open(2) says: `EBUSY` as long as a channel is there.
    pub fn channel(&self) -> Result<Channel, UblkError> {
        Channel::open(self.info(), self.state.geometry)
    }

    /// Waits until every tag of every queue has fetched, and makes the disk. The queues have to be served
    /// meanwhile, by other threads, since the kernel looks for partitions.
    ///
    /// # Errors
    /// [`UblkError::TimedOut`] where not all tags fetch; what else the driver says.
    pub fn start(mut self) -> Result<Device<Live>, UblkError> {
        let (control, id) = (&self.registered.control, self.registered.info.dev_id);
        if self.state.recovers {
            control.end_recovery(id)?;
        } else {
            control.start(id)?;
        }
        self.registered.is_ours = true;
        self.registered.info = self.registered.control.info(id)?;
        let geometry = self.state.geometry;
        Ok(self.into_state(Live { geometry }))
    }
}

impl Device<Live> {
    /// Where the disk is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/dev/ublkb{}", self.id()).into()
    }

    /// What the disk is like.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.state.geometry
    }
}

impl<S: fmt::Debug> fmt::Debug for Device<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("info", self.info())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
