#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Messages: several buffers at once, to and from addresses.

use std::fmt;
use std::mem::MaybeUninit;

use pepita_sys::error::Result;
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};
use rustix::net::SocketAddrAny;
use rustix::net::addr::{SocketAddrArg, SocketAddrStorage};

use super::net::NO_SIGNAL;
use super::vectored::Pieces;
use super::{Operation, SharedFile, count};
use crate::buf::{IoBuf, IoBufMut};

/// `MSG_TRUNC` of recv(2): the message was longer than the buffers.
const TRUNCATED: u32 = 0x20;

/// Bytes of any address.
const ADDRESS_ROOM: u32 = 128;
const _: () = assert!(size_of::<SocketAddrStorage>() == ADDRESS_ROOM as usize);

/// `struct msghdr` of a 64-bit C library, with addresses as numbers. recvmsg(2).
#[derive(Debug, Default)]
#[repr(C)]
struct Header {
    name: u64,
    name_len: u32,
    pieces: u64,
    pieces_len: u64,
    control: u64,
    control_len: u64,
    flags: u32,
}

/// What the kernel reads and writes besides the buffers. It is kept on the heap, and leads to itself.
struct Message {
    header: Header,
    /// Zeroed at first, so that any part of it may be read.
    address: MaybeUninit<SocketAddrStorage>,
    pieces: Pieces,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Message {
    fn new() -> Box<Self> {
        Box::new(Self {
            header: Header::default(),
            address: MaybeUninit::zeroed(),
            pieces: Pieces::default(),
        })
    }

    /// Describes `pieces`, and an address of `address_len` bytes.
    fn describe(&mut self, pieces: Pieces, address_len: u32) {
        self.pieces = pieces;
        self.header = Header {
            name: match address_len {
                0 => 0,
                _ => self.address.as_mut_ptr().expose_provenance() as u64,
            },
            name_len: address_len,
            pieces: self.pieces.as_ptr().expose_provenance() as u64,
            pieces_len: u64::from(self.pieces.count()),
            ..Header::default()
        };
    }

    /// The address that the kernel wrote, if it did.
    fn address(&self) -> Option<SocketAddrAny> {
        let len = self.header.name_len;
        // A family, at least.
        if !(2..=ADDRESS_ROOM).contains(&len) {
            return None;
        }
        // SAFETY: zeroed at first, then written by the kernel, and no longer than that.
        Some(unsafe { SocketAddrAny::new(self.address, len) })
    }
}

/// Sends `bufs`, one after the other, as one message, and gives them back with the count of bytes, which over
/// a stream may be fewer. To an address by [`SendMsg::to`]. Up to 1,024 buffers. sendmsg(2).
///
/// A connection whose other end is closed is `EPIPE`, without a signal.
///
/// ```
/// use std::net::{SocketAddr, UdpSocket};
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let ours = Rc::new(UdpSocket::bind("127.0.0.1:0")?);
/// let theirs = Rc::new(UdpSocket::bind("127.0.0.1:0")?);
/// let send = ops::sendmsg(&ours, vec!["to ", "you"]).to(&theirs.local_addr()?);
/// assert_eq!(ring.block_on(ring.submit(send)).0?, 6);
///
/// let receive = ops::recvmsg(&theirs, vec![Vec::with_capacity(64)]);
/// let (received, bufs) = ring.block_on(ring.submit(receive));
/// let received = received?;
/// assert_eq!((received.count, &bufs[0][..]), (6, &b"to you"[..]));
/// let sender = SocketAddr::try_from(received.address.expect("UDP has addresses"))?;
/// assert_eq!(sender, ours.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sendmsg<F: SharedFile, B: IoBuf>(socket: &F, bufs: Vec<B>) -> SendMsg<F, B> {
    SendMsg {
        socket: socket.clone(),
        bufs,
        message: Message::new(),
        address_len: 0,
    }
}

/// See [`sendmsg`].
#[derive(Debug)]
pub struct SendMsg<F, B> {
    socket: F,
    bufs: Vec<B>,
    message: Box<Message>,
    address_len: u32,
}

impl<F, B> SendMsg<F, B> {
    /// Sends to `address`, as the standard library or rustix has it; a socket that is connected needs none.
    #[must_use]
    pub fn to(mut self, address: &impl SocketAddrArg) -> Self {
        let into = self.message.address.as_mut_ptr();
        // SAFETY: there is room for any address.
        self.address_len = unsafe { address.write_sockaddr(into) };
        self
    }
}

// SAFETY: it keeps the socket, the buffers stay put, and the message is on the heap.
unsafe impl<F: SharedFile, B: IoBuf> Operation for SendMsg<F, B> {
    type Output = (Result<usize>, Vec<B>);

    fn entry(&mut self) -> IoUringSqe {
        self.message
            .describe(Pieces::of(&self.bufs), self.address_len);
        let header = (&raw const self.message.header).cast();
        IoUringSqe::sendmsg(self.socket.number(), header, NO_SIGNAL)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        (count("sendmsg", cqe), self.bufs)
    }
}

/// Receives a message into `bufs`, each of which is filled before the next, and gives them back with what there
/// is to know about it. Up to 1,024 buffers. Control messages are not received. recvmsg(2).
///
/// For an example see [`sendmsg`].
pub fn recvmsg<F: SharedFile, B: IoBufMut>(socket: &F, bufs: Vec<B>) -> RecvMsg<F, B> {
    RecvMsg {
        socket: socket.clone(),
        bufs,
        message: Message::new(),
    }
}

/// See [`recvmsg`].
#[derive(Debug)]
pub struct RecvMsg<F, B> {
    socket: F,
    bufs: Vec<B>,
    message: Box<Message>,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffers.
    pub count: usize,
    /// Who sent it, where the socket tells: a connection's does not.
    pub address: Option<SocketAddrAny>,
    /// Whether the message was longer than the buffers; its end is lost.
    pub is_truncated: bool,
}

// SAFETY: it keeps the socket, the buffers stay put, and the message is on the heap.
unsafe impl<F: SharedFile, B: IoBufMut> Operation for RecvMsg<F, B> {
    type Output = (Result<Received>, Vec<B>);

    fn entry(&mut self) -> IoUringSqe {
        self.message
            .describe(Pieces::of_mut(&mut self.bufs), ADDRESS_ROOM);
        let header = (&raw mut self.message.header).cast();
        IoUringSqe::recvmsg(self.socket.number(), header, 0)
    }

    fn complete(mut self, cqe: IoUringCqe) -> Self::Output {
        let received = count("recvmsg", cqe).map(|count| {
            let pieces = &self.message.pieces;
            // SAFETY: the kernel wrote so many bytes to the list, which is that of the buffers.
            unsafe { pieces.set_filled(&mut self.bufs, count) };
            Received {
                count,
                address: self.message.address(),
                is_truncated: self.message.header.flags & TRUNCATED != 0,
            }
        });
        (received, self.bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_header_is_the_c_librarys() {
        assert_eq!(size_of::<Header>(), size_of::<libc::msghdr>());
        let fields = [
            (offset_of!(Header, name), offset_of!(libc::msghdr, msg_name)),
            (
                offset_of!(Header, name_len),
                offset_of!(libc::msghdr, msg_namelen),
            ),
            (
                offset_of!(Header, pieces),
                offset_of!(libc::msghdr, msg_iov),
            ),
            (
                offset_of!(Header, pieces_len),
                offset_of!(libc::msghdr, msg_iovlen),
            ),
            (
                offset_of!(Header, control),
                offset_of!(libc::msghdr, msg_control),
            ),
            (
                offset_of!(Header, control_len),
                offset_of!(libc::msghdr, msg_controllen),
            ),
            (
                offset_of!(Header, flags),
                offset_of!(libc::msghdr, msg_flags),
            ),
        ];
        for (ours, theirs) in fields {
            assert_eq!(ours, theirs);
        }
    }
}
