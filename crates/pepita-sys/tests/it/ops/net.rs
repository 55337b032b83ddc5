use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::ptr::{null, null_mut};

use pepita_sys::error::Errno;
use pepita_sys::io_uring::*;

use super::{fd, owned};
use crate::ring::Ring;

/// Bytes of a `sockaddr_in`.
const ADDR_LEN: u32 = 16;

/// `address` as a `sockaddr_in`: family, port and address, the last two in network order. ip(7)
fn sockaddr(address: SocketAddr) -> [u8; 16] {
    let SocketAddr::V4(address) = address else {
        panic!("an IPv4 address")
    };
    let mut bytes = [0; 16];
    bytes[0..2].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&address.ip().octets());
    bytes
}

const LOCAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// Two connected TCP sockets.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(LOCAL).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (client, listener.accept().expect("it is connected").0)
}

/// A `msghdr` with one piece of data.
fn msghdr(iovec: &mut Iovec) -> libc::msghdr {
    libc::msghdr {
        msg_name: null_mut(),
        msg_namelen: 0,
        msg_iov: (&raw mut *iovec).cast(),
        msg_iovlen: 1,
        msg_control: null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

fn iovec(buf: &mut [u8]) -> Iovec {
    Iovec {
        iov_base: buf.as_mut_ptr().expose_provenance() as u64,
        iov_len: buf.len() as u64,
    }
}

#[test]
fn a_server_is_made_by_socket_bind_listen_and_accept() {
    let test = "ops::net::a_server_is_made_by_socket_bind_listen_and_accept";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SOCKET) else {
        return;
    };
    let stream = libc::SOCK_STREAM.cast_unsigned();
    let made = ring.good(IoUringSqe::socket(libc::AF_INET, stream, 0));
    let mut server = TcpListener::from(owned(made.cast_signed()));
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    assert_eq!(server.local_addr().expect("a socket"), nowhere);
    if let Some(mut ring) = Ring::for_test(test, IORING_OP_BIND) {
        let address = sockaddr(LOCAL);
        let bind = IoUringSqe::bind(fd(&server), address.as_ptr().cast(), ADDR_LEN);
        ring.good(bind);
        ring.good(IoUringSqe::listen(fd(&server), 8));
    } else {
        server = TcpListener::bind(LOCAL).expect("a free port");
    }
    let port = server.local_addr().expect("bound");

    let mut client = TcpStream::connect(port).expect("it listens");
    let (mut peer, mut peer_len) = ([0_u8; 16], ADDR_LEN);
    let flags = libc::SOCK_CLOEXEC.cast_unsigned();
    let accepted = ring.good(IoUringSqe::accept(
        fd(&server),
        peer.as_mut_ptr().cast(),
        &raw mut peer_len,
        flags,
    ));
    assert_eq!(peer, sockaddr(client.local_addr().expect("connected")));
    assert_eq!(peer_len, ADDR_LEN);
    let mut accepted = TcpStream::from(owned(accepted.cast_signed()));
    accepted.write_all(b"hello").expect("it is connected");
    let mut buf = [0; 5];
    client.read_exact(&mut buf).expect("5 bytes");
    assert_eq!(&buf, b"hello");
}

#[test]
fn socket_refuses_a_family_and_a_protocol_that_are_not_there() {
    let test = "ops::net::socket_refuses_a_family_and_a_protocol_that_are_not_there";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SOCKET) else {
        return;
    };
    let stream = libc::SOCK_STREAM.cast_unsigned();
    let udp = libc::IPPROTO_UDP.cast_unsigned();
    assert_eq!(
        ring.run(IoUringSqe::socket(4095, stream, 0)).errno(),
        Some(Errno::EAFNOSUPPORT)
    );
    let mixed = ring.run(IoUringSqe::socket(libc::AF_INET, stream, udp));
    assert_eq!(mixed.errno(), Some(Errno::EPROTONOSUPPORT));
}

#[test]
fn accept_multishot_takes_many() {
    let test = "ops::net::accept_multishot_takes_many";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_ACCEPT) else {
        return;
    };
    let server = TcpListener::bind(LOCAL).expect("a free port");
    let accept = IoUringSqe::accept(fd(&server), null_mut(), null_mut(), 0);
    ring.push(accept.ioprio(IORING_ACCEPT_MULTISHOT));
    ring.submit(0);
    for _ in 0..3 {
        let _client = TcpStream::connect(server.local_addr().expect("bound")).expect("it listens");
        let cqe = ring.next();
        assert!(cqe.has_more());
        drop(owned(cqe.result().expect("a connection").cast_signed()));
    }
    ring.push(IoUringSqe::cancel_fd(fd(&server), 0).user_data(1));
    let both = [ring.next(), ring.next()];
    assert!(
        both.iter()
            .any(|cqe| cqe.errno() == Some(Errno::ECANCELED) && !cqe.has_more())
    );
}

#[test]
fn connect_reaches_who_listens() {
    let test = "ops::net::connect_reaches_who_listens";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SOCKET) else {
        return;
    };
    let listener = TcpListener::bind(LOCAL).expect("a free port");
    let socket = ring.good(IoUringSqe::socket(
        libc::AF_INET,
        libc::SOCK_STREAM.cast_unsigned(),
        0,
    ));
    let client = owned(socket.cast_signed());
    let address = sockaddr(listener.local_addr().expect("bound"));
    ring.good(IoUringSqe::connect(
        fd(&client),
        address.as_ptr().cast(),
        ADDR_LEN,
    ));
    let client = TcpStream::from(client);
    let (_, peer) = listener.accept().expect("it is connected");
    assert_eq!(client.local_addr().expect("connected"), peer);
    let again = ring.run(IoUringSqe::connect(
        fd(&client),
        address.as_ptr().cast(),
        ADDR_LEN,
    ));
    assert_eq!(again.errno(), Some(Errno::EISCONN));
}

#[test]
fn send_and_recv_move_bytes() {
    let test = "ops::net::send_and_recv_move_bytes";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SEND) else {
        return;
    };
    let (one, other) = tcp_pair();
    assert_eq!(
        ring.good(IoUringSqe::send(fd(&one), b"peeked".as_ptr(), 6, 0)),
        6
    );
    let mut buf = [0; 8];
    let peek = IoUringSqe::recv(
        fd(&other),
        buf.as_mut_ptr(),
        8,
        libc::MSG_PEEK.cast_unsigned(),
    );
    assert_eq!(ring.good(peek), 6);
    assert_eq!(
        ring.good(IoUringSqe::recv(fd(&other), buf.as_mut_ptr(), 8, 0)),
        6
    );
    assert_eq!(&buf[..6], b"peeked");
    let none = IoUringSqe::recv(
        fd(&other),
        buf.as_mut_ptr(),
        8,
        libc::MSG_DONTWAIT.cast_unsigned(),
    );
    assert_eq!(ring.run(none).errno(), Some(Errno::EAGAIN));
}

#[test]
fn recv_multishot_completes_for_every_arrival() {
    let test = "ops::net::recv_multishot_completes_for_every_arrival";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SEND_ZC) else {
        return;
    };
    let (mut one, other) = tcp_pair();
    let mut bufs = vec![0_u8; 4 * 8];
    ring.good(IoUringSqe::provide_buffers(bufs.as_mut_ptr(), 8, 4, 1, 0));
    let recv = IoUringSqe::recv(fd(&other), null_mut(), 0, 0).ioprio(IORING_RECV_MULTISHOT);
    ring.push(recv.buffer_select(1));
    ring.submit(0);
    for text in [b"one", b"two"] {
        one.write_all(text).expect("it is connected");
        let cqe = ring.next();
        assert_eq!((cqe.result(), cqe.has_more()), (Ok(3), true));
        let start = usize::from(cqe.buffer_id().expect("a buffer")) * 8;
        assert_eq!(&bufs[start..start + 3], text);
    }
    drop(one);
    let last = ring.next();
    assert_eq!(
        (last.result(), last.has_more()),
        (Ok(0), false),
        "the end of the stream"
    );
}

#[test]
fn send_to_reaches_the_address_it_names() {
    let test = "ops::net::send_to_reaches_the_address_it_names";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SENDMSG_ZC) else {
        return;
    };
    let (from, to) = [(); 2]
        .map(|()| UdpSocket::bind(LOCAL).expect("a free port"))
        .into();
    let address = sockaddr(to.local_addr().expect("bound"));
    let send = IoUringSqe::send(fd(&from), b"datagram".as_ptr(), 8, 0);
    assert_eq!(ring.good(send.send_to(address.as_ptr().cast(), 16)), 8);
    let mut buf = [0; 16];
    let (len, peer) = to.recv_from(&mut buf).expect("a datagram");
    assert_eq!(
        (&buf[..len], peer),
        (&b"datagram"[..], from.local_addr().expect("bound"))
    );
}

/// Two completions: the result, then the notification.
fn check_zero_copy(ring: &mut Ring, sqe: IoUringSqe, receiver: &mut TcpStream) {
    let sent = ring.run(sqe.user_data(5));
    assert_eq!(
        (sent.result(), sent.has_more(), sent.is_notification()),
        (Ok(8), true, false)
    );
    let mut buf = [0; 8];
    receiver.read_exact(&mut buf).expect("8 bytes");
    assert_eq!(&buf, b"no copy!");
    let freed = ring.next();
    assert_eq!(
        (freed.user_data, freed.has_more(), freed.is_notification()),
        (5, false, true)
    );
}

#[test]
fn zero_copy_sends_say_when_the_buffer_is_free() {
    let test = "ops::net::zero_copy_sends_say_when_the_buffer_is_free";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SENDMSG_ZC) else {
        return;
    };
    let (one, mut other) = tcp_pair();
    let mut text = *b"no copy!";
    check_zero_copy(
        &mut ring,
        IoUringSqe::send_zc(fd(&one), text.as_ptr(), 8, 0),
        &mut other,
    );
    let mut piece = iovec(&mut text);
    let msg = msghdr(&mut piece);
    let sqe = IoUringSqe::sendmsg_zc(fd(&one), (&raw const msg).cast(), 0);
    check_zero_copy(&mut ring, sqe, &mut other);
}

#[test]
fn sendmsg_and_recvmsg_move_messages() {
    let test = "ops::net::sendmsg_and_recvmsg_move_messages";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SENDMSG) else {
        return;
    };
    let (one, other) = tcp_pair();
    let mut text = *b"message";
    let mut piece = iovec(&mut text);
    let msg = msghdr(&mut piece);
    assert_eq!(
        ring.good(IoUringSqe::sendmsg(fd(&one), (&raw const msg).cast(), 0)),
        7
    );
    let mut buf = [0; 16];
    let mut piece = iovec(&mut buf);
    let mut msg = msghdr(&mut piece);
    assert_eq!(
        ring.good(IoUringSqe::recvmsg(fd(&other), (&raw mut msg).cast(), 0)),
        7
    );
    assert_eq!(&buf[..7], b"message");
}

#[test]
fn shutdown_ends_one_direction() {
    let test = "ops::net::shutdown_ends_one_direction";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SHUTDOWN) else {
        return;
    };
    let (mut one, mut other) = tcp_pair();
    ring.good(IoUringSqe::shutdown(
        fd(&one),
        libc::SHUT_WR.cast_unsigned(),
    ));
    assert_eq!(
        other.read(&mut [0]).expect("connected"),
        0,
        "the end of the stream"
    );
    other
        .write_all(b"back")
        .expect("the other direction is open");
    let mut buf = [0; 4];
    one.read_exact(&mut buf).expect("4 bytes");
    assert_eq!(&buf, b"back");
}

#[test]
fn socket_options_are_set_and_got() {
    let test = "ops::net::socket_options_are_set_and_got";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READ_MULTISHOT) else {
        return;
    };
    let (one, _other) = tcp_pair();
    let (level, name) = (
        libc::SOL_SOCKET.cast_unsigned(),
        libc::SO_KEEPALIVE.cast_unsigned(),
    );
    let (on, mut got) = (1_u32, 9_u32);
    ring.good(IoUringSqe::setsockopt(
        fd(&one),
        level,
        name,
        (&raw const on).cast(),
        4,
    ));
    let len = ring.good(IoUringSqe::getsockopt(
        fd(&one),
        level,
        name,
        (&raw mut got).cast(),
        4,
    ));
    assert_eq!((len, got), (4, 1));
    let unknown = ring.run(IoUringSqe::getsockopt(
        fd(&one),
        level,
        60_000,
        (&raw mut got).cast(),
        4,
    ));
    assert_eq!(unknown.errno(), Some(Errno::ENOPROTOOPT));
}

#[test]
fn a_socket_says_how_much_it_holds_in_small_and_large_entries() {
    let test = "ops::net::a_socket_says_how_much_it_holds_in_small_and_large_entries";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READ_MULTISHOT) else {
        return;
    };
    let (mut one, other) = tcp_pair();
    one.write_all(b"seven..").expect("it is connected");
    ring.good(IoUringSqe::poll_add(
        fd(&other),
        u32::from(libc::POLLIN.cast_unsigned()),
        0,
    ));
    assert_eq!(
        ring.good(IoUringSqe::socket_queue(
            fd(&other),
            SOCKET_URING_OP_SIOCINQ
        )),
        7
    );
    assert_eq!(
        ring.good(IoUringSqe::socket_queue(
            fd(&other),
            SOCKET_URING_OP_SIOCOUTQ
        )),
        0
    );

    let mut large = Ring::with_flags(IORING_SETUP_SQE128).expect("a ring of large entries");
    for _ in 0..3 {
        let sqe = IoUringSqe128::uring_cmd(fd(&other), SOCKET_URING_OP_SIOCINQ, &[0; 80]);
        assert_eq!(large.good(sqe), 7);
    }
}

#[test]
fn epoll_instances_are_changed_and_waited_for() {
    let test = "ops::net::epoll_instances_are_changed_and_waited_for";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_EPOLL_CTL) else {
        return;
    };
    let epoll = super::epoll();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN.cast_unsigned(),
        u64: 77,
    };
    let (add, del) = (
        libc::EPOLL_CTL_ADD.cast_unsigned(),
        libc::EPOLL_CTL_DEL.cast_unsigned(),
    );
    ring.good(IoUringSqe::epoll_ctl(
        fd(&epoll),
        add,
        fd(&reader),
        (&raw mut event).cast(),
    ));
    let again = ring.run(IoUringSqe::epoll_ctl(
        fd(&epoll),
        add,
        fd(&reader),
        (&raw mut event).cast(),
    ));
    assert_eq!(again.errno(), Some(Errno::EEXIST));

    if let Some(mut ring) = Ring::for_test(test, IORING_OP_EPOLL_WAIT) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        ring.push(IoUringSqe::epoll_wait(
            fd(&epoll),
            events.as_mut_ptr().cast(),
            4,
        ));
        ring.submit(0);
        writer.write_all(b"x").expect("the pipe has room");
        assert_eq!(ring.next().result(), Ok(1));
        let came = events[0].u64;
        assert_eq!(came, 77);
    }
    ring.good(IoUringSqe::epoll_ctl(
        fd(&epoll),
        del,
        fd(&reader),
        null::<u8>().cast_mut().cast(),
    ));
}
