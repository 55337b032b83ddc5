#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Commands to sockets: what they hold, and their options.
//!
//! These are `uring_cmd`s whose meaning is known, so they need no promise of the caller.

use pepita_sys::error::Result;
use pepita_sys::io_uring::{
    IoUringCqe, IoUringSqe, SOCKET_URING_OP_SIOCINQ, SOCKET_URING_OP_SIOCOUTQ,
};

use super::{Operation, SharedFile, count, done};

/// Says how many bytes `socket` has that were not received. Linux 6.7; `EOPNOTSUPP` before, and for sockets that do
/// not know, as those of Unix. `SIOCINQ` of tcp(7) and udp(7).
///
/// ```
/// # use std::io::Write;
/// use std::net::{TcpListener, TcpStream};
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
/// use pepita_sys::error::Errno;
///
/// let ring = LocalRing::new(8)?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut theirs = TcpStream::connect(listener.local_addr()?)?;
/// let ours = Rc::new(listener.accept()?.0);
/// theirs.write_all(b"nine more")?;
/// ring.block_on(ring.submit(ops::poll(&ours, ops::PollFlags::IN.bits().into())))?;
/// match ring.block_on(ring.submit(ops::unreceived(&ours))) {
///     Err(error) if error.to_errno() == Errno::EOPNOTSUPP => {} // before Linux 6.7
///     bytes => assert_eq!(bytes?, 9),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn unreceived<F: SharedFile>(socket: &F) -> SocketQueue<F> {
    SocketQueue {
        socket: socket.clone(),
        cmd_op: SOCKET_URING_OP_SIOCINQ,
    }
}

/// Says how many bytes `socket` has that were not sent, or not acknowledged. Linux 6.7, as [`unreceived`].
/// `SIOCOUTQ` of tcp(7) and udp(7).
pub fn unsent<F: SharedFile>(socket: &F) -> SocketQueue<F> {
    SocketQueue {
        socket: socket.clone(),
        cmd_op: SOCKET_URING_OP_SIOCOUTQ,
    }
}

/// See [`unreceived`] and [`unsent`].
#[derive(Debug)]
pub struct SocketQueue<F> {
    socket: F,
    cmd_op: u32,
}

// SAFETY: it keeps the socket; the commands lead to no memory.
unsafe impl<F: SharedFile> Operation for SocketQueue<F> {
    type Output = Result<usize>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::socket_queue(self.socket.number(), self.cmd_op)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        count("uring_cmd", cqe)
    }
}

/// An option of a socket that is an `int`: one that is on or off is 1 or 0. socket(7), tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOption {
    level: u32,
    name: u32,
}

macro_rules! socket_options {
    ($($(#[doc = $doc:literal])+ $name:ident = $level:ident $option:ident;)*) => {
        impl SocketOption {
            $(
                $(#[doc = $doc])+
                pub const $name: Self = Self::new(libc::$level, libc::$option);
            )*
        }
    };
}

socket_options! {
    /// `SO_ACCEPTCONN`: whether it listens. To get only.
    LISTENS = SOL_SOCKET SO_ACCEPTCONN;
    /// `SO_BROADCAST`: whether datagrams may go to a broadcast address.
    BROADCAST = SOL_SOCKET SO_BROADCAST;
    /// `SO_DOMAIN`: its family of addresses. To get only.
    FAMILY = SOL_SOCKET SO_DOMAIN;
    /// `SO_ERROR`: the error that waits to be heard, which getting it clears. To get only.
    ERROR = SOL_SOCKET SO_ERROR;
    /// `SO_KEEPALIVE`: whether a silent connection is asked if it is there.
    KEEP_ALIVE = SOL_SOCKET SO_KEEPALIVE;
    /// `SO_RCVBUF`: bytes for what is not received yet; the kernel doubles what is set.
    RECV_BUFFER = SOL_SOCKET SO_RCVBUF;
    /// `SO_REUSEADDR`: whether an address may be bound that a closed connection still has.
    REUSE_ADDRESS = SOL_SOCKET SO_REUSEADDR;
    /// `SO_REUSEPORT`: whether several sockets may share a port.
    REUSE_PORT = SOL_SOCKET SO_REUSEPORT;
    /// `SO_SNDBUF`: bytes for what is not sent yet; the kernel doubles what is set.
    SEND_BUFFER = SOL_SOCKET SO_SNDBUF;
    /// `SO_TYPE`: stream, datagram, and so on. To get only.
    KIND = SOL_SOCKET SO_TYPE;
    /// `TCP_KEEPCNT`: questions without an answer before a connection is given up. To set only.
    TCP_KEEP_ALIVE_COUNT = IPPROTO_TCP TCP_KEEPCNT;
    /// `TCP_KEEPIDLE`: seconds of silence before the first question. To set only.
    TCP_KEEP_ALIVE_IDLE_SECONDS = IPPROTO_TCP TCP_KEEPIDLE;
    /// `TCP_KEEPINTVL`: seconds between questions. To set only.
    TCP_KEEP_ALIVE_STEP_SECONDS = IPPROTO_TCP TCP_KEEPINTVL;
    /// `TCP_NODELAY`: whether small pieces go out at once. To set only.
    TCP_NO_DELAY = IPPROTO_TCP TCP_NODELAY;
    /// `TCP_USER_TIMEOUT`: milliseconds for which what was sent may stay without an answer. To set only.
    TCP_USER_TIMEOUT_MS = IPPROTO_TCP TCP_USER_TIMEOUT;
}

impl SocketOption {
    const fn new(level: i32, name: i32) -> Self {
        Self {
            level: level.cast_unsigned(),
            name: name.cast_unsigned(),
        }
    }
}

/// Bytes of an `int`.
const INT_LEN: u32 = i32::BITS / 8;

/// Gets an option of `socket`. Linux 6.7; `EOPNOTSUPP` before, and for options of TCP, of which the kernel gives
/// none this way. getsockopt(2).
///
/// ```
/// use std::net::TcpListener;
/// use std::rc::Rc;
/// use pepita_io::ops::SocketOption;
/// use pepita_io::{LocalRing, ops};
/// use pepita_sys::error::Errno;
///
/// let ring = LocalRing::new(8)?;
/// let socket = Rc::new(TcpListener::bind("127.0.0.1:0")?);
/// ring.block_on(async {
///     let set = ops::set_socket_option(&socket, SocketOption::KEEP_ALIVE, 1);
///     match ring.submit(set).await {
///         Err(error) if error.to_errno() == Errno::EOPNOTSUPP => return Ok(()), // before Linux 6.7
///         set => set?,
///     }
///     assert_eq!(ring.submit(ops::socket_option(&socket, SocketOption::KEEP_ALIVE)).await?, 1);
///     assert_eq!(ring.submit(ops::socket_option(&socket, SocketOption::LISTENS)).await?, 1);
///     Ok::<(), pepita_sys::error::KernelError>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn socket_option<F: SharedFile>(socket: &F, option: SocketOption) -> GetSocketOption<F> {
    GetSocketOption {
        socket: socket.clone(),
        option,
        value: Box::new(0),
    }
}

/// See [`socket_option`].
#[derive(Debug)]
pub struct GetSocketOption<F> {
    socket: F,
    option: SocketOption,
    value: Box<i32>,
}

// SAFETY: it keeps the socket, and the value is on the heap, of the length that the entry says.
unsafe impl<F: SharedFile> Operation for GetSocketOption<F> {
    type Output = Result<i32>;

    fn entry(&mut self) -> IoUringSqe {
        let SocketOption { level, name } = self.option;
        let value = (&raw mut *self.value).cast();
        IoUringSqe::getsockopt(self.socket.number(), level, name, value, INT_LEN)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        done("getsockopt", cqe)?;
        Ok(*self.value)
    }
}

/// Sets an option of `socket`. Linux 6.7; `EOPNOTSUPP` before. setsockopt(2).
///
/// For an example see [`socket_option`].
pub fn set_socket_option<F: SharedFile>(
    socket: &F,
    option: SocketOption,
    value: i32,
) -> SetSocketOption<F> {
    SetSocketOption {
        socket: socket.clone(),
        option,
        value: Box::new(value),
    }
}

/// See [`set_socket_option`].
#[derive(Debug)]
pub struct SetSocketOption<F> {
    socket: F,
    option: SocketOption,
    value: Box<i32>,
}

// SAFETY: it keeps the socket, and the value is on the heap, of the length that the entry says.
unsafe impl<F: SharedFile> Operation for SetSocketOption<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let SocketOption { level, name } = self.option;
        let value = (&raw const *self.value).cast();
        IoUringSqe::setsockopt(self.socket.number(), level, name, value, INT_LEN)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("setsockopt", cqe)
    }
}
