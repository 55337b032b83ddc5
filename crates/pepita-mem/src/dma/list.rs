#![expect(unsafe_code, reason = "lets devices at the caller's memory")]
//! [`SgList`]: the caller's memory in segments, with bounce buffers where the device does not reach.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use pepita_sys::copy;

use super::direction::{Bidirectional, Direction};
use super::error::DmaError;
use super::flight::{Handover, InFlight};
use super::mask::DmaMask;
use super::platform::{DmaPlatform, DmaRegion};
use crate::addr::DmaAddr;

/// A piece of memory that devices see in a row, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaSegment {
    /// Its first byte for the CPU.
    pub memory: NonNull<u8>,
    /// Its first byte for devices, if any device sees it.
    pub addr: Option<DmaAddr>,
    /// How many bytes it has.
    pub bytes: usize,
}

/// Memory of a program that a device may be let at.
///
/// # Safety
/// * *still*: the bytes of [`memory`](Self::memory) are valid for reads and writes, and at the same
///   addresses and physical places, however the value is moved, until it is dropped.
/// * *alone*: while the value is not used, nothing in the program accesses them.
pub unsafe trait DmaMemory {
    /// The first byte, and how many there are.
    fn memory(&self) -> (NonNull<u8>, usize);
}

/// Memory of the caller for transfers of one direction, in up to `N` segments that a device sees; the CPU
/// and the device have it in turns.
///
/// A segment that the device does not reach gets a bounce buffer: memory of the platform within the mask,
/// to which the bytes are copied before the device gets it, and from which they are copied back if the
/// device writes. The memory comes back from [`into_memory`](Self::into_memory).
///
/// # Invariants
/// * *mapped*: each entry's segment was mapped by `platform` and is until `drop`, and its memory is part
///   of `memory`, which lives as long. Its bounce region, if it has one, came from `platform` too, has as
///   many bytes, and goes back in `drop`.
/// * *idle*: when it is dropped, no device has it: one that has keeps it in an [`InFlight`].
pub struct SgList<
    const N: usize,
    M: DmaMemory,
    D: Direction = Bidirectional,
    P: DmaPlatform = &'static (dyn DmaPlatform + Sync),
> {
    /// The first ones are there, the others not.
    entries: [Option<Entry>; N],
    platform: P,
    memory: Option<M>,
    direction: PhantomData<fn() -> D>,
}

#[derive(Debug)]
struct Entry {
    segment: DmaSegment,
    bounce: Option<DmaRegion>,
}

// SAFETY: the segments are addresses of `memory`, which *still* keeps in place, and travel with it.
unsafe impl Send for Entry {}

impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> SgList<N, M, D, P> {
    /// Lets a device of `mask` at `memory`.
    ///
    /// # Errors
    /// With the memory: [`DmaError`] for no bytes, more than `N` segments, a place that the platform does
    /// not know, or no memory for a bounce buffer.
    pub fn new(platform: P, memory: M, mask: DmaMask) -> Result<Self, (M, DmaError)> {
        let (mut at, mut left) = memory.memory();
        let mut list = Self {
            entries: [const { None }; N],
            platform,
            memory: Some(memory),
            direction: PhantomData,
        };
        let mut count = 0;
        let done = if left == 0 {
            Err(DmaError::Nothing)
        } else {
            Ok(())
        };
        let done = done.and_then(|()| {
            while left > 0 {
                let bytes = list.push(count, at, left, mask)?;
                // SAFETY: *still*: `bytes` is at most `left`, so this is inside or the end.
                at = unsafe { at.add(bytes) };
                left -= bytes;
                count += 1;
            }
            Ok(())
        });
        match done {
            Ok(()) => Ok(list),
            Err(error) => Err((list.into_memory(), error)),
        }
    }

    /// Maps the next segment of the `left` bytes at `at`; how many bytes it has.
    fn push(
        &mut self,
        count: usize,
        at: NonNull<u8>,
        left: usize,
        mask: DmaMask,
    ) -> Result<usize, DmaError> {
        let place = self.entries.get_mut(count);
        let place = place.ok_or(DmaError::Segments { max: N })?;
        // SAFETY: *still*: the bytes are part of `memory`, which is dropped after `unmap`.
        let segment = unsafe { self.platform.map(at, left) }?;
        let bytes = segment.bytes.min(left);
        let segment = DmaSegment {
            memory: at,
            bytes,
            ..segment
        };
        let entry = place.insert(Entry {
            segment,
            bounce: None,
        });
        let reached = segment
            .addr
            .filter(|addr| mask.reaches(*addr, bytes as u64));
        if reached.is_none() {
            entry.bounce = Some(self.platform.allocate(bytes, mask)?);
        }
        Ok(bytes)
    }

    /// Gives it to a device.
    pub fn submit(self) -> InFlight<Self> {
        InFlight::new(self)
    }

    /// Ends the device's access and gives the memory back.
    #[must_use]
    pub fn into_memory(mut self) -> M {
        match self.memory.take() {
            Some(memory) => memory,
            None => unreachable!("the memory leaves with the list"),
        }
    }

    /// How many segments go through a bounce buffer.
    #[must_use]
    pub fn bounced(&self) -> usize {
        self.entries()
            .filter(|entry| entry.bounce.is_some())
            .count()
    }

    /// Where a device finds each segment.
    pub(super) fn device_segments(&self) -> impl Iterator<Item = (DmaAddr, usize)> {
        self.entries().filter_map(|entry| {
            let bounce = entry.bounce.as_ref().map(|bounce| bounce.addr);
            Some((bounce.or(entry.segment.addr)?, entry.segment.bytes))
        })
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map_while(Option::as_ref)
    }
}

impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> Handover for SgList<N, M, D, P> {
    /// What the device only writes goes to a bounce buffer as well: it may write less than all, and the
    /// rest comes back as it was (as in Linux since commit ddbd89deb7d3).
    fn for_device(&self) {
        for entry in self.entries() {
            let DmaSegment { memory, bytes, .. } = entry.segment;
            let shared = entry.bounce.as_ref().map_or(memory, |bounce| bounce.memory);
            if entry.bounce.is_some() {
                // SAFETY: *mapped*: both have `bytes` bytes; *alone* and *unshared*: no reference.
                unsafe { copy::between(memory, shared, bytes) };
            }
            self.platform.sync_for_device(shared, bytes, D::DIRECTION);
        }
    }

    fn for_cpu(&self) {
        for entry in self.entries() {
            let DmaSegment { memory, bytes, .. } = entry.segment;
            let shared = entry.bounce.as_ref().map_or(memory, |bounce| bounce.memory);
            self.platform.sync_for_cpu(shared, bytes, D::DIRECTION);
            if entry.bounce.is_some() && D::DIRECTION.from_device() {
                // SAFETY: *mapped*: both have `bytes` bytes; *alone* and *unshared*: no reference.
                unsafe { copy::between(shared, memory, bytes) };
            }
        }
    }
}

impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> Drop for SgList<N, M, D, P> {
    fn drop(&mut self) {
        for entry in self.entries.iter_mut().map_while(Option::take) {
            if let Some(bounce) = entry.bounce {
                // SAFETY: *mapped* and *idle*; the entry is gone after this.
                unsafe { self.platform.release(bounce) };
            }
            // SAFETY: *mapped* and *idle*; the entry is gone after this.
            unsafe { self.platform.unmap(entry.segment) };
        }
    }
}

impl<const N: usize, M: DmaMemory, D: Direction, P: DmaPlatform> fmt::Debug for SgList<N, M, D, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SgList")
            .field("segments", &self.entries().count())
            .field("bounced", &self.bounced())
            .field("direction", &D::DIRECTION)
            .finish_non_exhaustive()
    }
}
