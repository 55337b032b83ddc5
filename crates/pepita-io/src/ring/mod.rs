#![expect(unsafe_code, reason = "pushing an entry is a promise about memory")]
//! The ring: two queues shared with the kernel, and the system call between them.
//!
//! A [`Ring`] belongs to the thread that made it. Entries are [pushed](Ring::push) into the submission queue,
//! handed over together by [`submit`](Ring::submit), and come back through
//! [`completions`](Ring::completions), which carry the `user_data` of their entries.
//!
//! ```
//! use pepita_io::ring::RingConfig;
//! use pepita_sys::io_uring::IoUringSqe;
//!
//! let mut ring = RingConfig::new(8).build()?;
//! ring.push_nop(7)?;
//! ring.submit_and_wait(1)?;
//! let done: Vec<_> = ring.completions().map(|cqe| (cqe.user_data, cqe.res)).collect();
//! assert_eq!(done, [(7, 0)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the kernel may do with memory
//! An entry is numbers, some of which are addresses. The kernel uses what they lead to from the submission
//! until the entry's last completion: the one without
//! [`IORING_CQE_F_MORE`](pepita_sys::io_uring::IORING_CQE_F_MORE). Neither closing the ring nor cancelling an
//! operation ends that: only its completion does. So [`Ring::push`] is `unsafe`, and whoever drops a ring
//! with operations in flight must leave their memory alone for good.
//!
//! Source: io_uring(7), io_uring_setup(2), io_uring_enter(2).

#[cfg(feature = "std")]
mod buffer_pool;
mod buffer_ring;
mod calls;
mod config;
#[cfg(feature = "std")]
mod descriptor;
mod entry;
mod error;
mod queue;
mod region;
pub mod register;
mod resize;
mod wait;
mod wait_region;

use core::marker::PhantomData;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_ENTER_GETEVENTS, IORING_ENTER_SQ_WAIT, IORING_ENTER_SQ_WAKEUP, IORING_FEAT_MIN_TIMEOUT,
    IORING_SETUP_IOPOLL, IORING_SETUP_SQPOLL, IORING_SQ_CQ_OVERFLOW, IORING_SQ_TASKRUN, IoUringCqe,
    IoUringParams, IoUringSqe,
};
use pepita_sys::syscall::Fd;

#[cfg(feature = "std")]
pub use buffer_pool::{Buffer, BufferError, BufferPool, Buffers};
pub use buffer_ring::{BufferRing, BufferUse};
use calls::Entrance;
pub use config::RingConfig;
pub use entry::{CqEntry, MixedCqe, SqEntry};
pub use error::{QueueFull, Refusal, SetupError};
pub use queue::Completions;
use queue::Queues;
#[cfg(feature = "std")]
pub(crate) use region::Region;
pub use wait::Wait;
use wait_region::WaitRegion;

/// A ring, for the thread that made it.
///
/// `S` and `C` are the shapes of its entries and completions.
///
/// Dropping it closes it. The kernel may go on with operations in flight: see the module's documentation.
///
/// ```compile_fail,E0277
/// let ring = pepita_io::ring::RingConfig::new(8).build().unwrap();
/// std::thread::spawn(move || drop(ring)); // a ring stays on its thread
/// ```
#[derive(Debug)]
pub struct Ring<S: SqEntry = IoUringSqe, C: CqEntry = IoUringCqe> {
    /// Unmapped before the descriptor is closed.
    queues: Queues<S, C>,
    waits: Option<WaitRegion>,
    entrance: Entrance,
    setup_flags: u32,
    features: u32,
    fd: Fd,
    /// The registered index and `IORING_SETUP_SINGLE_ISSUER` hold for one thread.
    _one_thread: PhantomData<*mut ()>,
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    fn new(fd: Fd, params: &IoUringParams) -> Result<Self> {
        let queues = Queues::map(fd.as_raw(), params)?;
        Ok(Self {
            queues,
            waits: None,
            entrance: Entrance::register(&fd),
            setup_flags: params.flags,
            features: params.features,
            fd,
            _one_thread: PhantomData,
        })
    }

    /// The ring's descriptor, which stays the ring's.
    #[must_use]
    pub const fn fd(&self) -> i32 {
        self.fd.as_raw()
    }

    /// The `IORING_SETUP_` flags that the kernel took.
    #[must_use]
    pub const fn setup_flags(&self) -> u32 {
        self.setup_flags
    }

    /// The kernel's `IORING_FEAT_` flags.
    #[must_use]
    pub const fn features(&self) -> u32 {
        self.features
    }

    /// Whether the thread enters by an index, which spares the kernel the look-up of the descriptor. A
    /// thread has 16 of them.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.entrance.is_registered()
    }

    /// Count of entries that the submission queue holds.
    #[inline]
    #[must_use]
    pub const fn sq_capacity(&self) -> u32 {
        self.queues.sq.capacity()
    }

    /// Count of completions that the completion queue holds.
    #[inline]
    #[must_use]
    pub const fn cq_capacity(&self) -> u32 {
        self.queues.cq.capacity()
    }

    /// Count of entries that may be pushed before the next submission.
    #[inline]
    pub fn sq_room(&mut self) -> u32 {
        self.queues.sq.refresh();
        self.queues.sq.capacity() - self.queues.sq.len()
    }

    /// Whether a push would fail, as far as the kernel was when it was last asked; a submission asks.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.queues.sq.known_room() == 0
    }

    /// Count of completions that the kernel had no memory to keep, since the ring was made. Operations of
    /// such completions have ended unseen.
    #[must_use]
    pub fn dropped_completions(&self) -> u32 {
        self.queues.cq.dropped()
    }

    /// Adds an entry, to be handed over by the next submission.
    ///
    /// Entries that are [linked](IoUringSqe::link) belong into one submission: ask for
    /// [room](Self::sq_room) first.
    ///
    /// # Errors
    /// [`QueueFull`] when there is no free slot; nothing has changed then.
    ///
    /// # Safety
    /// * What the entry's addresses lead to is the kernel's to read, and to write where the operation does,
    ///   until the entry's last completion has been seen.
    /// * That holds also when the operation is cancelled, the submission fails, or the ring is dropped:
    ///   without the completion, the memory is never touched again.
    /// * What the operation does to descriptors, to other operations and to the process is what their owners
    ///   expect.
    #[inline(always)]
    pub unsafe fn push(&mut self, entry: S) -> core::result::Result<(), QueueFull> {
        self.queues.sq.push(entry).map(drop)
    }

    /// As [`Self::push`], and says how many more may be pushed, as far as the kernel was when it was last
    /// asked.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) unsafe fn push_and_count(
        &mut self,
        entry: S,
    ) -> core::result::Result<u32, QueueFull> {
        self.queues.sq.push(entry)
    }

    /// Hands over what was pushed, and takes up what has completed since; does not wait. Without either, no
    /// system call is made.
    ///
    /// Returns how many entries were handed over.
    ///
    /// # Errors
    /// What io_uring_enter(2) says. Entries that it did not take stay in the queue.
    #[inline]
    pub fn submit(&mut self) -> Result<u32> {
        let to_submit = self.queues.publish();
        let mut flags = self.wakeup_flag();
        if self.has_work() {
            flags |= IORING_ENTER_GETEVENTS;
        }
        if flags == 0 && (to_submit == 0 || self.is_sq_polled()) {
            return Ok(0);
        }
        let submitted = self.entrance.enter(to_submit, 0, flags)?;
        self.queues.sq.refresh();
        Ok(submitted)
    }

    /// Hands over what was pushed, and waits until `want` completions are there.
    ///
    /// Returns how many entries were handed over.
    ///
    /// # Errors
    /// What io_uring_enter(2) says; `EINTR` where a signal was handled before anything was handed over.
    #[inline]
    pub fn submit_and_wait(&mut self, want: u32) -> Result<u32> {
        let to_submit = self.queues.publish();
        let flags = self.wakeup_flag() | IORING_ENTER_GETEVENTS;
        let submitted = self.entrance.enter(to_submit, want, flags)?;
        self.queues.sq.refresh();
        Ok(submitted)
    }

    /// As [`Self::submit_and_wait`], with a time or a signal set.
    ///
    /// ```
    /// use core::time::Duration;
    /// use pepita_io::ring::{RingConfig, Wait};
    /// use pepita_sys::error::Errno;
    ///
    /// let mut ring = RingConfig::new(8).build()?;
    /// let nothing = ring.submit_and_wait_for(1, &Wait::new().timeout(Duration::from_millis(1)));
    /// assert_eq!(nothing.unwrap_err().to_errno(), Errno::ETIME);
    /// # Ok::<(), pepita_io::ring::SetupError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::submit_and_wait`], and `ETIME` when the time ran out before anything was handed over;
    /// `EOPNOTSUPP` for a [`Wait::min_wait`] before Linux 6.12.
    pub fn submit_and_wait_for(&mut self, want: u32, wait: &Wait) -> Result<u32> {
        self.check_wait(wait)?;
        let to_submit = self.queues.publish();
        let flags = self.wakeup_flag() | IORING_ENTER_GETEVENTS;
        let submitted =
            wait.with_arg(|arg| self.entrance.enter_with(to_submit, want, flags, arg))?;
        self.queues.sq.refresh();
        Ok(submitted)
    }

    /// Sets what a wait with slot `index` is like; before that, it is for ever.
    ///
    /// # Errors
    /// `EINVAL` when the ring was made with fewer [slots](RingConfig::wait_slots), `EOPNOTSUPP` for a
    /// [`Wait::min_wait`] before Linux 6.12.
    pub fn set_wait(&mut self, index: u32, wait: &Wait) -> Result<()> {
        self.check_wait(wait)?;
        let set = self.waits.as_mut().map(|waits| waits.set(index, wait));
        match set {
            Some(true) => Ok(()),
            _ => Err(KernelError::from_errno("set_wait", Errno::EINVAL)),
        }
    }

    /// As [`Self::submit_and_wait_for`], with what slot `index` was [set](Self::set_wait) to.
    ///
    /// ```
    /// use core::time::Duration;
    /// use pepita_io::ring::{RingConfig, SetupError, Wait};
    /// use pepita_sys::error::Errno;
    ///
    /// let mut ring = match RingConfig::new(8).wait_slots(1).build() {
    ///     Err(SetupError::Unsupported { .. }) => return Ok(()), // before Linux 6.14
    ///     ring => ring?,
    /// };
    /// ring.set_wait(0, &Wait::new().timeout(Duration::from_millis(1)))?;
    /// for _ in 0..3 {
    ///     let nothing = ring.submit_and_wait_registered(1, 0);
    ///     assert_eq!(nothing.unwrap_err().to_errno(), Errno::ETIME);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::submit_and_wait_for`], and `EINVAL` when there is no such slot.
    #[inline]
    pub fn submit_and_wait_registered(&mut self, want: u32, index: u32) -> Result<u32> {
        let waits = self.waits.as_ref();
        let Some(offset) = waits.and_then(|waits| waits.offset(index)) else {
            return Err(KernelError::from_errno("io_uring_enter", Errno::EINVAL));
        };
        let to_submit = self.queues.publish();
        let flags = self.wakeup_flag() | IORING_ENTER_GETEVENTS;
        let submitted = self
            .entrance
            .enter_registered(to_submit, want, flags, offset)?;
        self.queues.sq.refresh();
        Ok(submitted)
    }

    fn check_wait(&self, wait: &Wait) -> Result<()> {
        if wait.needs_min_timeout() && self.features & IORING_FEAT_MIN_TIMEOUT == 0 {
            return Err(KernelError::from_errno("io_uring_enter", Errno::EOPNOTSUPP));
        }
        Ok(())
    }

    /// Registers `count` slots for waits with a ring that is disabled.
    fn register_waits(&mut self, count: u32) -> Result<()> {
        self.waits = Some(WaitRegion::register(self.fd(), count)?);
        Ok(())
    }

    /// Waits until a polling thread has made room in the submission queue.
    ///
    /// # Errors
    /// What io_uring_enter(2) says.
    pub fn wait_for_room(&mut self) -> Result<()> {
        let to_submit = self.queues.publish();
        if self.is_sq_polled() && self.queues.sq.len() == self.sq_capacity() {
            let flags = self.wakeup_flag() | IORING_ENTER_SQ_WAIT;
            self.entrance.enter(to_submit, 0, flags)?;
            self.queues.sq.refresh();
        }
        Ok(())
    }

    /// Whether a completion is there.
    #[inline]
    pub fn has_completions(&mut self) -> bool {
        self.queues.cq.refresh() > 0
    }

    /// The completions that are there now; iterating takes them out.
    ///
    /// This makes no system call: [`submit`](Self::submit) brings up what has completed meanwhile.
    #[inline]
    pub fn completions(&mut self) -> Completions<'_, C> {
        Completions::new(&mut self.queues.cq)
    }

    /// Takes all completions that are there, as [`Self::completions`] does, and a little faster.
    #[inline(always)]
    pub fn drain_completions(&mut self, each: impl FnMut(C)) {
        self.queues.cq.drain(each);
    }

    /// Takes one completion, if one is there.
    #[inline]
    pub fn pop(&mut self) -> Option<C> {
        self.queues.cq.pop()
    }

    /// Takes the first of the completions that were there when it was last asked for them, if it is `wanted`.
    /// Its slot goes back with the next submission.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&C) -> bool) -> Option<C> {
        self.queues.cq.take_if(wanted)
    }

    #[inline]
    const fn is_sq_polled(&self) -> bool {
        self.setup_flags & IORING_SETUP_SQPOLL != 0
    }

    /// Whether completions come up only when the thread enters.
    #[inline]
    fn has_work(&self) -> bool {
        let waiting = IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN;
        self.queues.sq.flags() & waiting != 0 || self.setup_flags & IORING_SETUP_IOPOLL != 0
    }

    #[inline]
    fn wakeup_flag(&self) -> u32 {
        if self.is_sq_polled() && self.queues.sq.needs_wakeup() {
            IORING_ENTER_SQ_WAKEUP
        } else {
            0
        }
    }
}

impl<S: SqEntry + From<IoUringSqe>, C: CqEntry> Ring<S, C> {
    /// Adds an entry that does nothing, which needs no promise.
    ///
    /// # Errors
    /// As [`Self::push`].
    #[inline(always)]
    pub fn push_nop(&mut self, user_data: u64) -> core::result::Result<(), QueueFull> {
        // SAFETY: it leads nowhere.
        unsafe { self.push(IoUringSqe::nop().user_data(user_data).into()) }
    }
}

impl<S: SqEntry, C: CqEntry> Drop for Ring<S, C> {
    fn drop(&mut self) {
        self.entrance.unregister(&self.fd);
    }
}
