//! Messages with addresses, and sockets that are given theirs.

use std::io::{Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use pepita_io::LocalRing;
use pepita_io::ops::{self, AddressFamily, SocketType};
use pepita_sys::error::Errno;

use super::local_ring;

fn udp(address: impl Into<std::net::IpAddr>) -> Option<Rc<UdpSocket>> {
    UdpSocket::bind((address.into(), 0)).ok().map(Rc::new)
}

/// Turns until nothing holds `socket` but the test.
fn until_let_go<T>(ring: &LocalRing, socket: &Rc<T>) {
    while Rc::strong_count(socket) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
}

#[test]
fn a_datagram_comes_with_the_address_of_who_sent_it() {
    let name = "a_datagram_comes_with_the_address_of_who_sent_it";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let families = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in families as [std::net::IpAddr; 2] {
        let (Some(server), Some(client)) = (udp(address), udp(address)) else {
            assert!(address.is_ipv6(), "IPv4 is there");
            continue;
        };
        let server_address = server.local_addr().expect("its address");
        ring.block_on(async {
            let receive = ops::recvmsg(&server, vec![vec![0; 4], vec![0; 64]]);
            let receiving = ring.submit(receive);
            let send = ops::sendmsg(&client, vec!["ab", "", "cdef"]).to(&server_address);
            let (sent, texts) = ring.submit(send).await;
            assert_eq!((sent, texts), (Ok(6), vec!["ab", "", "cdef"]));
            let (received, bufs) = receiving.await;
            let received = received.expect("a datagram");
            assert_eq!(bufs, [&b"abcd"[..], b"ef"]);
            assert_eq!((received.count, received.is_truncated), (6, false));
            let sender = received.address.expect("who sent it");
            let sender = SocketAddr::try_from(sender).expect("of the internet");
            assert_eq!(Some(sender), client.local_addr().ok());

            // The answer, to where it came from, and longer than there is room for.
            let answer = ops::sendmsg(&server, vec!["an answer"]).to(&sender);
            assert_eq!(ring.submit(answer).await.0, Ok(9));
            let receive = ops::recvmsg(&client, vec![vec![0; 3].into_boxed_slice()]);
            let (received, bufs) = ring.submit(receive).await;
            let received = received.expect("a datagram");
            assert_eq!((received.count, received.is_truncated), (3, true));
            assert_eq!(*bufs[0], *b"an ");
        });
    }
}

#[test]
fn messages_without_an_address_come_from_nobody() {
    let Some(ring) = local_ring("messages_without_an_address_come_from_nobody", 8) else {
        return;
    };
    ring.block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (ours, theirs) = (Rc::new(ours), Rc::new(theirs));
        let (sent, _) = ring.submit(ops::sendmsg(&ours, vec!["x", "yz"])).await;
        assert_eq!(sent, Ok(3));
        let (received, bufs) = ring.submit(ops::recvmsg(&theirs, vec![vec![0; 8]])).await;
        let received = received.expect("bytes");
        assert_eq!((received.count, received.address), (3, None));
        assert_eq!(bufs, [b"xyz"]);
        drop(ours);
        let (received, bufs) = ring.submit(ops::recvmsg(&theirs, bufs)).await;
        assert_eq!((received.expect("an end").count, bufs), (0, vec![vec![]]));
        let (sent, texts) = ring.submit(ops::sendmsg(&theirs, vec!["lost"])).await;
        let error = sent.expect_err("nobody is there");
        assert_eq!((error.to_errno(), texts), (Errno::EPIPE, vec!["lost"]));

        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        ours.send(b"unnamed").expect("a datagram");
        let (received, _) = ring
            .submit(ops::recvmsg(&Rc::new(theirs), vec![vec![0; 8]]))
            .await;
        assert_eq!(received.expect("a datagram").address, None);
    });
}

#[test]
fn a_message_that_nobody_waits_for_keeps_its_memory_until_the_kernel_is_done() {
    let name = "a_message_that_nobody_waits_for_keeps_its_memory_until_the_kernel_is_done";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let server = udp(Ipv4Addr::LOCALHOST).expect("a socket");
    let client = udp(Ipv4Addr::LOCALHOST).expect("a socket");
    let address = server.local_addr().expect("its address");
    for round in 0..50 {
        let receive = ops::recvmsg(&server, vec![vec![0; 600], vec![0; 600]]);
        let receiving = ring.submit(receive);
        if round % 2 == 0 {
            ring.turn(None).expect("a turn");
        }
        // The kernel may write header, address and buffers while it is being cancelled.
        if round % 3 == 0 {
            client.send_to(&[7; 1000], address).expect("a datagram");
        }
        drop(receiving);
        let send = ops::sendmsg(&client, vec![vec![8; 100], vec![9; 100]]).to(&address);
        drop(ring.submit(send));
        until_let_go(&ring, &server);
        until_let_go(&ring, &client);
    }
}

#[test]
fn a_message_in_flight_ends_with_its_ring_and_a_forgotten_one_is_leaked() {
    let name = "a_message_in_flight_ends_with_its_ring_and_a_forgotten_one_is_leaked";
    for forget in [false, true] {
        let Some(ring) = local_ring(name, 8) else {
            return;
        };
        let server = udp(Ipv4Addr::LOCALHOST).expect("a socket");
        let client = udp(Ipv4Addr::LOCALHOST).expect("a socket");
        let receiving = ring.submit(ops::recvmsg(&server, vec![vec![0; 64]]));
        ring.turn(None).expect("a turn");
        if forget {
            mem::forget(receiving);
            let address = server.local_addr().expect("its address");
            client.send_to(b"late", address).expect("a datagram");
            ring.block_on(ring.submit(ops::nop())).expect("a no-op");
            drop(ring);
        } else {
            drop(ring);
            drop(receiving);
        }
        assert_eq!(Rc::strong_count(&server), 1 + usize::from(forget));
    }
}

#[test]
fn a_socket_is_bound_and_listens() {
    let name = "a_socket_is_bound_and_listens";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    ring.block_on(async {
        let socket = ops::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = ring.submit(socket).await.expect("a socket");
        let socket = Rc::new(TcpListener::from(socket));
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        if let Err(error) = ring.submit(ops::bind(&socket, &any_port)).await {
            let text = error.to_string();
            assert!(
                text.starts_with("bind by io_uring, which needs Linux 6.11: EOPNOTSUPP"),
                "{text}"
            );
            let listen = ring.submit(ops::listen(&socket, 8)).await;
            assert!(
                listen
                    .expect_err("it came with bind")
                    .to_string()
                    .contains("6.11")
            );
            println!("SKIPPED: {name}: {text}");
            return;
        }
        // What is wrong is told from what is unknown.
        let again = ring.submit(ops::bind(&socket, &any_port)).await;
        assert_eq!(again.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
        ring.submit(ops::listen(&socket, 8))
            .await
            .expect("a listener");
        let address = socket.local_addr().expect("its address");
        let mut client = TcpStream::connect(address).expect("a connection");
        let server = ring.submit(ops::accept(&socket)).await.expect("the same");
        client.write_all(b"x").expect("a byte");
        let mut byte = [0];
        TcpStream::from(server).read_exact(&mut byte).expect("it");
        assert_eq!(byte, *b"x");
        let socket = ops::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = Rc::new(ring.submit(socket).await.expect("a socket"));
        let taken = ring.submit(ops::bind(&socket, &address)).await;
        let errno = taken.map_err(|error| error.to_errno());
        assert_eq!(errno, Err(Errno::EADDRINUSE));
    });
}
