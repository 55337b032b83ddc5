//! A device with faults: [`FaultDevice`].

mod lane;
mod parse;
mod plan;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry};
use pepita_sys::error::Result;

use super::below::Bell;
use super::zoned::ZonedBelow;
pub use lane::FaultLane;
pub use parse::FaultPlanError;
pub use plan::{FaultAction, FaultPlan, FaultRule};

/// A block device whose requests fail, come late or do not end, by a [plan](FaultPlan). It does not go over zones.
///
/// ```
/// use pepita_io::RamDevice;
/// use pepita_io::compose::FaultDevice;
///
/// let plan = "write sectors=2048..4096 error=EIO; flush nth=3 torn=0"; // only writes can be torn
/// assert!(plan.parse::<pepita_io::compose::FaultPlan>().is_err());
/// let plan = "write sectors=2048..4096 error=EIO; flush nth=3 lose".parse()?;
/// let device = FaultDevice::new(RamDevice::new(1 << 16), plan)?;
/// // ... what is to survive that ...
/// device.heal();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FaultDevice<D> {
    device: D,
    plan: plan::Running,
    is_healed: AtomicBool,
    /// Of the lanes that are open.
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl<D: BlockDevice> FaultDevice<D> {
    /// `device`, with the faults of `plan`, which counts the requests of all lanes together.
    ///
    /// # Errors
    /// [`ZonedBelow`].
    pub fn new(device: D, plan: FaultPlan) -> std::result::Result<Self, ZonedBelow> {
        ZonedBelow::check(&device)?;
        Ok(Self {
            device,
            plan: plan::Running::new(plan),
            is_healed: AtomicBool::new(false),
            bells: Mutex::new(Vec::new()),
        })
    }

    /// The device without faults.
    #[must_use]
    pub const fn inner(&self) -> &D {
        &self.device
    }

    /// Ends the plan: from now on there is no fault, what is late comes, and what hangs goes on.
    pub fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.iter().filter_map(Weak::upgrade) {
            bell.ring();
        }
    }

    fn is_healed(&self) -> bool {
        self.is_healed.load(Ordering::SeqCst)
    }
}

impl<D: BlockDevice> BlockDevice for FaultDevice<D> {
    type Lane<'d>
        = FaultLane<'d, D>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("fault")
    }

    fn open_lane(&self, depth: u16) -> Result<FaultLane<'_, D>> {
        FaultLane::new(self, depth)
    }
}
