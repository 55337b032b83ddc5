#![expect(unsafe_code, reason = "takes the buffers that completions name")]
//! Buffers that the kernel picks when there is data.

use std::rc::{Rc, Weak};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IORING_RECV_MULTISHOT, IORING_RECVSEND_BUNDLE, IoUringCqe, IoUringSqe};

use super::driver::Driver;
use super::multi::{Multi, Origin};
use super::op::Submitted;
use crate::buf::IoBuf;
use crate::ops::{MultiOperation, Operation, SharedFile};
use crate::ring::{Buffer, BufferPool, Buffers};

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

    /// Receives from `socket` into a buffer of this pool, which is taken when there is data; `None` when the other
    /// end sends no more. `ENOBUFS` when all buffers are out.
    ///
    /// Who drops each buffer before the next call holds one at a time, however fast the other end sends: the
    /// rest waits in the socket.
    ///
    /// ```
    /// # use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use pepita_io::LocalRing;
    ///
    /// let ring = LocalRing::new(8)?;
    /// let Ok(pool) = ring.buffer_pool(16, 4) else {
    ///     return Ok(()); // before Linux 6.4
    /// };
    /// let (mut theirs, ours) = UnixStream::pair()?;
    /// let ours = Rc::new(ours);
    /// theirs.write_all(&[7; 1000])?;
    /// drop(theirs);
    /// let mut count = 0;
    /// ring.block_on(async {
    ///     while let Some(buffer) = pool.recv(&ours).await? {
    ///         assert_eq!(pool.available(), 15);
    ///         count += buffer.len();
    ///     }
    ///     Ok::<(), pepita_sys::error::KernelError>(())
    /// })?;
    /// assert_eq!(count, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv<F: SharedFile>(&self, socket: &F) -> Submitted<RecvPooled<F>> {
        let operation = RecvPooled {
            socket: socket.clone(),
            pool: self.pool.clone(),
            driver: Rc::downgrade(&self.driver),
        };
        Submitted::start_if_open(&self.driver, operation)
    }

    /// Receives from `socket` again and again, each time into a buffer of this pool. It ends when the other
    /// end sends no more; with an error, such as `ENOBUFS` when all buffers are out, it ends too, and may be
    /// started again.
    ///
    /// What arrives is received whether it is fetched or not, so a peer that sends faster than its data is used
    /// can take the whole pool. [`Self::recv`] takes one buffer a call.
    pub fn recv_many<F: SharedFile>(&self, socket: &F) -> Multi<RecvMany<F>> {
        let operation = RecvMany {
            socket: socket.clone(),
            pool: self.pool.clone(),
        };
        Multi::start(&self.driver, operation)
    }

    /// Receives what `socket` has into as many buffers of this pool as it fills: a bundle. `None` when the other
    /// end sends no more, `ENOBUFS` when all buffers are out. Linux 6.10; `EOPNOTSUPP` before.
    ///
    /// ```
    /// # use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use pepita_io::LocalRing;
    /// use pepita_sys::error::Errno;
    ///
    /// let ring = LocalRing::new(8)?;
    /// let Ok(pool) = ring.buffer_pool(16, 4) else {
    ///     return Ok(()); // before Linux 6.4
    /// };
    /// let (mut theirs, ours) = UnixStream::pair()?;
    /// theirs.write_all(b"ten bytes.")?;
    /// let bundle = match ring.block_on(pool.recv_bundle(&Rc::new(ours))) {
    ///     Err(error) if error.to_errno() == Errno::EOPNOTSUPP => return Ok(()), // before Linux 6.10
    ///     bundle => bundle?.expect("the connection is open"),
    /// };
    /// assert_eq!(bundle.slices().collect::<Vec<_>>(), [&b"ten "[..], b"byte", b"s."]);
    /// assert_eq!(pool.available(), 13);
    /// drop(bundle);
    /// assert_eq!(pool.available(), 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The bundle is an iterator: each [`Buffer`] that it gives goes back by itself. One receive can take the
    /// whole pool; [`Self::recv`] takes one buffer.
    ///
    /// Nobody else may read from the connection meanwhile. Kernels from before June 2026 may then leave a buffer shortened in
    /// their list, and the next bundle has bytes in it that were not sent; no memory is at risk.
    pub fn recv_bundle<F: SharedFile>(&self, socket: &F) -> Submitted<RecvBundle<F>> {
        let operation = RecvBundle {
            socket: socket.clone(),
            pool: self.pool.clone(),
            driver: Rc::downgrade(&self.driver),
        };
        Submitted::start_if_open(&self.driver, operation)
    }
}

/// See [`LocalPool::recv`].
#[derive(Debug)]
pub struct RecvPooled<F> {
    socket: F,
    pool: BufferPool,
    /// Of the ring that this runs on, and has the pool. In a slot of it, this would keep it for ever.
    driver: Weak<Driver>,
}

// SAFETY: it keeps the socket. The buffers are the pool's, which the ring keeps.
unsafe impl<F: SharedFile> Operation for RecvPooled<F> {
    type Output = Result<Option<Buffer>>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::recv(self.socket.number(), std::ptr::null_mut(), 0, 0)
            .buffer_select(self.pool.group())
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        let errno = cqe.errno();
        let buffer = match self.driver.upgrade() {
            // SAFETY: the pool is of that ring, the completion is this operation's, and is looked at once.
            Some(driver) => unsafe { driver.take_buffers(&self.pool, cqe) }?.next(),
            // Without a ring any more, the buffer goes away with the pool.
            None => None,
        };
        match errno {
            Some(errno) => Err(KernelError::from_errno("recv", errno)),
            None => Ok(buffer),
        }
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

/// See [`LocalPool::recv_bundle`].
#[derive(Debug)]
pub struct RecvBundle<F> {
    socket: F,
    pool: BufferPool,
    /// As [`RecvPooled`]'s.
    driver: Weak<Driver>,
}

// SAFETY: it keeps the socket. The buffers are the pool's, which the ring keeps.
unsafe impl<F: SharedFile> Operation for RecvBundle<F> {
    type Output = Result<Option<Buffers>>;

    fn entry(&mut self) -> IoUringSqe {
        // Kernels that do not know how much a socket has go by the length.
        let len = self.pool.bundle_len();
        IoUringSqe::recv(self.socket.number(), std::ptr::null_mut(), len, 0)
            .ioprio(IORING_RECVSEND_BUNDLE)
            .buffer_select(self.pool.group())
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        let driver = self.driver.upgrade();
        let buffers = match &driver {
            // SAFETY: the pool is of that ring, the completion is this operation's, and is looked at once.
            Some(driver) => Some(unsafe { driver.take_buffers(&self.pool, cqe) }?),
            // Without a ring any more, the buffers go away with the pool.
            None => None,
        };
        match cqe.errno() {
            Some(Errno::EINVAL) if driver.is_some_and(|driver| !driver.has_bundles()) => {
                let operation = "recv of a bundle by io_uring, which needs Linux 6.10";
                Err(KernelError::from_errno(operation, Errno::EOPNOTSUPP))
            }
            Some(errno) => Err(KernelError::from_errno("recv", errno)),
            None => Ok(buffers.filter(|buffers| buffers.total_len() != 0)),
        }
    }
}

// SAFETY: stays-put: the bytes are in the pool's memory, which a buffer keeps.
unsafe impl IoBuf for Buffer {
    fn bytes(&self) -> &[u8] {
        self
    }
}
