#![expect(unsafe_code, reason = "only the driver knows when a device is done")]
//! [`CoherentBuffer`].

use core::fmt;
use core::mem::ManuallyDrop;

use super::error::DmaError;
use super::mask::DmaMask;
use super::platform::DmaPlatform;
use super::region::OwnedRegion;
use crate::addr::DmaAddr;

/// Memory that the CPU and a device both use all the time, such as a ring; contiguous for the device.
///
/// What one side writes the other sees without a handover, so the platform's memory must be coherent:
/// shared caches, or none. From the moment that its address is told, a device may have it: it is then
/// freed only after [`conceal`](Self::conceal), and else leaked when dropped.
pub struct CoherentBuffer<P: DmaPlatform = &'static (dyn DmaPlatform + Sync)> {
    region: ManuallyDrop<OwnedRegion<P>>,
    is_exposed: bool,
}

impl<P: DmaPlatform> CoherentBuffer<P> {
    /// A buffer of `bytes` zeroed bytes that a device of `mask` reaches.
    ///
    /// # Errors
    /// [`DmaError`] for no bytes, or if the platform has no such memory.
    pub fn new(platform: P, bytes: usize, mask: DmaMask) -> Result<Self, DmaError> {
        Ok(Self {
            region: ManuallyDrop::new(OwnedRegion::new(platform, bytes, mask)?),
            is_exposed: false,
        })
    }

    /// How many bytes it has, never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a buffer has at least a byte")]
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Where a device finds the first byte. From now on one may.
    pub fn expose(&mut self) -> DmaAddr {
        self.is_exposed = true;
        self.region.addr()
    }

    /// Says that no device has it any more, so that it can be freed.
    ///
    /// # Safety
    /// * Every device that got its address was told to forget it (or was reset), and accesses it no more.
    pub const unsafe fn conceal(&mut self) {
        self.is_exposed = false;
    }

    /// Copies bytes in, each written once; a device may see them in any order.
    ///
    /// # Errors
    /// [`DmaError::Bounds`] if they do not fit; nothing is written then.
    pub fn write_at(&mut self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        self.region.write_at(offset, from)
    }

    /// Copies bytes out, each read once; what a device writes meanwhile may tear.
    ///
    /// # Errors
    /// [`DmaError::Bounds`] if there are not so many; nothing is read then.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        self.region.read_at(offset, into)
    }
}

impl<P: DmaPlatform> Drop for CoherentBuffer<P> {
    fn drop(&mut self) {
        if !self.is_exposed {
            // SAFETY: *idle*: no device has its address; and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.region) };
        }
    }
}

impl<P: DmaPlatform> fmt::Debug for CoherentBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoherentBuffer")
            .field("len", &self.len())
            .field("is_exposed", &self.is_exposed)
            .finish_non_exhaustive()
    }
}
