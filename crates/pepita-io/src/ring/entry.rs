#![expect(unsafe_code, reason = "writes and reads entries in shared memory")]
//! The sizes of entries that a ring can have.

use core::fmt::Debug;
use core::ptr::NonNull;

use pepita_sys::io_uring::{
    IORING_CQE_F_32, IORING_CQE_F_SKIP, IORING_SETUP_CQE_MIXED, IORING_SETUP_CQE32,
    IORING_SETUP_SQE128, IoUringCqe, IoUringCqe32, IoUringSqe, IoUringSqe128,
};

mod sealed {
    pub trait Sealed {}
}

/// A submission's shape: [`IoUringSqe`] of 64 bytes, or [`IoUringSqe128`].
pub trait SqEntry: Copy + Debug + sealed::Sealed {
    /// What a ring of such entries is set up with.
    #[doc(hidden)]
    const SETUP_FLAG: u32;

    /// Writes the entry to its slot, word by word: a whole structure would be put together on the stack by
    /// narrow stores and then copied by wide loads, which wait for them.
    ///
    /// # Safety
    /// * `slot` is valid for writes, and aligned.
    #[doc(hidden)]
    unsafe fn store(self, slot: NonNull<Self>);
}

impl sealed::Sealed for IoUringSqe {}

impl SqEntry for IoUringSqe {
    const SETUP_FLAG: u32 = 0;

    #[inline(always)]
    unsafe fn store(self, slot: NonNull<Self>) {
        let words = [
            u64::from(self.opcode)
                | u64::from(self.flags) << 8
                | u64::from(self.ioprio) << 16
                | u64::from(self.fd.cast_unsigned()) << 32,
            self.off,
            self.addr,
            u64::from(self.len) | u64::from(self.op_flags) << 32,
            self.user_data,
            u64::from(self.buf_index)
                | u64::from(self.personality) << 16
                | u64::from(self.file_index) << 32,
            self.addr3,
            self.pad2,
        ]
        .map(u64::from_le);
        // SAFETY: the caller's duty: an entry is eight words.
        unsafe { slot.cast().write(words) };
    }
}

impl sealed::Sealed for IoUringSqe128 {}

impl SqEntry for IoUringSqe128 {
    const SETUP_FLAG: u32 = IORING_SETUP_SQE128;

    #[inline(always)]
    unsafe fn store(self, slot: NonNull<Self>) {
        // SAFETY: the caller's duty.
        unsafe { slot.write(self) };
    }
}

/// A completion's shape: [`IoUringCqe`] of 16 bytes, [`IoUringCqe32`], or [`MixedCqe`].
pub trait CqEntry: Copy + Debug + sealed::Sealed {
    /// What a ring of such entries is set up with.
    #[doc(hidden)]
    const SETUP_FLAG: u32;

    /// What one step of the ring's head passes over.
    #[doc(hidden)]
    type Slot: Copy + Debug;

    /// Reads the completion whose first slot is number `head`, and says how many slots it takes. `None` is
    /// a gap that says nothing.
    ///
    /// # Safety
    /// * `slots` leads to `mask + 1` slots that are valid for reads, and aligned.
    #[doc(hidden)]
    unsafe fn load(slots: NonNull<Self::Slot>, mask: u32, head: u32) -> (Option<Self>, u32);
}

/// Reads slot number `index`, by one volatile read of each word: it is read once, and what was read is
/// then used.
///
/// # Safety
/// * `slots` leads to `mask + 1` slots of 16 bytes that are valid for reads, and aligned.
#[inline(always)]
unsafe fn read_slot(slots: NonNull<IoUringCqe>, index: usize) -> IoUringCqe {
    let words = slots.as_ptr().wrapping_add(index).cast::<u64>();
    // SAFETY: the caller's duty: this is the slot's first word.
    let user_data = unsafe { words.read_volatile() };
    // SAFETY: the caller's duty: this is the slot's second word.
    let rest = unsafe { words.wrapping_add(1).read_volatile() };
    let [r0, r1, r2, r3, f0, f1, f2, f3] = rest.to_ne_bytes();
    IoUringCqe {
        user_data,
        res: i32::from_ne_bytes([r0, r1, r2, r3]),
        flags: u32::from_ne_bytes([f0, f1, f2, f3]),
    }
}

impl sealed::Sealed for IoUringCqe {}

impl CqEntry for IoUringCqe {
    const SETUP_FLAG: u32 = 0;
    type Slot = Self;

    #[inline(always)]
    unsafe fn load(slots: NonNull<Self>, mask: u32, head: u32) -> (Option<Self>, u32) {
        // SAFETY: the caller's duty, and the index is masked.
        (Some(unsafe { read_slot(slots, (head & mask) as usize) }), 1)
    }
}

impl sealed::Sealed for IoUringCqe32 {}

impl CqEntry for IoUringCqe32 {
    const SETUP_FLAG: u32 = IORING_SETUP_CQE32;
    type Slot = Self;

    #[inline(always)]
    unsafe fn load(slots: NonNull<Self>, mask: u32, head: u32) -> (Option<Self>, u32) {
        let index = 2 * (head & mask) as usize;
        // SAFETY: the caller's duty: a slot of 32 bytes is two of 16, and the index is masked.
        let first = unsafe { read_slot(slots.cast(), index) };
        // SAFETY: the same, of its second half.
        let second = unsafe { read_slot(slots.cast(), index + 1) };
        (Some(join(first, second)), 1)
    }
}

/// A completion of a ring in which both sizes occur (Linux 6.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MixedCqe {
    /// 16 bytes.
    Small(IoUringCqe),
    /// 32 bytes.
    Large(IoUringCqe32),
}

impl MixedCqe {
    /// What both sizes have.
    #[inline]
    #[must_use]
    pub const fn cqe(&self) -> IoUringCqe {
        match self {
            Self::Small(cqe) => *cqe,
            Self::Large(large) => large.cqe,
        }
    }
}

impl sealed::Sealed for MixedCqe {}

impl CqEntry for MixedCqe {
    const SETUP_FLAG: u32 = IORING_SETUP_CQE_MIXED;
    type Slot = IoUringCqe;

    #[inline(always)]
    unsafe fn load(slots: NonNull<IoUringCqe>, mask: u32, head: u32) -> (Option<Self>, u32) {
        let index = head & mask;
        // SAFETY: the caller's duty, and the index is masked.
        let cqe = unsafe { read_slot(slots, index as usize) };
        if cqe.flags & IORING_CQE_F_SKIP != 0 {
            return (None, 1);
        }
        // The kernel fills the last slot with a gap rather than let a large one wrap.
        if cqe.flags & IORING_CQE_F_32 == 0 || index == mask {
            return (Some(Self::Small(cqe)), 1);
        }
        // SAFETY: the caller's duty; this is not the last slot, so there is one after it.
        let second = unsafe { read_slot(slots, index as usize + 1) };
        (Some(Self::Large(join(cqe, second))), 2)
    }
}

/// A large completion of its two halves.
#[inline(always)]
fn join(cqe: IoUringCqe, second: IoUringCqe) -> IoUringCqe32 {
    let low = u64::from(second.res.cast_unsigned());
    IoUringCqe32 {
        cqe,
        big_cqe: [second.user_data, u64::from(second.flags) << 32 | low],
    }
}
