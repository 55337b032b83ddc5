//! Operations that wait, that end waiting, and that speak to other rings.

use core::ffi::c_void;

use super::super::sqe::address;
use super::super::*;

impl IoUringSqe {
    /// Waits for poll(2) `events` of `fd`; `poll_flags` may have [`IORING_POLL_ADD_MULTI`]. The result is
    /// what came.
    #[inline]
    #[must_use]
    pub const fn poll_add(fd: i32, events: u32, poll_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_POLL_ADD, fd, 0, poll_flags);
        sqe.op_flags = events;
        sqe
    }

    /// Ends the poll that `target` is the user data of.
    #[inline]
    #[must_use]
    pub const fn poll_remove(target: u64) -> Self {
        Self::new(IORING_OP_POLL_REMOVE, -1, target, 0)
    }

    /// Changes a poll: its user data with [`IORING_POLL_UPDATE_USER_DATA`], its events with
    /// [`IORING_POLL_UPDATE_EVENTS`], in `poll_flags`.
    #[inline]
    #[must_use]
    pub const fn poll_update(
        target: u64,
        new_user_data: u64,
        events: u32,
        poll_flags: u32,
    ) -> Self {
        let mut sqe = Self::new(IORING_OP_POLL_REMOVE, -1, target, poll_flags);
        sqe.off = new_user_data;
        sqe.op_flags = events;
        sqe
    }

    /// Completes with `ETIME` after `ts`, or with 0 after `count` further completions (0 for none of that).
    #[inline]
    #[must_use]
    pub fn timeout(ts: *const Timespec, count: u32, timeout_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_TIMEOUT, -1, address(ts), 1);
        sqe.off = count as u64;
        sqe.op_flags = timeout_flags;
        sqe
    }

    /// Ends the timeout that `target` is the user data of.
    #[inline]
    #[must_use]
    pub const fn timeout_remove(target: u64) -> Self {
        Self::new(IORING_OP_TIMEOUT_REMOVE, -1, target, 0)
    }

    /// Gives a timeout another time; of a chain, with [`IORING_LINK_TIMEOUT_UPDATE`] in `timeout_flags`.
    #[inline]
    #[must_use]
    pub fn timeout_update(ts: *const Timespec, target: u64, timeout_flags: u32) -> Self {
        let mut sqe = Self::timeout_remove(target);
        sqe.off = address(ts);
        sqe.op_flags = timeout_flags | IORING_TIMEOUT_UPDATE;
        sqe
    }

    /// Cancels the operation before it, which is linked to it, after `ts`.
    #[inline]
    #[must_use]
    pub fn link_timeout(ts: *const Timespec, timeout_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_LINK_TIMEOUT, -1, address(ts), 1);
        sqe.op_flags = timeout_flags;
        sqe
    }

    /// Cancels what `target` is the user data of; with [`IORING_ASYNC_CANCEL_ANY`] and
    /// [`IORING_ASYNC_CANCEL_ALL`] in `cancel_flags`, everything.
    #[inline]
    #[must_use]
    pub const fn cancel(target: u64, cancel_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_ASYNC_CANCEL, -1, target, 0);
        sqe.op_flags = cancel_flags;
        sqe
    }

    /// Cancels what works on `fd`; all of it with [`IORING_ASYNC_CANCEL_ALL`] in `cancel_flags`.
    #[inline]
    #[must_use]
    pub const fn cancel_fd(fd: i32, cancel_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_ASYNC_CANCEL, fd, 0, 0);
        sqe.op_flags = cancel_flags | IORING_ASYNC_CANCEL_FD;
        sqe
    }

    /// Waits for a child; what happened goes to the `siginfo_t` at `infop`, unless it is null. waitid(2).
    #[inline]
    #[must_use]
    pub fn waitid(idtype: u32, id: i32, infop: *mut c_void, options: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_WAITID, id, 0, idtype);
        sqe.off = address(infop);
        sqe.file_index = options;
        sqe
    }

    /// Waits as long as the futex at `uaddr` has the value `val`, for a wake-up that shares bits with `mask`.
    /// futex_wait(2), with `FUTEX2_` `flags`.
    #[inline]
    #[must_use]
    pub fn futex_wait(uaddr: *const u32, val: u64, mask: u64, flags: u32) -> Self {
        let fd = flags.cast_signed();
        let mut sqe = Self::new(IORING_OP_FUTEX_WAIT, fd, address(uaddr), 0);
        sqe.off = val;
        sqe.addr3 = mask;
        sqe
    }

    /// Wakes up to `nr` waiters that share bits with `mask`; the result is how many. futex_wake(2).
    #[inline]
    #[must_use]
    pub fn futex_wake(uaddr: *const u32, nr: u64, mask: u64, flags: u32) -> Self {
        let mut sqe = Self::futex_wait(uaddr, nr, mask, flags);
        sqe.opcode = IORING_OP_FUTEX_WAKE;
        sqe
    }

    /// Waits for any of `nr_futexes`; the result is which. futex_waitv(2).
    #[inline]
    #[must_use]
    pub fn futex_waitv(waiters: *const FutexWaitv, nr_futexes: u32) -> Self {
        Self::new(IORING_OP_FUTEX_WAITV, 0, address(waiters), nr_futexes)
    }

    /// Posts a completion with result `res` and user data `data` on the ring `ring_fd`.
    #[inline]
    #[must_use]
    pub const fn msg_ring(ring_fd: i32, res: u32, data: u64, msg_ring_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_MSG_RING, ring_fd, IORING_MSG_DATA, res);
        sqe.off = data;
        sqe.op_flags = msg_ring_flags;
        sqe
    }

    /// Puts the file in `source_slot` of this ring's table into the table of the ring `ring_fd`, where
    /// [`Self::direct`] or [`Self::direct_any`] says; a completion with user data `data` tells that ring.
    #[inline]
    #[must_use]
    pub const fn msg_ring_fd(
        ring_fd: i32,
        source_slot: u32,
        data: u64,
        msg_ring_flags: u32,
    ) -> Self {
        let mut sqe = Self::new(IORING_OP_MSG_RING, ring_fd, IORING_MSG_SEND_FD, 0);
        sqe.off = data;
        sqe.addr3 = source_slot as u64;
        sqe.op_flags = msg_ring_flags;
        sqe
    }
}
