#![expect(unsafe_code, reason = "copies from and to memory that devices share")]
//! [`OwnedRegion`]: a platform's memory, given back when dropped; and the copies in and out of it.

use core::ptr::NonNull;

use pepita_sys::copy;

use super::direction::DmaDirection;
use super::error::DmaError;
use super::mask::DmaMask;
use super::platform::{DmaPlatform, DmaRegion};
use crate::addr::DmaAddr;

/// A region and its platform.
///
/// # Invariants
/// * *owned*: `region` came from `platform`, which takes it back in `drop` and nowhere else. So it is
///   *valid* and *unshared* (see [`DmaPlatform`]).
/// * *idle*: when it is dropped, no device has it. Whoever gives its address to a device keeps it from
///   being dropped ([`InFlight`](super::InFlight), [`CoherentBuffer`](super::CoherentBuffer)).
#[derive(Debug)]
pub(super) struct OwnedRegion<P: DmaPlatform> {
    region: DmaRegion,
    platform: P,
}

impl<P: DmaPlatform> OwnedRegion<P> {
    pub(super) fn new(platform: P, bytes: usize, mask: DmaMask) -> Result<Self, DmaError> {
        if bytes == 0 {
            return Err(DmaError::Nothing);
        }
        let mut region = platform.allocate(bytes, mask)?;
        region.bytes = bytes;
        Ok(Self { region, platform })
    }

    pub(super) fn len(&self) -> usize {
        self.region.bytes
    }

    pub(super) fn addr(&self) -> DmaAddr {
        self.region.addr
    }

    pub(super) fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), DmaError> {
        let from = self.place(offset, into.len())?;
        // SAFETY: *owned*, and `place` has checked that all bytes are inside.
        unsafe { copy::read(from, into) };
        Ok(())
    }

    /// Needs no `&mut`: the memory is no Rust object, and a copy that meets another tears.
    pub(super) fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), DmaError> {
        let into = self.place(offset, from.len())?;
        // SAFETY: *owned*, and `place` has checked that all bytes are inside.
        unsafe { copy::write(into, from) };
        Ok(())
    }

    pub(super) fn sync_for_device(&self, direction: DmaDirection) {
        let (memory, bytes) = (self.region.memory, self.region.bytes);
        self.platform.sync_for_device(memory, bytes, direction);
    }

    pub(super) fn sync_for_cpu(&self, direction: DmaDirection) {
        let (memory, bytes) = (self.region.memory, self.region.bytes);
        self.platform.sync_for_cpu(memory, bytes, direction);
    }

    fn place(&self, offset: usize, bytes: usize) -> Result<NonNull<u8>, DmaError> {
        let len = self.region.bytes;
        if offset > len || bytes > len - offset {
            return Err(DmaError::Bounds { offset, bytes, len });
        }
        // SAFETY: `offset` is at most the region's length.
        Ok(unsafe { self.region.memory.add(offset) })
    }
}

impl<P: DmaPlatform> Drop for OwnedRegion<P> {
    fn drop(&mut self) {
        let region = DmaRegion {
            memory: self.region.memory,
            addr: self.region.addr,
            bytes: self.region.bytes,
        };
        // SAFETY: *owned* and *idle*; this is its end.
        unsafe { self.platform.release(region) };
    }
}
