//! Devices whose kind is known at run time only.

use std::fmt;
use std::sync::Arc;

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request};
use pepita_sys::error::Result;

/// A device of any kind, to be picked or put together at run time. Clones are the same device.
///
/// ```
/// use pepita_io::{AnyDevice, RamDevice};
/// use pepita_sys::blk_mq::BlockDevice;
///
/// let devices: Vec<AnyDevice> = [2048, 4096].map(|sectors| AnyDevice::new(RamDevice::new(sectors))).into();
/// let capacity: u64 = devices.iter().map(|device| device.geometry().capacity_sectors).sum();
/// assert_eq!(capacity, 6144);
/// ```
#[derive(Clone)]
pub struct AnyDevice {
    device: Arc<dyn OpenAny>,
}

/// [`BlockDevice`] without its lane's type.
trait OpenAny: Send + Sync {
    fn geometry(&self) -> Geometry;
    fn id(&self) -> DeviceId;
    fn open_any(&self, depth: u16) -> Result<Box<dyn Lane + '_>>;
}

impl<D: BlockDevice> OpenAny for D {
    fn geometry(&self) -> Geometry {
        BlockDevice::geometry(self)
    }

    fn id(&self) -> DeviceId {
        BlockDevice::id(self)
    }

    fn open_any(&self, depth: u16) -> Result<Box<dyn Lane + '_>> {
        Ok(Box::new(self.open_lane(depth)?))
    }
}

impl AnyDevice {
    /// `device`, its kind forgotten.
    #[must_use]
    pub fn new(device: impl BlockDevice + 'static) -> Self {
        Self {
            device: Arc::new(device),
        }
    }
}

/// The same device, which others have as what it is.
impl<D: BlockDevice + 'static> From<Arc<D>> for AnyDevice {
    fn from(device: Arc<D>) -> Self {
        Self { device }
    }
}

impl BlockDevice for AnyDevice {
    type Lane<'d> = AnyLane<'d>;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        self.device.id()
    }

    fn open_lane(&self, depth: u16) -> Result<AnyLane<'_>> {
        let lane = self.device.open_any(depth)?;
        Ok(AnyLane { lane })
    }
}

impl fmt::Debug for AnyDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyDevice").field(&self.device.id()).finish()
    }
}

/// A lane of an [`AnyDevice`].
pub struct AnyLane<'d> {
    lane: Box<dyn Lane + 'd>,
}

impl Lane for AnyLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        self.lane.submit(request)
    }

    fn commit(&mut self) {
        self.lane.commit();
    }

    fn poll(&mut self) {
        self.lane.poll();
    }

    fn descriptor(&self) -> Option<i32> {
        self.lane.descriptor()
    }
}

impl fmt::Debug for AnyLane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyLane").finish_non_exhaustive()
    }
}
