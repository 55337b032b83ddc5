#![expect(
    unsafe_code,
    reason = "maps the rings and reads what the kernel writes"
)]
//! The least ring that submits an SQE and shows its completion. `pepita-io` has the real one.
//!
//! # Invariants
//! * test-keeps: what a test's SQEs lead to lives until the test has seen their last completion, or until
//!   the test's process ends.
//! * ring-map: `map` is the mapping of both rings, and `sqes` that of the entries, until the ring is dropped;
//!   the kernel's offsets lie inside, and everything at them is aligned.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use pepita_sys::error::{KernelError, Result};
use pepita_sys::io_uring::*;
use pepita_sys::syscall::{self, Fd};

/// Entries of the submission queue.
const ENTRIES: u32 = 64;

pub(crate) struct Ring {
    fd: Fd,
    params: IoUringParams,
    map: NonNull<u8>,
    map_len: usize,
    sqes: NonNull<u8>,
    sqes_len: usize,
    pending: u32,
}

impl Ring {
    pub(crate) fn with_flags(flags: u32) -> Result<Self> {
        let failed = |operation| move |errno| KernelError::from_errno(operation, errno);
        let mut params = IoUringParams {
            flags,
            ..IoUringParams::default()
        };
        // SAFETY: no `NO_MMAP`: the kernel brings the memory.
        let fd = unsafe { syscall::io_uring_setup(ENTRIES, &mut params) }
            .map_err(failed("io_uring_setup"))?;
        // SAFETY: the call just made it.
        let fd = unsafe { Fd::from_raw(fd) };
        let cqe_len = if flags & IORING_SETUP_CQE32 == 0 {
            16
        } else {
            32
        };
        let sqe_len = if flags & IORING_SETUP_SQE128 == 0 {
            64
        } else {
            128
        };
        let sq_end = params.sq_off.array + 4 * params.sq_entries;
        let cq_end = params.cq_off.cqes + cqe_len * params.cq_entries;
        let map_len = sq_end.max(cq_end) as usize;
        let sqes_len = (sqe_len * params.sq_entries) as usize;
        let map = |len, offset| {
            let prot = syscall::PROT_READ | syscall::PROT_WRITE;
            let flags = syscall::MAP_SHARED | syscall::MAP_POPULATE;
            // SAFETY: the ring's own memory, of the length that the kernel told.
            unsafe { syscall::mmap(len, prot, flags, fd.as_raw(), offset) }.map_err(failed("mmap"))
        };
        Ok(Self {
            map: map(map_len, IORING_OFF_SQ_RING)?,
            sqes: map(sqes_len, IORING_OFF_SQES)?,
            map_len,
            sqes_len,
            params,
            fd,
            pending: 0,
        })
    }

    /// A ring for the operation `op`, or `None` after saying why `test` is skipped.
    pub(crate) fn for_test(test: &str, op: u8) -> Option<Self> {
        match Self::with_flags(0) {
            Ok(ring) if ring.supports(op) => return Some(ring),
            Ok(_) => println!("SKIPPED: {test}: this kernel has no operation {op}"),
            Err(error) => println!("SKIPPED: {test}: no io_uring here: {error}"),
        }
        None
    }

    pub(crate) fn fd(&self) -> i32 {
        self.fd.as_raw()
    }

    pub(crate) fn supports(&self, op: u8) -> bool {
        let mut probe = [0_u64; 2 + 256];
        let arg = probe.as_mut_ptr().expose_provenance();
        self.register(IORING_REGISTER_PROBE, arg, 256)
            .expect("a probe with 256 places");
        // Header of 16 bytes, then 8 bytes for each operation, with the flags in the third and fourth.
        let flags = probe[2 + usize::from(op)].to_le_bytes();
        flags[2] & IO_URING_OP_SUPPORTED.to_le_bytes()[0] != 0
    }

    pub(crate) fn register(&self, opcode: u32, arg: usize, nr_args: u32) -> Result<u32> {
        // SAFETY: test-keeps.
        unsafe { syscall::io_uring_register(self.fd(), opcode, arg, nr_args) }
            .map_err(|errno| KernelError::from_errno("io_uring_register", errno))
    }

    /// A word that the kernel shares.
    fn word(&self, offset: u32) -> &AtomicU32 {
        let word = self
            .map
            .as_ptr()
            .wrapping_add(offset as usize)
            .cast::<u32>();
        // SAFETY: ring-map; the kernel too accesses it as one word.
        unsafe { AtomicU32::from_ptr(word) }
    }

    pub(crate) fn push(&mut self, sqe: impl Into<IoUringSqe128>) {
        let sqe = sqe.into();
        let tail = self.word(self.params.sq_off.tail).load(Ordering::Relaxed);
        let index = tail & (self.params.sq_entries - 1);
        self.word(self.params.sq_off.array + 4 * index)
            .store(index, Ordering::Relaxed);
        let large = self.params.flags & IORING_SETUP_SQE128 != 0;
        let size = if large {
            size_of::<IoUringSqe128>()
        } else {
            size_of::<IoUringSqe>()
        };
        let to = self.sqes.as_ptr().wrapping_add(index as usize * size);
        // SAFETY: ring-map; the kernel does not read this entry before the tail has passed it.
        unsafe { std::ptr::copy_nonoverlapping((&raw const sqe).cast(), to, size) };
        self.word(self.params.sq_off.tail)
            .store(tail.wrapping_add(1), Ordering::Release);
        self.pending += 1;
    }

    /// Submits what was pushed, and waits for `complete` completions.
    pub(crate) fn submit(&mut self, complete: u32) {
        let (fd, count) = (self.fd(), std::mem::take(&mut self.pending));
        // SAFETY: test-keeps; no argument.
        let submitted =
            unsafe { syscall::io_uring_enter(fd, count, complete, IORING_ENTER_GETEVENTS, 0, 0) };
        assert_eq!(submitted, Ok(count));
    }

    /// The next completion, if there is one; 32 bytes where it is large.
    fn pop(&mut self) -> Option<IoUringCqe32> {
        let head = self.word(self.params.cq_off.head).load(Ordering::Relaxed);
        if head == self.word(self.params.cq_off.tail).load(Ordering::Acquire) {
            return None;
        }
        let entry = |position: u32| {
            let index = (position & (self.params.cq_entries - 1)) as usize;
            let cqes = self
                .map
                .as_ptr()
                .wrapping_add(self.params.cq_off.cqes as usize);
            let cqe = cqes.cast::<IoUringCqe>().wrapping_add(index);
            // SAFETY: ring-map; the kernel does not write this entry before the head has passed it.
            unsafe { cqe.read_volatile() }
        };
        let mut cqe = IoUringCqe32 {
            cqe: entry(head),
            big_cqe: [0; 2],
        };
        let mut taken = 1;
        if cqe.cqe.flags & IORING_CQE_F_32 != 0 {
            let second = entry(head.wrapping_add(1));
            let res = u64::from(second.res.cast_unsigned());
            cqe.big_cqe = [second.user_data, res | u64::from(second.flags) << 32];
            taken = 2;
        }
        self.word(self.params.cq_off.head)
            .store(head.wrapping_add(taken), Ordering::Release);
        Some(cqe)
    }

    /// The next completion, waiting for it, of 16 or 32 bytes.
    pub(crate) fn next_large(&mut self) -> IoUringCqe32 {
        loop {
            if let Some(cqe) = self.pop() {
                return cqe;
            }
            self.submit(1);
        }
    }

    /// The next completion, waiting for it.
    pub(crate) fn next(&mut self) -> IoUringCqe {
        self.next_large().cqe
    }

    /// Submits one SQE and returns its completion.
    pub(crate) fn run(&mut self, sqe: impl Into<IoUringSqe128>) -> IoUringCqe {
        self.push(sqe);
        self.next()
    }

    /// Submits one SQE and returns its result, which the test expects to be good.
    #[track_caller]
    pub(crate) fn good(&mut self, sqe: impl Into<IoUringSqe128>) -> u32 {
        let cqe = self.run(sqe);
        cqe.result().expect("the operation succeeds")
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: ring-map; nobody uses the mapping any more.
        let rings = unsafe { syscall::munmap(self.map, self.map_len) };
        // SAFETY: as above.
        let sqes = unsafe { syscall::munmap(self.sqes, self.sqes_len) };
        assert_eq!((rings, sqes), (Ok(()), Ok(())));
    }
}
