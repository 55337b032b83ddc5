//! Operations on sockets. Addresses (`sockaddr`) and messages (`msghdr`) are the C library's structures.

use core::ffi::c_void;

use super::super::sqe::address;
use super::super::*;

impl IoUringSqe {
    /// Makes a socket. socket(2).
    #[inline]
    #[must_use]
    pub const fn socket(domain: i32, socket_type: u32, protocol: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_SOCKET, domain, 0, protocol);
        sqe.off = socket_type as u64;
        sqe
    }

    /// Gives a socket its address, `addrlen` bytes at `addr`. bind(2).
    #[inline]
    #[must_use]
    pub fn bind(fd: i32, addr: *const c_void, addrlen: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_BIND, fd, address(addr), 0);
        sqe.off = addrlen as u64;
        sqe
    }

    /// Lets a socket be connected to. listen(2).
    #[inline]
    #[must_use]
    pub const fn listen(fd: i32, backlog: u32) -> Self {
        Self::new(IORING_OP_LISTEN, fd, 0, backlog)
    }

    /// Takes a connection; who it is goes to `addr` and `addrlen`, unless they are null. accept4(2), with
    /// `SOCK_` `flags`; [`IORING_ACCEPT_MULTISHOT`] in [`Self::ioprio`] takes many.
    #[inline]
    #[must_use]
    pub fn accept(fd: i32, addr: *mut c_void, addrlen: *mut u32, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_ACCEPT, fd, address(addr), 0);
        sqe.off = address(addrlen);
        sqe.op_flags = flags;
        sqe
    }

    /// Connects to `addrlen` bytes of address at `addr`. connect(2).
    #[inline]
    #[must_use]
    pub fn connect(fd: i32, addr: *const c_void, addrlen: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_CONNECT, fd, address(addr), 0);
        sqe.off = addrlen as u64;
        sqe
    }

    /// Sends `len` bytes. send(2), with `MSG_` `flags`.
    #[inline]
    #[must_use]
    pub fn send(fd: i32, buf: *const u8, len: u32, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_SEND, fd, address(buf), len);
        sqe.op_flags = flags;
        sqe
    }

    /// Sends without copying: a second completion, [`IoUringCqe::is_notification`], says when the buffer is
    /// free. With [`IORING_RECVSEND_FIXED_BUF`] in [`Self::ioprio`] the data is in the registered buffer that
    /// `buf_index` names.
    #[inline]
    #[must_use]
    pub fn send_zc(fd: i32, buf: *const u8, len: u32, flags: u32) -> Self {
        let mut sqe = Self::send(fd, buf, len, flags);
        sqe.opcode = IORING_OP_SEND_ZC;
        sqe
    }

    /// Gives a send its address: `addrlen` bytes at `addr`. sendto(2).
    #[inline]
    #[must_use]
    pub fn send_to(mut self, addr: *const c_void, addrlen: u16) -> Self {
        self.off = address(addr);
        self.file_index = addrlen as u32;
        self
    }

    /// Receives up to `len` bytes. recv(2), with `MSG_` `flags`; [`IORING_RECV_MULTISHOT`] in
    /// [`Self::ioprio`], with [`Self::buffer_select`] and `len` 0, completes again and again.
    #[inline]
    #[must_use]
    pub fn recv(fd: i32, buf: *mut u8, len: u32, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_RECV, fd, address(buf), len);
        sqe.op_flags = flags;
        sqe
    }

    /// Sends the message that the `msghdr` at `msg` describes. sendmsg(2).
    #[inline]
    #[must_use]
    pub fn sendmsg(fd: i32, msg: *const c_void, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_SENDMSG, fd, address(msg), 1);
        sqe.op_flags = flags;
        sqe
    }

    /// [`Self::sendmsg`] without copying; completes as [`Self::send_zc`].
    #[inline]
    #[must_use]
    pub fn sendmsg_zc(fd: i32, msg: *const c_void, flags: u32) -> Self {
        let mut sqe = Self::sendmsg(fd, msg, flags);
        sqe.opcode = IORING_OP_SENDMSG_ZC;
        sqe
    }

    /// Receives a message into what the `msghdr` at `msg` describes. recvmsg(2).
    #[inline]
    #[must_use]
    pub fn recvmsg(fd: i32, msg: *mut c_void, flags: u32) -> Self {
        let mut sqe = Self::sendmsg(fd, msg, flags);
        sqe.opcode = IORING_OP_RECVMSG;
        sqe
    }

    /// Ends one or both directions of a connection. shutdown(2), with `SHUT_` `how`.
    #[inline]
    #[must_use]
    pub const fn shutdown(fd: i32, how: u32) -> Self {
        Self::new(IORING_OP_SHUTDOWN, fd, 0, how)
    }

    /// How many bytes a socket holds: [`SOCKET_URING_OP_SIOCINQ`] or [`SOCKET_URING_OP_SIOCOUTQ`].
    #[inline]
    #[must_use]
    pub const fn socket_queue(fd: i32, cmd_op: u32) -> Self {
        Self::uring_cmd(fd, cmd_op, [0; 16])
    }

    /// Gets an option of a socket into `optlen` bytes at `optval`; the result is its length. getsockopt(2).
    #[inline]
    #[must_use]
    pub fn getsockopt(fd: i32, level: u32, optname: u32, optval: *mut c_void, optlen: u32) -> Self {
        let mut sqe = Self::setsockopt(fd, level, optname, optval, optlen);
        sqe.off = SOCKET_URING_OP_GETSOCKOPT as u64;
        sqe
    }

    /// Sets an option of a socket. setsockopt(2).
    #[inline]
    #[must_use]
    pub fn setsockopt(
        fd: i32,
        level: u32,
        optname: u32,
        optval: *const c_void,
        optlen: u32,
    ) -> Self {
        let mut sqe = Self::uring_cmd(fd, SOCKET_URING_OP_SETSOCKOPT, [0; 16]);
        sqe.addr = level as u64 | (optname as u64) << 32;
        sqe.addr3 = address(optval);
        sqe.file_index = optlen;
        sqe
    }

    /// Adds, changes or removes `fd` in the epoll instance `epfd`, with the `epoll_event` at `event`.
    /// epoll_ctl(2).
    #[inline]
    #[must_use]
    pub fn epoll_ctl(epfd: i32, op: u32, fd: i32, event: *mut c_void) -> Self {
        let mut sqe = Self::new(IORING_OP_EPOLL_CTL, epfd, address(event), op);
        sqe.off = fd.cast_unsigned() as u64;
        sqe
    }

    /// Waits for up to `maxevents` events, which go to the `epoll_event`s at `events`. epoll_wait(2).
    #[inline]
    #[must_use]
    pub fn epoll_wait(epfd: i32, events: *mut c_void, maxevents: u32) -> Self {
        Self::new(IORING_OP_EPOLL_WAIT, epfd, address(events), maxevents)
    }
}
