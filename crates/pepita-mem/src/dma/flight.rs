#![expect(unsafe_code, reason = "only the driver knows when a device is done")]
//! [`InFlight`]: what a device has.

use core::mem::ManuallyDrop;

use super::buffer::DmaBuffer;
use super::direction::Direction;
use super::list::{DmaMemory, SgList};
use super::platform::DmaPlatform;
use crate::addr::DmaAddr;

/// What can be given to a device and come back: [`DmaBuffer`] and [`SgList`].
pub trait Handover: sealed::Sealed {
    /// Gives the memory to a device.
    #[doc(hidden)]
    fn for_device(&self);

    /// Takes it back for the CPU.
    #[doc(hidden)]
    fn for_cpu(&self);
}

mod sealed {
    pub trait Sealed {}
}

impl<D: Direction, P: DmaPlatform> sealed::Sealed for DmaBuffer<D, P> {}
impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> sealed::Sealed
    for SgList<N, M, D, P>
{
}

/// A buffer that a device has: nothing can read, write or free it until it comes back.
///
/// One that is dropped is never freed, since the device may still write to it.
/// ```compile_fail,E0382
/// use pepita_mem::{Bidirectional, DmaBuffer, DmaPlatform};
///
/// fn read_while_the_device_has_it(buffer: DmaBuffer<Bidirectional, &dyn DmaPlatform>) {
///     let flight = buffer.submit();
///     buffer.read_at(0, &mut [0; 4]); // it has moved
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaks the buffer"]
pub struct InFlight<B> {
    buffer: ManuallyDrop<B>,
}

impl<B: Handover> InFlight<B> {
    pub(super) fn new(buffer: B) -> Self {
        buffer.for_device();
        Self {
            buffer: ManuallyDrop::new(buffer),
        }
    }

    /// Takes the buffer back from the device.
    ///
    /// # Safety
    /// * The device has said that it is done with the buffer (or was reset), and accesses it no more.
    pub unsafe fn complete(self) -> B {
        self.buffer.for_cpu();
        ManuallyDrop::into_inner(self.buffer)
    }
}

impl<B> InFlight<B> {
    pub(super) fn held(&self) -> &B {
        &self.buffer
    }
}

impl<D: Direction, P: DmaPlatform> InFlight<DmaBuffer<D, P>> {
    /// Where the device finds the first byte.
    #[must_use]
    pub fn addr(&self) -> DmaAddr {
        self.held().addr()
    }

    /// How many bytes it has, never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a buffer has at least a byte")]
    pub fn len(&self) -> usize {
        self.held().len()
    }
}

impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> InFlight<SgList<N, M, D, P>> {
    /// Where the device finds the bytes, in their order: the first byte of each segment, and its length.
    pub fn segments(&self) -> impl Iterator<Item = (DmaAddr, usize)> {
        self.held().device_segments()
    }
}
