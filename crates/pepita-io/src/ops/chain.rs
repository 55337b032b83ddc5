#![expect(
    unsafe_code,
    reason = "passes on what the operation inside has promised"
)]
//! How an operation of a chain stands to the next.

use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

use super::Operation;

/// When the next operation of a chain starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// When this one has succeeded, and done all that it was asked for; else it comes to `ECANCELED`, as do
    /// those behind it. `IOSQE_IO_LINK`.
    Soft,
    /// When this one has ended. `IOSQE_IO_HARDLINK`.
    Hard,
}

/// `operation`, behind which the next one of a chain starts also if it fails, or is cut short.
///
/// ```
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let file = Rc::new(tempfile::tempfile()?);
/// let ten = Vec::with_capacity(10);
/// // The file is empty, so the read is short.
/// let (read, write) = ring.submit_linked((ops::hard(ops::read(&file, ten, 0)), ops::write(&file, "x", 0)));
/// assert_eq!(ring.block_on(read).0?, 0);
/// assert_eq!(ring.block_on(write).0?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const fn hard<O: Operation>(operation: O) -> Hard<O> {
    Hard(operation)
}

/// See [`hard`].
#[derive(Debug)]
pub struct Hard<O>(O);

// SAFETY: as the operation.
unsafe impl<O: Operation> Operation for Hard<O> {
    type Output = O::Output;

    const LINK: Link = Link::Hard;

    fn entry(&mut self) -> IoUringSqe {
        self.0.entry()
    }

    fn complete(self, cqe: IoUringCqe) -> O::Output {
        self.0.complete(cqe)
    }

    fn discard(self, cqe: IoUringCqe) {
        self.0.discard(cqe);
    }
}

/// The entry of an operation that another one waits for.
pub(crate) fn linked<O: Operation>(operation: &mut O) -> IoUringSqe {
    match O::LINK {
        Link::Soft => operation.entry().link(),
        Link::Hard => operation.entry().hardlink(),
    }
}
