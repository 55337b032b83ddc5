//! [`DmaBuffer`].

use core::fmt;
use core::marker::PhantomData;

use super::direction::{Bidirectional, CpuReads, CpuWrites, Direction};
use super::error::DmaError;
use super::flight::{Handover, InFlight};
use super::mask::DmaMask;
use super::platform::DmaPlatform;
use super::region::OwnedRegion;
use crate::addr::DmaAddr;

/// Memory for transfers of one direction, contiguous for the device; the CPU and the device have it in
/// turns ("streaming").
///
/// [`submit`](Self::submit) moves it into an [`InFlight`], which tells its address, and which gives it
/// back when the device is done. Each way the platform synchronises the caches.
///
/// The direction decides what the CPU may do:
/// ```compile_fail,E0277
/// use pepita_mem::{DmaBuffer, DmaPlatform, ToDevice};
///
/// fn read_what_only_goes_out(buffer: &DmaBuffer<ToDevice, &dyn DmaPlatform>) {
///     let _ = buffer.read_at(0, &mut [0; 4]);
/// }
/// ```
pub struct DmaBuffer<D = Bidirectional, P = &'static (dyn DmaPlatform + Sync)>
where
    D: Direction,
    P: DmaPlatform,
{
    region: OwnedRegion<P>,
    direction: PhantomData<fn() -> D>,
}

impl<D: Direction, P: DmaPlatform> DmaBuffer<D, P> {
    /// A buffer of `bytes` zeroed bytes that a device of `mask` reaches.
    ///
    /// # Errors
    /// [`DmaError`] for no bytes, or if the platform has no such memory.
    pub fn new(platform: P, bytes: usize, mask: DmaMask) -> Result<Self, DmaError> {
        Ok(Self {
            region: OwnedRegion::new(platform, bytes, mask)?,
            direction: PhantomData,
        })
    }

    /// How many bytes it has, never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a buffer has at least a byte")]
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// [`DmaError::Bounds`] if they do not fit; nothing is written then.
    pub fn write_at(&mut self, offset: usize, from: &[u8]) -> Result<(), DmaError>
    where
        D: CpuWrites,
    {
        self.region.write_at(offset, from)
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// [`DmaError::Bounds`] if there are not so many; nothing is read then.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError>
    where
        D: CpuReads,
    {
        self.region.read_at(offset, into)
    }

    /// Gives it to a device.
    pub fn submit(self) -> InFlight<Self> {
        InFlight::new(self)
    }

    pub(super) fn addr(&self) -> DmaAddr {
        self.region.addr()
    }
}

impl<D: Direction, P: DmaPlatform> Handover for DmaBuffer<D, P> {
    fn for_device(&self) {
        self.region.sync_for_device(D::DIRECTION);
    }

    fn for_cpu(&self) {
        self.region.sync_for_cpu(D::DIRECTION);
    }
}

impl<D: Direction, P: DmaPlatform> fmt::Debug for DmaBuffer<D, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuffer")
            .field("len", &self.len())
            .field("direction", &D::DIRECTION)
            .finish_non_exhaustive()
    }
}
