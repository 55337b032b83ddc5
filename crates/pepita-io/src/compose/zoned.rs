//! Why there is nothing over zones: [`ZonedBelow`].

use std::fmt;

use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::error::{Errno, KernelError};

/// Why there is no device over another one: that one has zones.
///
/// A device over it would have none, and whoever used it would write anywhere, which fails below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZonedBelow;

impl ZonedBelow {
    /// Refuses `device` if it has zones.
    pub(super) fn check<D: BlockDevice>(device: &D) -> Result<(), Self> {
        match device.geometry().zones {
            None => Ok(()),
            Some(_) => Err(Self),
        }
    }
}

impl fmt::Display for ZonedBelow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device below has zones, which a device over it cannot have")
    }
}

impl std::error::Error for ZonedBelow {}

/// `EOPNOTSUPP`.
impl From<ZonedBelow> for KernelError {
    fn from(_: ZonedBelow) -> Self {
        Self::from_errno("compose a device", Errno::EOPNOTSUPP)
    }
}
