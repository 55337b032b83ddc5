#![expect(unsafe_code, reason = "pushes entries that wake a thread")]
//! What wakes the thread of queues besides commands: its bell, descriptors of lanes, and time.

use pepita_sys::blk_mq::Lane;
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::io_uring::{IORING_POLL_ADD_MULTI, IoUringSqe};

use super::{BELL, LANE, QueueThread, STOP_TICK, TICK};
use crate::ublk::UblkError;

/// `POLLIN`, as an entry has it.
const READABLE: u32 = libc::POLLIN.cast_unsigned() as u32;

impl<L: Lane> QueueThread<L> {
    /// Has the bell wake the thread from now on.
    pub(super) fn hear_bell(&mut self) -> Result<(), UblkError> {
        if !self.has_bell {
            self.arm_bell()?;
            self.has_bell = true;
        }
        Ok(())
    }

    /// Has the bell wake the thread, time and again.
    pub(super) fn arm_bell(&self) -> Result<(), UblkError> {
        let bell = self.desk.shared().bell();
        let entry = IoUringSqe::poll_add(bell, READABLE, IORING_POLL_ADD_MULTI).user_data(BELL);
        // SAFETY: the entry leads nowhere.
        Ok(unsafe { self.ring.push(entry) }?)
    }

    /// Has a lane's descriptor wake the thread, once: a lane is to be polled as long as it is readable.
    #[inline]
    pub(super) fn arm_lane(&self, number: u16) -> Result<(), UblkError> {
        let Some(Some(queue)) = self.queues.get(usize::from(number)) else {
            return Ok(());
        };
        let Some(bell) = queue.bell else {
            return Ok(());
        };
        let entry = IoUringSqe::poll_add(bell, READABLE, 0).user_data(LANE | u64::from(number));
        // SAFETY: the entry leads nowhere.
        Ok(unsafe { self.ring.push(entry) }?)
    }

    /// The descriptor of the lane `number` was waited for.
    pub(super) fn lane_rang(&mut self, number: u16, res: i32) -> Result<(), UblkError> {
        let queue = self
            .queues
            .get(usize::from(number))
            .and_then(Option::as_ref);
        let is_waited_for = queue.is_some_and(|queue| queue.bell.is_some());
        if let Some(errno) = Errno::of_result(res).filter(|_| is_waited_for) {
            // It is none, and would be waited for again and again.
            return Err(KernelError::from_errno("poll of a lane's descriptor", errno).into());
        }
        self.list(number, true);
        Ok(())
    }

    pub(super) fn arm_tick(&mut self) -> Result<(), UblkError> {
        self.is_ticking = true;
        let entry = IoUringSqe::timeout(&raw const *self.tick, 0, 0).user_data(TICK);
        // SAFETY: the time is in a box of this value's, which is dropped after the ring has read it, or never was
        // to; a change meanwhile is another time.
        Ok(unsafe { self.ring.push(entry) }?)
    }

    pub(super) fn arm_stop_tick(&self) -> Result<(), UblkError> {
        let entry = IoUringSqe::timeout(&raw const *self.stop_tick, 0, 0).user_data(STOP_TICK);
        // SAFETY: as above.
        Ok(unsafe { self.ring.push(entry) }?)
    }
}
