//! How connections end: by halves, as a whole, with the guest, with the device.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use pepita_sys::error::{Errno, KernelError};
use pepita_virtio::{
    Element, STATUS_NEEDS_RESET, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VIRTIO_VSOCK_OP_REQUEST,
    VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_SHUTDOWN,
    VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND, VirtioVsock,
};

use super::programs::{is_closed, read};
use super::rig::{EVENT, Ends, RX, Rig, TX, TX_DATA, on_each};
use crate::guest::TRANSPORTS;
use crate::transport::rings;

const RECEIVE: u32 = VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE;
const SEND: u32 = VIRTIO_VSOCK_SHUTDOWN_F_SEND;
const BOTH: u32 = RECEIVE | SEND;

fn connected(rig: &mut Rig) -> (UnixStream, Ends) {
    let (listener, ends) = (rig.listen(52), Ends::new(1024, 52));
    (rig.connect(&listener, ends), ends)
}

#[track_caller]
fn expect(rig: &mut Rig, op: u16, flags: u32) {
    let (header, _) = rig.packet();
    assert_eq!((header.op, header.flags), (op, flags));
}

#[test]
fn a_guest_that_sends_no_more_still_receives() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        rig.send(&ends.data(4), b"last");
        rig.send(&ends.shutdown(SEND), &[]);
        assert_eq!(read(&mut stream), b"last");
        assert!(is_closed(&mut stream));
        stream.write_all(b"answer").expect("the guest receives");
        assert_eq!(rig.packet().1, b"answer");
        // The other half, by a packet that says nothing of the first.
        rig.send(&ends.shutdown(RECEIVE), &[]);
        expect(&mut rig, VIRTIO_VSOCK_OP_RST, 0);
    });
}

#[test]
fn a_guest_that_receives_no_more_still_sends() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        rig.send(&ends.shutdown(RECEIVE), &[]);
        let error = stream.write_all(b"x").expect_err("nobody receives");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        rig.send(&ends.data(4), b"last");
        assert_eq!(read(&mut stream), b"last");
        rig.send(&ends.shutdown(BOTH), &[]);
        expect(&mut rig, VIRTIO_VSOCK_OP_RST, 0);
        assert!(is_closed(&mut stream));
    });
}

#[test]
fn a_program_that_sends_no_more_still_receives() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        stream.write_all(b"last").expect("there is room");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let packets = rig.packets();
        let ops: Vec<_> = packets.iter().map(|(one, _)| (one.op, one.flags)).collect();
        assert_eq!(
            ops,
            [(VIRTIO_VSOCK_OP_RW, 0), (VIRTIO_VSOCK_OP_SHUTDOWN, SEND)]
        );
        rig.send(&ends.data(6), b"answer");
        assert_eq!(read(&mut stream), b"answer");
        drop(stream);
        expect(&mut rig, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
        rig.send(&ends.header(VIRTIO_VSOCK_OP_RST), &[]);
        assert!(rig.packets().is_empty());
    });
}

#[test]
fn a_program_that_receives_no_more_is_told_of_when_the_guest_sends() {
    on_each(|mut rig| {
        let (stream, ends) = connected(&mut rig);
        stream.shutdown(Shutdown::Read).expect("it is open");
        rig.send(&ends.data(1), b"x");
        expect(&mut rig, VIRTIO_VSOCK_OP_SHUTDOWN, RECEIVE);
        // What was on its way is thrown away.
        rig.send(&ends.data(1), b"y");
        assert!(rig.packets().is_empty());
    });
}

#[test]
fn what_a_program_left_behind_arrives_before_its_end() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        let bytes: Vec<u8> = (0..=250).cycle().take(100_000).collect();
        stream.write_all(&bytes).expect("there is room");
        drop(stream);
        let (mut got, mut end) = (Vec::new(), None);
        for (header, payload) in rig.packets() {
            assert_eq!(end, None, "the end comes last");
            match header.op {
                VIRTIO_VSOCK_OP_RW => got.extend(payload),
                VIRTIO_VSOCK_OP_SHUTDOWN => end = Some(header.flags),
                op => panic!("op {op}"),
            }
        }
        assert!(got == bytes && end == Some(BOTH));
        rig.send(&ends.shutdown(BOTH), &[]);
        expect(&mut rig, VIRTIO_VSOCK_OP_RST, 0);
    });
}

#[test]
fn what_a_guest_left_behind_arrives_before_its_end() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        // More than the socket takes, and less than the device holds back.
        let mut sent = 0;
        while sent < 20 << 16 {
            let packet = ends.data(1 << 14);
            rig.send(&packet, &vec![7; 1 << 14]);
            sent += 1 << 14;
            let is_full = !rig.packets().iter().any(|(one, _)| one.fwd_cnt == sent);
            if is_full && sent % (1 << 16) != 0 {
                break;
            }
        }
        rig.send(&ends.shutdown(BOTH), &[]);
        let mut got = 0;
        let mut is_over = false;
        for _ in 0..1000 {
            got += read(&mut stream).len();
            is_over |= rig
                .packets()
                .iter()
                .any(|(one, _)| one.op == VIRTIO_VSOCK_OP_RST);
            if is_over {
                break;
            }
        }
        got += read(&mut stream).len();
        assert!(
            is_over && got == usize::try_from(sent).expect("small"),
            "{got} of {sent}"
        );
        assert!(is_closed(&mut stream));
    });
}

#[test]
fn a_reset_of_the_guests_closes_the_socket() {
    on_each(|mut rig| {
        let (mut stream, ends) = connected(&mut rig);
        rig.send(&ends.header(VIRTIO_VSOCK_OP_RST), &[]);
        assert!(is_closed(&mut stream));
        assert!(rig.packets().is_empty());
    });
}

#[test]
fn a_reset_device_has_no_connections_and_takes_new_ones() {
    on_each(|mut rig| {
        let (mut stream, _) = connected(&mut rig);
        let mut early = UnixStream::connect(rig.path()).expect("the device listens");
        early.write_all(b"CONNECT 9\n").expect("it reads");
        rig.restart();
        assert!(is_closed(&mut stream));
        // Who came before the driver was ready is let in now.
        assert_eq!(rig.packet().0.op, VIRTIO_VSOCK_OP_REQUEST);
        let listener = rig.listen(54);
        rig.connect(&listener, Ends::new(1024, 54));
    });
}

#[test]
fn programs_that_come_while_a_queue_is_stopped_wait_for_it() {
    for transport in TRANSPORTS {
        let mut rig = Rig::new(transport, false);
        rig.poll();
        rig.guest.bus.reset_queue(RX);
        let mut stream = UnixStream::connect(rig.path()).expect("the device listens");
        stream.write_all(b"CONNECT 9\n").expect("it reads");
        rig.poll();
        rig.restart_rx();
        assert_eq!(rig.packet().0.op, VIRTIO_VSOCK_OP_REQUEST);
    }
}

#[test]
fn a_path_is_listened_at_once_and_is_gone_with_the_device() {
    let dir = tempfile::tempdir().expect("there is room for files");
    let path = dir.path().join("v");
    let first = VirtioVsock::new(3).listen(&path).expect("it is new");
    let error = VirtioVsock::new(4).listen(&path).expect_err("it is taken");
    assert!(error.to_string().contains("/v cannot be listened at"));
    assert_eq!(KernelError::from(error).to_errno(), Errno::EADDRINUSE);
    assert!(path.exists(), "who was refused leaves it alone");
    drop(first);
    assert!(!path.exists());
    let long = dir.path().join("v".repeat(200));
    let error = VirtioVsock::new(4)
        .listen(long)
        .expect_err("it is too long");
    assert_eq!(KernelError::from(error).to_errno(), Errno::ENAMETOOLONG);
}

#[test]
fn reserved_context_ids_are_no_guests() {
    for cid in [0, 1, 2, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let made = std::panic::catch_unwind(|| VirtioVsock::new(cid));
        assert!(made.is_err(), "{cid}");
    }
    assert_eq!(VirtioVsock::new(u64::from(u32::MAX) - 1).cid(), 0xffff_fffe);
}

#[test]
fn a_restored_guest_hears_first_that_its_connections_are_gone() {
    for transport in TRANSPORTS {
        let mut rig = Rig::with(transport, false, |vsock| vsock.restored());
        rig.refill();
        // A packet of a connection of before.
        rig.send(&Ends::new(1, 2).data(1), b"x");
        assert!(rig.packets().is_empty(), "nothing before the event");
        rig.guest.add(EVENT, &[], &[Element::new(TX_DATA, 4)]);
        let used = rig.guest.take(EVENT).expect("the event");
        assert_eq!(used.written, 4);
        let event = u32::from_le_bytes(rig.guest.read(TX_DATA));
        assert_eq!(event, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
        assert_eq!(rig.packet().0.op, VIRTIO_VSOCK_OP_RST);
        // Once.
        rig.guest.add(EVENT, &[], &[Element::new(TX_DATA, 4)]);
        assert_eq!(rig.guest.take(EVENT), None);
        let listener = rig.listen(54);
        rig.connect(&listener, Ends::new(1024, 54));
    }
}

#[test]
fn a_buffer_without_room_for_a_packet_makes_the_device_need_a_reset() {
    for transport in TRANSPORTS {
        for len in [0, 43, 44] {
            let mut rig = Rig::with(transport, false, |vsock| vsock);
            let listener = rig.listen(52);
            rig.give(1);
            rig.send(&Ends::new(1024, 52).header(VIRTIO_VSOCK_OP_REQUEST), &[]);
            assert_eq!(rig.take().len(), 1);
            let (mut stream, _) = listener.accept().expect("the guest has come");
            stream.write_all(b"x").expect("there is room");
            rig.guest.add(RX, &[], &[Element::new(TX_DATA, len)]);
            rig.poll();
            assert!(rig.guest.bus.status() & STATUS_NEEDS_RESET != 0, "{len}");
            assert!(is_closed(&mut stream));
            rig.guest.init(rings(true));
        }
    }
}

#[test]
fn a_packet_without_a_header_is_nothing() {
    on_each(|mut rig| {
        for len in [0, 1, 43] {
            rig.guest.add(TX, &[Element::new(TX_DATA, len)], &[]);
            assert!(rig.guest.take(TX).is_some());
        }
        assert!(rig.packets().is_empty());
        assert_eq!(rig.guest.bus.status() & STATUS_NEEDS_RESET, 0);
    });
}
