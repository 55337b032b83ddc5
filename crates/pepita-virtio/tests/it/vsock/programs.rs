//! Programs of the host and the guest find each other, and talk.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use pepita_virtio::{
    VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW,
};

use super::rig::{CID, Ends, Rig, on_each};

/// A program that wants a port of the guest, of which the guest hears; gives what the guest knows of it.
fn arrive(rig: &mut Rig, line: &str) -> (UnixStream, Ends) {
    let mut stream = UnixStream::connect(rig.path()).expect("the device listens");
    stream.write_all(line.as_bytes()).expect("it reads");
    stream.set_nonblocking(true).expect("it is a socket");
    let (header, _) = rig.packet();
    assert_eq!(header.op, VIRTIO_VSOCK_OP_REQUEST);
    (stream, Ends::new(header.dst_port, header.src_port))
}

pub(super) fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    match stream.read(&mut bytes) {
        Ok(len) => bytes.truncate(len),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            bytes.clear();
        }
    }
    bytes
}

/// Whether the other end has closed the socket, and left nothing to read.
pub(super) fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_driver_sees_the_context_id_and_streams() {
    on_each(|rig| {
        let mut config = [0; 8];
        rig.guest.bus.read_config(0, &mut config);
        assert_eq!(u64::from_le_bytes(config), CID);
        assert_eq!(rig.guest.bus.device_id(), 19);
        assert_eq!(rig.guest.offered() & 0b111, 0b101);
    });
}

#[test]
fn the_guest_talks_to_a_program_that_listens() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let ends = Ends::new(1024, 52);
        let mut stream = rig.connect(&listener, ends);
        rig.send(&ends.data(5), b"hello");
        assert_eq!(read(&mut stream), b"hello");
        stream.write_all(b"and back").expect("there is room");
        let (header, payload) = rig.packet();
        assert_eq!((header.op, header.fwd_cnt), (VIRTIO_VSOCK_OP_RW, 5));
        assert_eq!(payload, b"and back");
    });
}

#[test]
fn a_buffer_that_is_longer_than_its_packet_ends_with_the_packet() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let ends = Ends::new(1024, 52);
        let mut stream = rig.connect(&listener, ends);
        for (len, payload) in [(3, "abcdef"), (0, "ghi"), (4, "jklm")] {
            rig.send(&ends.data(len), payload.as_bytes());
            assert_eq!(read(&mut stream), &payload.as_bytes()[..len]);
        }
    });
}

#[test]
fn a_port_that_nobody_listens_at_is_refused() {
    on_each(|mut rig| {
        let ends = Ends::new(1024, 53);
        rig.send(&ends.header(VIRTIO_VSOCK_OP_REQUEST), &[]);
        assert_eq!(rig.packet().0.op, VIRTIO_VSOCK_OP_RST);
        // And can be asked for again.
        let listener = rig.listen(53);
        rig.connect(&listener, ends);
    });
}

#[test]
fn a_program_talks_to_a_port_of_the_guest() {
    on_each(|mut rig| {
        let mut streams = Vec::new();
        for line in ["CONNECT 5000\nfirst", "connect 5000\r\nfirst"] {
            let (mut stream, ends) = arrive(&mut rig, line);
            assert_eq!(ends.guest, 5000);
            assert_eq!(read(&mut stream), b"", "the guest has not answered");
            rig.send(&ends.header(VIRTIO_VSOCK_OP_RESPONSE), &[]);
            let told = format!("OK {}\n", ends.host);
            assert_eq!(read(&mut stream), told.as_bytes());
            assert_eq!(rig.packet().1, b"first");
            rig.send(&ends.data(3), b"yes");
            assert_eq!(read(&mut stream), b"yes");
            streams.push(stream);
        }
    });
}

#[test]
fn a_program_that_the_guest_refuses_sees_its_socket_closed() {
    on_each(|mut rig| {
        let (mut stream, ends) = arrive(&mut rig, "CONNECT 5000\n");
        rig.send(&ends.header(VIRTIO_VSOCK_OP_RST), &[]);
        assert!(is_closed(&mut stream));
        assert!(rig.packets().is_empty());
    });
}

#[test]
fn a_line_may_come_in_pieces() {
    on_each(|mut rig| {
        let mut stream = UnixStream::connect(rig.path()).expect("the device listens");
        for piece in ["CONN", "ECT 7", "7"] {
            stream.write_all(piece.as_bytes()).expect("it reads");
            assert!(rig.packets().is_empty());
        }
        stream.write_all(b"\n").expect("it reads");
        assert_eq!(rig.packet().0.dst_port, 77);
    });
}

#[test]
fn a_line_that_is_no_command_closes_the_socket() {
    let lines = [
        "\n",
        "CONNECT\n",
        "CONNECT x\n",
        "CONNECT -1\n",
        "CONNECT 4294967296\n",
        "CONNECT 1 2\n",
        "GET / HTTP/1.1\n",
        "a line without an end that is too long for a command",
    ];
    on_each(|mut rig| {
        for line in lines {
            let mut stream = UnixStream::connect(rig.path()).expect("the device listens");
            stream.write_all(line.as_bytes()).expect("it reads");
            stream.set_nonblocking(true).expect("it is a socket");
            assert!(rig.packets().is_empty());
            assert!(is_closed(&mut stream), "{line}");
        }
    });
}

#[test]
fn a_hundred_connections_in_each_direction_echo() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let mut all = Vec::new();
        for port in 0..100 {
            let ends = Ends::new(port, 52);
            all.push((rig.connect(&listener, ends), ends));
            let (mut stream, ends) = arrive(&mut rig, "CONNECT 80\n");
            rig.send(&ends.header(VIRTIO_VSOCK_OP_RESPONSE), &[]);
            read(&mut stream);
            all.push((stream, ends));
        }
        for round in 1..4_u8 {
            for (at, (stream, ends)) in all.iter_mut().enumerate() {
                let sent = vec![round ^ at.to_le_bytes()[0]; 1000 * usize::from(round)];
                rig.send(&ends.data(sent.len()), &sent);
                let back = read(stream);
                assert!(back == sent, "{at}");
                stream.write_all(&back).expect("there is room");
            }
            let mut echoes = vec![Vec::new(); all.len()];
            for (header, payload) in rig.packets() {
                assert_eq!(header.op, VIRTIO_VSOCK_OP_RW);
                let at = all.iter().position(|(_, ends)| {
                    (ends.guest, ends.host) == (header.dst_port, header.src_port)
                });
                echoes[at.expect("one of them")].extend(payload);
            }
            for (at, echo) in echoes.iter().enumerate() {
                let sent = vec![round ^ at.to_le_bytes()[0]; 1000 * usize::from(round)];
                assert!(*echo == sent, "{at}");
                all[at].1.forwarded += u32::try_from(sent.len()).expect("short");
            }
        }
    });
}
