#![expect(unsafe_code, reason = "raw rings take raw entries")]
//! [`Rings`]: what the cases ask of a bare ring.
//!
//! # Invariants
//! * buffers-live: a contender's buffers live until all of its reads have completed.

use anyhow::{Context, Result, ensure};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, types};
use pepita_io::ring::{Ring, RingConfig};
use pepita_sys::io_uring::IoUringSqe;

/// A bare ring.
pub(super) trait Rings: Sized {
    /// A ring for `entries` submissions, with one issuer, deferred completions, no array of indices, and
    /// registered with its thread.
    fn with(entries: u32) -> Result<Self>;

    /// Adds as many no-ops as `user_data` has numbers, which fit.
    fn push_nops(&mut self, user_data: std::ops::Range<u64>);

    /// Adds a read of `len` bytes at `offset`, which fits.
    ///
    /// # Safety
    /// * buffers-live holds for `buf`.
    unsafe fn push_read(&mut self, fd: i32, buf: *mut u8, len: u32, offset: u64, user_data: u64);

    fn submit_and_wait(&mut self, want: u32) -> Result<()>;

    /// Takes what has completed: `user_data` and result.
    fn reap(&mut self, each: impl FnMut(u64, i32));
}

/// Ours.
pub(super) struct Ours(Ring);

impl Rings for Ours {
    fn with(entries: u32) -> Result<Self> {
        let ring = RingConfig::new(entries).build()?;
        ensure!(ring.is_registered(), "no place to register a ring");
        Ok(Self(ring))
    }

    #[inline]
    fn push_nops(&mut self, user_data: std::ops::Range<u64>) {
        for user_data in user_data {
            self.0.push_nop(user_data).expect("room for a batch");
        }
    }

    #[inline]
    unsafe fn push_read(&mut self, fd: i32, buf: *mut u8, len: u32, offset: u64, user_data: u64) {
        let sqe = IoUringSqe::read(fd, buf, len, offset).user_data(user_data);
        // SAFETY: buffers-live.
        unsafe { self.0.push(sqe) }.expect("room for a read");
    }

    #[inline]
    fn submit_and_wait(&mut self, want: u32) -> Result<()> {
        self.0.submit_and_wait(want)?;
        Ok(())
    }

    #[inline]
    fn reap(&mut self, mut each: impl FnMut(u64, i32)) {
        for cqe in self.0.completions() {
            each(cqe.user_data, cqe.res);
        }
    }
}

/// The `io-uring` crate, set up as ours.
///
/// Its registration as a thread's ring is remembered by the `Submitter`, so the ring is split, for good.
pub(super) struct Peer {
    submitter: Submitter<'static>,
    submission: SubmissionQueue<'static>,
    completion: CompletionQueue<'static>,
}

impl Drop for Peer {
    /// Gives the thread's place back, of which it has 16. The ring stays open.
    fn drop(&mut self) {
        let _ = self.submitter.unregister_ring_fd();
    }
}

impl Rings for Peer {
    fn with(entries: u32) -> Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray();
        let ring: IoUring = builder.build(entries).context("io_uring_setup")?;
        let (mut submitter, submission, completion) = Box::leak(Box::new(ring)).split();
        submitter
            .register_ring_fd()
            .context("registering the ring")?;
        Ok(Self {
            submitter,
            submission,
            completion,
        })
    }

    #[inline]
    fn push_nops(&mut self, user_data: std::ops::Range<u64>) {
        self.submission.sync();
        for user_data in user_data {
            let entry = opcode::Nop::new().build().user_data(user_data);
            // SAFETY: a no-op leads nowhere.
            unsafe { self.submission.push(&entry) }.expect("room for a batch");
        }
        self.submission.sync();
    }

    #[inline]
    unsafe fn push_read(&mut self, fd: i32, buf: *mut u8, len: u32, offset: u64, user_data: u64) {
        let entry = opcode::Read::new(types::Fd(fd), buf, len)
            .offset(offset)
            .build()
            .user_data(user_data);
        // SAFETY: buffers-live.
        unsafe { self.submission.push(&entry) }.expect("room for a read");
    }

    #[inline]
    fn submit_and_wait(&mut self, want: u32) -> Result<()> {
        self.submission.sync();
        self.submitter.submit_and_wait(want as usize)?;
        self.submission.sync();
        Ok(())
    }

    #[inline]
    fn reap(&mut self, mut each: impl FnMut(u64, i32)) {
        self.completion.sync();
        for cqe in &mut self.completion {
            each(cqe.user_data(), cqe.result());
        }
        self.completion.sync();
    }
}
