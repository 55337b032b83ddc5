#![expect(unsafe_code, reason = "takes the buffers that completions name")]
//! Buffers that the kernel picks when there is data.

use std::rc::Rc;

use pepita_sys::error::{KernelError, Result};
use pepita_sys::io_uring::{IORING_RECV_MULTISHOT, IoUringCqe, IoUringSqe};

use super::driver::Driver;
use super::multi::{Multi, Origin};
use crate::buf::IoBuf;
use crate::ops::{MultiOperation, SharedFile};
use crate::ring::{Buffer, BufferPool};

/// A pool of buffers of a [`LocalRing`](crate::LocalRing), for connections that wait without holding one each
/// (Linux 6.4).
///
/// ```
/// # use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use std::rc::Rc;
/// use pepita_io::LocalRing;
///
/// let ring = LocalRing::new(8)?;
/// let Ok(pool) = ring.buffer_pool(16, 4096) else {
///     return Ok(()); // before Linux 6.4
/// };
/// let (mut theirs, ours) = UnixStream::pair()?;
/// let mut bytes = pool.recv_many(&Rc::new(ours));
/// theirs.write_all(b"hello")?;
/// let hello = ring.block_on(bytes.next()).expect("the connection is open")?;
/// assert_eq!(&*hello, b"hello");
/// drop(theirs);
/// assert!(ring.block_on(bytes.next()).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The pool is a handle: a clone is the same pool. Its memory is freed when the ring has ended and the last
/// buffer is dropped.
#[derive(Debug, Clone)]
pub struct LocalPool {
    driver: Rc<Driver>,
    pool: BufferPool,
}

impl LocalPool {
    pub(super) fn new(driver: &Rc<Driver>, count: u16, buffer_len: u32) -> Result<Self> {
        Ok(Self {
            driver: Rc::clone(driver),
            pool: driver.add_pool(count, buffer_len)?,
        })
    }

    /// Count of buffers that the kernel may pick.
    #[must_use]
    pub fn available(&self) -> usize {
        self.pool.available()
    }

    /// Receives from `socket` again and again, each time into a buffer of this pool. It ends when the other
    /// end sends no more; with an error, such as `ENOBUFS` when all buffers are out, it ends too, and may be
    /// started again.
    ///
    /// What arrives is received whether it is fetched or not, so a peer that sends faster than its data is used
    /// can take the whole pool: for a limit of its own, give it a pool of its own, or single
    /// [`recv`](crate::ops::recv)s.
    pub fn recv_many<F: SharedFile>(&self, socket: &F) -> Multi<RecvMany<F>> {
        let operation = RecvMany {
            socket: socket.clone(),
            pool: self.pool.clone(),
        };
        Multi::start(&self.driver, operation)
    }
}

/// See [`LocalPool::recv_many`].
#[derive(Debug)]
pub struct RecvMany<F> {
    socket: F,
    /// Of the ring that this runs on: only the pool makes such a value, and starts it.
    pool: BufferPool,
}

// SAFETY: it keeps the socket. The buffers are the pool's, which the ring keeps.
unsafe impl<F: SharedFile> MultiOperation for RecvMany<F> {
    type Item = Result<Buffer>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::recv(self.socket.number(), std::ptr::null_mut(), 0, 0)
            .ioprio(IORING_RECV_MULTISHOT)
            .buffer_select(self.pool.group())
    }

    fn item(&mut self, cqe: IoUringCqe, origin: Origin<'_>) -> Option<Self::Item> {
        // Without a ring any more, the buffer goes away with the pool.
        let driver = origin.0?;
        // SAFETY: the pool is of that ring, the completion is one of this operation's, and each is looked at
        // once.
        let buffer = match unsafe { driver.take_buffers(&self.pool, cqe) } {
            Ok(mut buffers) => buffers.next(),
            Err(error) => return Some(Err(error.into())),
        };
        match cqe.errno() {
            Some(errno) => Some(Err(KernelError::from_errno("recv", errno))),
            None => buffer.map(Ok),
        }
    }
}

// SAFETY: stays-put: the bytes are in the pool's memory, which a buffer keeps.
unsafe impl IoBuf for Buffer {
    fn bytes(&self) -> &[u8] {
        self
    }
}
