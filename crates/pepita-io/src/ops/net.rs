#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations on sockets.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::ptr;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_ACCEPT_MULTISHOT, IORING_OP_BIND, IORING_OP_LISTEN, IoUringCqe, IoUringSqe,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, Protocol, SocketAddrAny, SocketFlags, SocketType};

use super::files::transfer_len;
use super::{MultiOperation, Operation, Origin, SharedFile, count, done, is_unknown, new_file};
use crate::buf::{IoBuf, IoBufMut};

/// Makes a socket that is closed on `exec`. socket(2).
pub fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Socket {
    Socket {
        family: i32::from(family.as_raw()),
        kind: kind.as_raw() | SocketFlags::CLOEXEC.bits(),
        protocol: protocol.map_or(0, |protocol| protocol.as_raw().get()),
    }
}

/// See [`socket`].
#[derive(Debug)]
pub struct Socket {
    family: i32,
    kind: u32,
    protocol: u32,
}

// SAFETY: its entry leads nowhere.
unsafe impl Operation for Socket {
    type Output = Result<OwnedFd>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::socket(self.family, self.kind, self.protocol)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        new_file("socket", cqe)
    }
}

/// Takes a connection, closed on `exec`. accept4(2).
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let listener = Rc::new(TcpListener::bind("127.0.0.1:0")?);
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = TcpStream::from(ring.block_on(ring.submit(ops::accept(&listener)))?);
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn accept<F: SharedFile>(listener: &F) -> Accept<F> {
    Accept {
        listener: listener.clone(),
    }
}

/// See [`accept`].
#[derive(Debug)]
pub struct Accept<F> {
    listener: F,
}

impl<F: SharedFile> Accept<F> {
    fn make_entry(&self) -> IoUringSqe {
        let flags = SocketFlags::CLOEXEC.bits();
        IoUringSqe::accept(
            self.listener.number(),
            ptr::null_mut(),
            ptr::null_mut(),
            flags,
        )
    }
}

// SAFETY: it keeps the listener, and asks for no address.
unsafe impl<F: SharedFile> Operation for Accept<F> {
    type Output = Result<OwnedFd>;

    fn entry(&mut self) -> IoUringSqe {
        self.make_entry()
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        new_file("accept", cqe)
    }
}

// SAFETY: as for one connection.
unsafe impl<F: SharedFile> MultiOperation for Accept<F> {
    type Item = Result<OwnedFd>;

    fn entry(&mut self) -> IoUringSqe {
        self.make_entry().ioprio(IORING_ACCEPT_MULTISHOT)
    }

    fn item(&mut self, cqe: IoUringCqe, _: Origin<'_>) -> Option<Self::Item> {
        Some(new_file("accept", cqe))
    }
}

/// Connects `socket` to `address`, as the standard library or rustix has it. connect(2).
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::rc::Rc;
/// use pepita_io::ops::{AddressFamily, SocketType};
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = ops::socket(AddressFamily::INET, SocketType::STREAM, None);
/// let socket = Rc::new(TcpStream::from(ring.block_on(ring.submit(socket))?));
/// ring.block_on(ring.submit(ops::connect(&socket, &listener.local_addr()?)))?;
/// assert_eq!(socket.peer_addr()?, listener.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect<F: SharedFile>(socket: &F, address: &impl SocketAddrArg) -> Connect<F> {
    Connect {
        socket: socket.clone(),
        address: Box::new(address.as_any()),
    }
}

/// See [`connect`].
#[derive(Debug)]
pub struct Connect<F> {
    socket: F,
    address: Box<SocketAddrAny>,
}

// SAFETY: it keeps the socket, and the address is on the heap.
unsafe impl<F: SharedFile> Operation for Connect<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let address = self.address.as_ptr().cast();
        IoUringSqe::connect(self.socket.number(), address, self.address.addr_len())
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("connect", cqe)
    }
}

/// Gives `socket` its address, as the standard library or rustix has it. Linux 6.11; `EOPNOTSUPP` before.
/// bind(2).
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr, TcpListener};
/// use std::rc::Rc;
/// use pepita_io::ops::{AddressFamily, SocketType};
/// use pepita_io::{LocalRing, ops};
/// use pepita_sys::error::Errno;
///
/// let ring = LocalRing::new(8)?;
/// let socket = ops::socket(AddressFamily::INET, SocketType::STREAM, None);
/// let socket = Rc::new(TcpListener::from(ring.block_on(ring.submit(socket))?));
/// let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
/// match ring.block_on(ring.submit(ops::bind(&socket, &any_port))) {
///     Err(error) if error.to_errno() == Errno::EOPNOTSUPP => return Ok(()), // before Linux 6.11
///     bound => bound?,
/// }
/// ring.block_on(ring.submit(ops::listen(&socket, 128)))?;
/// assert_ne!(socket.local_addr()?.port(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bind<F: SharedFile>(socket: &F, address: &impl SocketAddrArg) -> Bind<F> {
    Bind {
        socket: socket.clone(),
        address: Box::new(address.as_any()),
    }
}

/// See [`bind`].
#[derive(Debug)]
pub struct Bind<F> {
    socket: F,
    address: Box<SocketAddrAny>,
}

// SAFETY: it keeps the socket, and the address is on the heap.
unsafe impl<F: SharedFile> Operation for Bind<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let address = self.address.as_ptr().cast();
        IoUringSqe::bind(self.socket.number(), address, self.address.addr_len())
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        if is_unknown(IORING_OP_BIND, cqe) {
            let operation = "bind by io_uring, which needs Linux 6.11";
            return Err(KernelError::from_errno(operation, Errno::EOPNOTSUPP));
        }
        done("bind", cqe)
    }
}

/// Lets `socket` be connected to, with up to `backlog` connections that wait for [`accept`]. Linux 6.11;
/// `EOPNOTSUPP` before. listen(2).
///
/// For an example see [`bind`].
pub fn listen<F: SharedFile>(socket: &F, backlog: u32) -> Listen<F> {
    Listen {
        socket: socket.clone(),
        backlog,
    }
}

/// See [`listen`].
#[derive(Debug)]
pub struct Listen<F> {
    socket: F,
    backlog: u32,
}

// SAFETY: it keeps the socket.
unsafe impl<F: SharedFile> Operation for Listen<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::listen(self.socket.number(), self.backlog)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        if is_unknown(IORING_OP_LISTEN, cqe) {
            let operation = "listen by io_uring, which needs Linux 6.11";
            return Err(KernelError::from_errno(operation, Errno::EOPNOTSUPP));
        }
        done("listen", cqe)
    }
}

/// Sends `buf`, and gives it back with the count of bytes, which may be fewer. A connection whose other end
/// is closed is `EPIPE`, without a signal. send(2).
pub fn send<F: SharedFile, B: IoBuf>(socket: &F, buf: B) -> Send<F, B> {
    Send {
        socket: socket.clone(),
        buf,
    }
}

/// See [`send`].
#[derive(Debug)]
pub struct Send<F, B> {
    socket: F,
    buf: B,
}

/// `MSG_NOSIGNAL` of send(2).
pub(super) const NO_SIGNAL: u32 = 0x4000;
/// `MSG_WAITALL` of send(2) and recv(2).
const WAIT_ALL: u32 = 0x100;

// SAFETY: it keeps the socket, and the buffer stays put.
unsafe impl<F: SharedFile, B: IoBuf> Operation for Send<F, B> {
    type Output = (Result<usize>, B);

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        let bytes = self.buf.bytes();
        let len = transfer_len(bytes.len());
        IoUringSqe::send(self.socket.number(), bytes.as_ptr(), len, NO_SIGNAL)
    }

    #[inline]
    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        (count("send", cqe), self.buf)
    }
}

/// Sends all of `buf`: as [`send`], and fewer bytes come of it only when the connection ends.
pub fn send_all<F: SharedFile, B: IoBuf>(socket: &F, buf: B) -> SendAll<F, B> {
    SendAll(send(socket, buf))
}

/// See [`send_all`].
#[derive(Debug)]
pub struct SendAll<F, B>(Send<F, B>);

// SAFETY: as `Send`.
unsafe impl<F: SharedFile, B: IoBuf> Operation for SendAll<F, B> {
    type Output = (Result<usize>, B);

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        let mut sqe = self.0.entry();
        sqe.op_flags |= WAIT_ALL;
        sqe
    }

    #[inline]
    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        self.0.complete(cqe)
    }
}

/// Sends `buf` without copying it. It comes back when the network is done with it, which may be after the
/// other end has answered.
///
/// That pays for large buffers only, and not on the loopback device, which copies anyway.
pub fn send_zero_copy<F: SharedFile, B: IoBuf>(socket: &F, buf: B) -> SendZeroCopy<F, B> {
    SendZeroCopy(send(socket, buf))
}

/// See [`send_zero_copy`].
#[derive(Debug)]
pub struct SendZeroCopy<F, B>(Send<F, B>);

// SAFETY: as `Send`: the last completion is the notification that the buffer is free.
unsafe impl<F: SharedFile, B: IoBuf> Operation for SendZeroCopy<F, B> {
    type Output = (Result<usize>, B);

    fn entry(&mut self) -> IoUringSqe {
        let bytes = self.0.buf.bytes();
        let len = transfer_len(bytes.len());
        IoUringSqe::send_zc(self.0.socket.number(), bytes.as_ptr(), len, NO_SIGNAL)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        (count("send", cqe), self.0.buf)
    }
}

/// Receives into `buf`, and gives it back with the count of bytes: 0 when the other end sends no more, and
/// where `buf` has no room, which is as with [`read`](super::read). recv(2).
pub fn recv<F: SharedFile, B: IoBufMut>(socket: &F, buf: B) -> Recv<F, B> {
    Recv {
        socket: socket.clone(),
        buf,
    }
}

/// See [`recv`].
#[derive(Debug)]
pub struct Recv<F, B> {
    socket: F,
    buf: B,
}

// SAFETY: it keeps the socket, and the buffer stays put.
unsafe impl<F: SharedFile, B: IoBufMut> Operation for Recv<F, B> {
    type Output = (Result<usize>, B);

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        let (space, len) = self.buf.space();
        IoUringSqe::recv(self.socket.number(), space, transfer_len(len), 0)
    }

    #[inline]
    fn complete(mut self, cqe: IoUringCqe) -> Self::Output {
        let result = count("recv", cqe);
        if let Ok(count) = result {
            // SAFETY: the kernel wrote so many bytes to the space, which is at least that long.
            unsafe { self.buf.set_filled(count) };
        }
        (result, self.buf)
    }
}

/// Ends one or both directions of a connection. shutdown(2).
pub fn shutdown<F: SharedFile>(socket: &F, how: Shutdown) -> ShutDown<F> {
    ShutDown {
        socket: socket.clone(),
        how,
    }
}

/// See [`shutdown`].
#[derive(Debug)]
pub struct ShutDown<F> {
    socket: F,
    how: Shutdown,
}

// SAFETY: it keeps the socket.
unsafe impl<F: SharedFile> Operation for ShutDown<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let how = match self.how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        IoUringSqe::shutdown(self.socket.number(), how as u32)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("shutdown", cqe)
    }
}
