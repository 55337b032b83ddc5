//! A device of the driver, from its making to its deletion: [`Device`], whose type says how far it is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pepita_sys::blk_mq::Geometry;
use pepita_sys::ublk::*;

use super::channel::Channel;
use super::control::Control;
use super::error::UblkError;
use super::node::Node;
use super::{owner, params};

/// What every server of this crate asks for, and cannot do without.
const NEEDED: u64 = UBLK_F_CMD_IOCTL_ENCODE;

/// What changes how a device is served, and is not served so here.
const UNSERVED: u64 = UBLK_F_SUPPORT_ZERO_COPY
    | UBLK_F_AUTO_BUF_REG
    | UBLK_F_BATCH_IO
    | UBLK_F_INTEGRITY
    | UBLK_F_SHMEM_ZC;

/// The most bytes of a request for which a server has memory for each tag.
const IO_BYTES_MAX: u32 = 32 << 20;

/// The greatest id. `UBLK_MAX_UBLKS`, v6.12
const ID_MAX: u32 = (1 << 20) - 1;

/// How long udev has to give a device to its owner.
const OWNER_LIMIT: Duration = Duration::from_secs(15);

/// Bytes of a page, of which the driver wants whole ones.
const PAGE_BYTES: u32 = 4096;

/// How a device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceOptions {
    /// The id, which is in the name of the disk, 0 to 1,048,575; `None` lets the driver choose.
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
    /// * `UBLK_F_UNPRIVILEGED_DEV`: the device belongs to the user who makes it, and needs no `CAP_SYS_ADMIN`; who
    ///   has that gets an ordinary one, and is told that the flag was cleared. Neither recovery nor user copy go
    ///   with it. udev has to give `/dev/ublkcN` to that user, which is waited for.
    /// * `UBLK_F_ZONED`, with `UBLK_F_USER_COPY`: the device has zones (Linux 6.6, built with `CONFIG_BLK_DEV_ZONED`).
    ///   [`Server`](super::Server) asks for both where the device to serve has some.
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
        let id = self.id.unwrap_or(0).into();
        UblkError::check("the id", id, 0, ID_MAX.into())?;
        let (bytes, page) = (self.max_io_bytes.into(), PAGE_BYTES.into());
        UblkError::check("the size of a request", bytes, page, IO_BYTES_MAX.into())
    }
}

/// Whether a device with `flags` has zones exactly if `geometry` has.
fn check_zones(flags: u64, geometry: &Geometry) -> Result<(), UblkError> {
    let (is_zoned, wants_zones) = (flags & UBLK_F_ZONED != 0, geometry.zones.is_some());
    if is_zoned == wants_zones {
        return Ok(());
    }
    Err(UblkError::Zones { is_zoned })
}

/// What the device `id` is, if it may wait for a server with `geometry`.
pub(super) fn check_waiting(
    control: &Control,
    id: u32,
    geometry: &Geometry,
) -> Result<UblksrvCtrlDevInfo, UblkError> {
    let info = control.info(id)?;
    let wants_recovery = info.flags & UBLK_F_USER_RECOVERY != 0;
    match info.state {
        _ if !wants_recovery => return Err(UblkError::Unrecoverable { id }),
        UBLK_S_DEV_DEAD => return Err(UblkError::Lost { id }),
        UBLK_S_DEV_LIVE => return Err(UblkError::Busy { id }),
        _ => {}
    }
    check_flags(info.flags)?;
    check_zones(info.flags, geometry)?;
    let served = params::of_geometry(geometry, info.max_io_buf_bytes)?;
    params::check_alike(&control.params(id)?, &served)?;
    Ok(info)
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
    node: Node,
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
        match self.node.delete(&self.control) {
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
        self.registered.node.stop(&self.registered.control)
    }

    pub(super) fn control(&self) -> Control {
        self.registered.control.clone()
    }

    pub(super) const fn node(&self) -> Node {
        self.registered.node
    }

    /// Stops and deletes the device: see [`Control::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(mut self) -> Result<(), UblkError> {
        self.registered.is_ours = true;
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
    /// [`UblkError::Limit`], [`UblkError::IdInUse`], [`UblkError::Permission`]; [`UblkError::NotOurs`] where udev does
    /// not give this user an unprivileged device within 15 seconds; [`UblkError::TooOld`] before
    /// Linux 6.4; [`UblkError::Refused`] for zones where the kernel was built without them; [`UblkError::Unserved`] where the driver took other flags than those that mean something here; what
    /// else the driver says.
    pub fn add(control: &Control, options: &DeviceOptions) -> Result<Self, UblkError> {
        options.check()?;
        let asked = options.flags | NEEDED;
        let added = control.add(UblksrvCtrlDevInfo {
            nr_hw_queues: options.queues,
            queue_depth: options.depth,
            max_io_buf_bytes: options.max_io_bytes - options.max_io_bytes % PAGE_BYTES,
            dev_id: options.id.unwrap_or(u32::MAX),
            flags: asked,
            ..UblksrvCtrlDevInfo::default()
        });
        let info = added.map_err(|error| error.of_addition(options.flags))?;
        let registered = Registered {
            control: control.clone(),
            node: Node::of(info.dev_id),
            info,
            asked,
            is_ours: true,
        };
        check_flags(info.flags)?;
        if info.flags & UBLK_F_UNPRIVILEGED_DEV != 0 {
            owner::wait(info.dev_id, OWNER_LIMIT)?;
        }
        let state = Added(());
        Ok(Self { registered, state })
    }

    /// Gives it the parameters of `geometry`.
    ///
    /// # Errors
    /// [`UblkError::Geometry`], [`UblkError::Limit`]; [`UblkError::Zones`] where only one of both has zones; what the
    /// driver says.
    pub fn set_params(self, geometry: &Geometry) -> Result<Device<Prepared>, UblkError> {
        check_zones(self.info().flags, geometry)?;
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
    /// From here on it is this server's or nobody's: the driver lets no other one have it unless all queues of this
    /// one have fetched. So what may fail comes before, and the queues are attached at once. The threads that have
    /// served it have to be at their end.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`]; [`UblkError::Busy`] while the old server is there or its requests come to rest;
    /// [`UblkError::Unrecoverable`] for a device that was added without `UBLK_F_USER_RECOVERY`, [`UblkError::Lost`] for
    /// one that has no disk, [`UblkError::TakenOver`] after another server; [`UblkError::Unlike`], [`UblkError::Zones`].
    pub fn recover(control: &Control, id: u32, geometry: &Geometry) -> Result<Self, UblkError> {
        let info = check_waiting(control, id, geometry)?;
        Self::take_over(control, &info, geometry)
    }

    /// As [`recover`](Self::recover), if the device is still as `seen`, for which queues have memory already.
    pub(super) fn take_over(
        control: &Control,
        seen: &UblksrvCtrlDevInfo,
        geometry: &Geometry,
    ) -> Result<Self, UblkError> {
        let id = seen.dev_id;
        let info = check_waiting(control, id, geometry)?;
        let shape = |info: &UblksrvCtrlDevInfo| {
            let sizes = (info.nr_hw_queues, info.queue_depth, info.max_io_buf_bytes);
            (sizes, info.flags)
        };
        if shape(&info) != shape(seen) {
            return Err(UblkError::Busy { id });
        }
        let max_sectors = params::of_geometry(geometry, info.max_io_buf_bytes)?
            .basic
            .max_sectors;
        control.start_recovery(id)?;
        let registered = Registered {
            control: control.clone(),
            node: Node::of(id),
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
    pub fn start(self) -> Result<Device<Live>, UblkError> {
        self.start_or_back().map_err(|back| back.1)
    }

    /// As [`start`](Self::start), and gives the device back if it fails.
    pub(super) fn start_or_back(mut self) -> Result<Device<Live>, Box<(Self, UblkError)>> {
        let (control, id) = (&self.registered.control, self.registered.info.dev_id);
        let started = match self.state.recovers {
            true => control.end_recovery(id),
            false => control.start(id),
        };
        if let Err(error) = started {
            return Err(Box::new((self, error)));
        }
        self.registered.is_ours = true;
        // Without the driver's word, it is what was asked for.
        if let Ok(info) = self.registered.control.info(id) {
            self.registered.info = info;
        }
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
