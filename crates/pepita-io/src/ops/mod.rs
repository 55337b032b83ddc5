#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations that own what they work on.
//!
//! An operation is a value: it keeps its buffers and files until the kernel is done, then gives them back.
//! [`LocalRing`](crate::LocalRing) runs it on this thread's ring. Flags are [`pepita_sys::syscall`]'s `O_` of
//! [`open`], and types of the crate rustix, which stand here too.

mod chain;
mod files;
mod messages;
mod net;
mod options;
mod paths;
mod time;
mod vectored;
mod wait;
mod whole;

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

pub use crate::local::Origin;
use crate::ring::RingConfig;
use crate::ring::register::Probe;
#[doc(no_inline)]
pub use rustix::event::PollFlags;
#[doc(no_inline)]
pub use rustix::fs::{AtFlags, FallocateFlags, RenameFlags, Statx, StatxFlags};
#[doc(no_inline)]
pub use rustix::net::{AddressFamily, Protocol, SocketAddrAny, SocketType, addr::SocketAddrArg};

pub(crate) use chain::linked;
pub use chain::{Hard, Link, hard};
pub use files::*;
pub use messages::*;
pub use net::*;
pub use options::*;
pub use paths::*;
pub use time::*;
pub use vectored::*;
pub use wait::*;
pub use whole::Rest;
pub(crate) use whole::{read_exact, write_all};

/// Something that a ring can do.
///
/// # Safety
/// * What the entry's addresses lead to, and the files that it names, are kept by the value: they stay where
///   they are when it is moved, and are its own until it is dropped.
/// * The entry has no flag of a chain, and no `user_data`; these are the ring's.
pub unsafe trait Operation: 'static {
    /// What comes of it.
    type Output;

    /// When the next operation of a chain starts, if there is one.
    const LINK: Link = Link::Soft;

    /// The entry. Called once, before anything else.
    fn entry(&mut self) -> IoUringSqe;

    /// What comes of it, from the completion. The kernel is done with what the value keeps.
    fn complete(self, cqe: IoUringCqe) -> Self::Output;

    /// Puts away what came of it when nobody waits any more: a file that was opened is closed.
    fn discard(self, cqe: IoUringCqe)
    where
        Self: Sized,
    {
        drop(self.complete(cqe));
    }
}

/// Something that a ring does again and again, until it is dropped or fails.
///
/// # Safety
/// * As [`Operation`].
pub unsafe trait MultiOperation: 'static {
    /// What comes of it each time.
    type Item;

    /// The entry. Called once, before anything else.
    fn entry(&mut self) -> IoUringSqe;

    /// What came of it this time, or `None` at its end. An item that nobody waits for is dropped.
    fn item(&mut self, cqe: IoUringCqe, origin: Origin<'_>) -> Option<Self::Item>;
}

mod sealed {
    pub trait Sealed {}

    pub trait Folder: Clone + 'static {
        /// The descriptor's number, or `AT_FDCWD`.
        fn folder_number(&self) -> i32;
    }
}

/// A file that stays open as long as an operation needs it: an [`Rc`] or [`Arc`] of what has a descriptor.
///
/// Operations keep a handle of their own, so that the descriptor cannot be closed, and its number given to
/// another file, before the kernel has looked at it.
pub trait SharedFile: Clone + sealed::Sealed + 'static {
    /// The descriptor's number.
    #[doc(hidden)]
    fn number(&self) -> i32;
}

macro_rules! shared_files {
    ($($pointer:ident),*) => {
        $(
            impl<T: AsFd + 'static> sealed::Sealed for $pointer<T> {}

            impl<T: AsFd + 'static> SharedFile for $pointer<T> {
                #[inline]
                fn number(&self) -> i32 {
                    self.as_fd().as_raw_fd()
                }
            }
        )*
    };
}

shared_files!(Rc, Arc);

/// `user_data` of the completion of an operation that the kernel never got.
const NOT_STARTED: u64 = u64::MAX;

/// What an operation comes to that the kernel never got.
pub(crate) const fn not_started(errno: Errno) -> IoUringCqe {
    IoUringCqe {
        user_data: NOT_STARTED,
        res: -errno.raw(),
        flags: 0,
    }
}

/// The count in a completion, or the error of `operation`.
fn count(operation: &'static str, cqe: IoUringCqe) -> Result<usize> {
    match cqe.result() {
        Ok(count) => Ok(count as usize),
        Err(errno) => Err(KernelError::from_errno(operation, errno)),
    }
}

/// Whether `operation` succeeded.
fn done(operation: &'static str, cqe: IoUringCqe) -> Result<()> {
    count(operation, cqe).map(drop)
}

/// The file that an operation made.
fn new_file(operation: &'static str, cqe: IoUringCqe) -> Result<OwnedFd> {
    done(operation, cqe)?;
    // SAFETY: the kernel opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(cqe.res) })
}

/// Whether `cqe` says that the kernel does not know the operation `op`. It says `EINVAL` then, as for wrong
/// arguments, so it is asked, once.
fn is_unknown(op: u8, cqe: IoUringCqe) -> bool {
    static PROBE: OnceLock<Option<Probe>> = OnceLock::new();
    if cqe.errno() != Some(Errno::EINVAL) {
        return false;
    }
    let ask = || RingConfig::new(1).build().ok()?.probe().ok();
    PROBE
        .get_or_init(ask)
        .is_some_and(|probe| !probe.supports(op))
}

/// Does nothing.
///
/// ```
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// ring.block_on(ring.submit(ops::nop()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn nop() -> Nop {
    Nop(())
}

/// See [`nop`].
#[derive(Debug)]
pub struct Nop(());

// SAFETY: its entry leads nowhere.
unsafe impl Operation for Nop {
    type Output = Result<()>;

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::nop()
    }

    #[inline]
    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("nop", cqe)
    }
}
