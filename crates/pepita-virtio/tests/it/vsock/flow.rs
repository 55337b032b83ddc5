//! Who sends faster than the other side takes waits, and nobody spins.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use pepita_virtio::{
    VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_REQUEST,
    VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RW,
};

use super::programs::read;
use super::rig::{Ends, Rig, on_each};

/// Bytes that are told apart by where they are.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|at| (at % 251).to_le_bytes()[0])
        .collect()
}

/// Writes all that the socket takes; gives how much.
fn fill(stream: &mut UnixStream) -> usize {
    let mut sent = 0;
    loop {
        match stream.write(&pattern(sent, 1000)) {
            Ok(len) => sent += len,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return sent;
            }
        }
    }
}

#[test]
fn bytes_that_a_socket_has_no_room_for_wait_and_the_guest_with_them() {
    on_each(|mut rig| {
        let (listener, ends) = (rig.listen(52), Ends::new(1024, 52));
        let mut stream = rig.connect(&listener, ends);
        // What the guest was told that it may send, and what it has sent.
        let (mut limit, mut sent, mut got) = (1_usize << 16, 0, 0);
        let mut send_all = |rig: &mut Rig, limit: usize| {
            while sent < limit {
                let len = (limit - sent).min(5000);
                rig.send(&ends.data(len), &pattern(sent, len));
                sent += len;
            }
            sent
        };
        // Until nothing is taken any more.
        loop {
            let sent = send_all(&mut rig, limit);
            let packets = rig.packets();
            let told = packets.last().map_or(0, |(one, _)| one.fwd_cnt as usize);
            assert!(told <= sent);
            if packets.is_empty() {
                break;
            }
            limit = told + (1 << 16);
        }
        assert!(limit > 1 << 16, "the socket took some");
        for _ in 0..10_000 {
            let bytes = read(&mut stream);
            assert!(bytes == pattern(got, bytes.len()), "at {got}");
            got += bytes.len();
            if let Some((last, _)) = rig.packets().last() {
                assert_eq!(last.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
                limit = last.fwd_cnt as usize + (1 << 16);
            }
            if got > 4 << 20 {
                break;
            }
            send_all(&mut rig, limit);
        }
        assert!(got > 4 << 20, "{got}");
    });
}

#[test]
fn no_more_is_sent_than_the_guest_has_room_for() {
    on_each(|mut rig| {
        let (listener, mut ends) = (rig.listen(52), Ends::new(1024, 52));
        ends.room = 10;
        let mut stream = rig.connect(&listener, ends);
        stream.write_all(&pattern(0, 25)).expect("there is room");
        let mut got = Vec::new();
        for expected in [10, 10, 5] {
            let packets = rig.packets();
            let (first, payload) = &packets[0];
            assert_eq!((first.op, payload.len()), (VIRTIO_VSOCK_OP_RW, expected));
            got.extend_from_slice(payload);
            // The device asks once, when it does not know that there is nothing more to send.
            let rest: Vec<u16> = packets[1..].iter().map(|(one, _)| one.op).collect();
            let asked = [VIRTIO_VSOCK_OP_CREDIT_REQUEST];
            assert_eq!(rest, if expected == 10 { &asked[..] } else { &[] });
            assert!(rig.packets().is_empty());
            ends.forwarded += u32::try_from(expected).expect("small");
            rig.send(&ends.header(VIRTIO_VSOCK_OP_CREDIT_UPDATE), &[]);
        }
        assert_eq!(got, pattern(0, 25));
        // A room that shrinks below what is on its way is none.
        stream.write_all(&[1; 8]).expect("there is room");
        assert_eq!(rig.packets()[0].1.len(), 8);
        ends.room = 4;
        rig.send(&ends.header(VIRTIO_VSOCK_OP_CREDIT_UPDATE), &[]);
        stream.write_all(&[1]).expect("there is room");
        assert_eq!(rig.packet().0.op, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        ends.forwarded += 8;
        rig.send(&ends.header(VIRTIO_VSOCK_OP_CREDIT_UPDATE), &[]);
        assert_eq!(rig.packet().1, [1]);
    });
}

#[test]
fn who_asks_how_much_room_there_is_is_told() {
    on_each(|mut rig| {
        let (listener, ends) = (rig.listen(52), Ends::new(1024, 52));
        let mut stream = rig.connect(&listener, ends);
        rig.send(&ends.data(3), b"abc");
        assert!(rig.packets().is_empty(), "there is enough");
        rig.send(&ends.header(VIRTIO_VSOCK_OP_CREDIT_REQUEST), &[]);
        let (answer, _) = rig.packet();
        assert_eq!(answer.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        assert_eq!((answer.buf_alloc, answer.fwd_cnt), (1 << 16, 3));
        assert_eq!(read(&mut stream), b"abc");
    });
}

#[test]
fn a_program_waits_for_a_guest_without_room_for_packets_and_nothing_spins() {
    on_each(|mut rig| {
        let (listener, ends) = (rig.listen(52), Ends::new(1024, 52));
        let mut stream = rig.connect(&listener, ends);
        // Room for 64 packets of some bytes, none of which the guest takes.
        let mut all = fill(&mut stream);
        for _ in 0..100 {
            rig.poll();
            all += match stream.write(&pattern(all, 1000)) {
                Ok(len) => len,
                Err(_) => break,
            };
        }
        rig.poll();
        assert!(!rig.is_readable(), "it waits for the guest");
        let mut got = Vec::new();
        let mut told = ends;
        loop {
            let packets = rig.packets();
            if packets.is_empty() {
                break;
            }
            for (_, payload) in packets {
                got.extend(payload);
            }
            told.forwarded = u32::try_from(got.len()).expect("small");
            rig.send(&told.header(VIRTIO_VSOCK_OP_CREDIT_UPDATE), &[]);
        }
        assert!(got.len() >= all, "{} of {all}", got.len());
        assert!(got == pattern(0, got.len()));
    });
}

#[test]
fn packets_of_the_guest_are_taken_though_it_has_no_room_for_any() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let all: Vec<Ends> = (0..40).map(|port| Ends::new(port, 52)).collect();
        let mut streams: Vec<UnixStream> = all
            .iter()
            .map(|ends| rig.connect(&listener, *ends))
            .collect();
        // All that the guest has room for is taken by answers.
        for _ in 0..3 {
            for ends in &all {
                rig.send(&ends.header(VIRTIO_VSOCK_OP_CREDIT_REQUEST), &[]);
            }
        }
        for (ends, stream) in all.iter().zip(&mut streams) {
            stream.set_nonblocking(true).expect("it is a socket");
            rig.send(&ends.data(4), &ends.guest.to_le_bytes());
            assert_eq!(read(stream), ends.guest.to_le_bytes());
        }
    });
}

#[test]
fn a_connection_that_the_guest_takes_twice_is_one() {
    on_each(|mut rig| {
        let mut stream = UnixStream::connect(rig.path()).expect("the device listens");
        stream.write_all(b"CONNECT 1\n").expect("it reads");
        let (request, _) = rig.packet();
        assert_eq!(request.op, VIRTIO_VSOCK_OP_REQUEST);
        let ends = Ends::new(1, request.src_port);
        let response = ends.header(VIRTIO_VSOCK_OP_RESPONSE);
        rig.send(&response, &[]);
        rig.send(&response, &[]);
        assert_eq!(rig.packet().0.op, pepita_virtio::VIRTIO_VSOCK_OP_RST);
    });
}
