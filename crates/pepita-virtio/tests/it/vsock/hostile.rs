//! Packets that a guest must not send. Each case of the list that other implementations have met is here.

use pepita_virtio::{
    VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_INVALID,
    VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW,
    VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_F_SEND, VIRTIO_VSOCK_TYPE_SEQPACKET,
    VsockPacketHeader,
};

use super::programs::{is_closed, read};
use super::rig::{CID, Ends, TX, on_each};

const ENDS: Ends = Ends {
    guest: 1024,
    host: 52,
    room: 1 << 18,
    forwarded: 0,
};

fn request() -> VsockPacketHeader {
    ENDS.header(VIRTIO_VSOCK_OP_REQUEST)
}

#[test]
fn packets_of_others_or_for_others_are_dropped() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let mut stream = rig.connect(&listener, ENDS);
        let cids = [
            (CID, 0),
            (CID, 1),
            (CID, CID),
            (CID, 1 << 32 | 2),
            (2, 2),
            (4, 2),
            (CID | 1 << 32, 2),
        ];
        for (src_cid, dst_cid) in cids {
            for op in 0..9 {
                let header = VsockPacketHeader {
                    src_cid,
                    dst_cid,
                    ..ENDS.header(op)
                };
                rig.send(&header, &[]);
            }
        }
        assert!(rig.packets().is_empty());
        rig.send(&ENDS.data(1), b"x");
        assert_eq!(read(&mut stream), b"x", "the connection is as it was");
    });
}

#[test]
fn unknown_types_are_answered_by_a_reset_of_their_type() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let mut stream = rig.connect(&listener, ENDS);
        for packet_type in [0, VIRTIO_VSOCK_TYPE_SEQPACKET, 3, u16::MAX] {
            for op in [VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RW] {
                let header = VsockPacketHeader {
                    packet_type,
                    ..ENDS.header(op)
                };
                rig.send(&header, &[]);
                let (reply, _) = rig.packet();
                assert_eq!(
                    (reply.op, reply.packet_type),
                    (VIRTIO_VSOCK_OP_RST, packet_type)
                );
                assert_eq!((reply.src_port, reply.dst_port), (52, 1024));
            }
            let reset = VsockPacketHeader {
                packet_type,
                ..ENDS.header(VIRTIO_VSOCK_OP_RST)
            };
            rig.send(&reset, &[]);
            assert!(rig.packets().is_empty(), "no answer to a reset");
        }
        rig.send(&ENDS.data(1), b"x");
        assert_eq!(read(&mut stream), b"x", "the stream is as it was");
    });
}

#[test]
fn a_packet_of_no_connection_is_answered_by_a_reset() {
    on_each(|mut rig| {
        for op in (0..20).chain([u16::MAX]) {
            if op == VIRTIO_VSOCK_OP_REQUEST {
                continue;
            }
            rig.send(&ENDS.header(op), &[]);
            let ops: Vec<u16> = rig.packets().iter().map(|(one, _)| one.op).collect();
            let expected: &[u16] = if op == VIRTIO_VSOCK_OP_RST {
                &[]
            } else {
                &[VIRTIO_VSOCK_OP_RST]
            };
            assert_eq!(ops, expected, "op {op}");
        }
    });
}

/// What breaks a connection, by name: the packets, of which the last is the wrong one, and its payload.
fn wrongs() -> Vec<(&'static str, Vec<VsockPacketHeader>, Vec<u8>)> {
    let window = 1 << 16;
    let told = |forwarded, op| Ends { forwarded, ..ENDS }.header(op);
    let longer = VsockPacketHeader {
        len: 11,
        ..ENDS.header(VIRTIO_VSOCK_OP_RW)
    };
    let longest = VsockPacketHeader {
        len: u32::MAX,
        ..longer
    };
    vec![
        ("a second request", vec![request()], vec![]),
        (
            "a response to nothing",
            vec![ENDS.header(VIRTIO_VSOCK_OP_RESPONSE)],
            vec![],
        ),
        (
            "no operation",
            vec![ENDS.header(VIRTIO_VSOCK_OP_INVALID)],
            vec![],
        ),
        ("an unknown operation", vec![ENDS.header(8)], vec![]),
        ("a length beyond the buffer", vec![longer], vec![1; 10]),
        ("a length beyond everything", vec![longest], vec![1; 10]),
        (
            "more than 64 KiB",
            vec![ENDS.data(window + 1)],
            vec![1; window + 1],
        ),
        (
            "bytes behind the end",
            vec![ENDS.shutdown(VIRTIO_VSOCK_SHUTDOWN_F_SEND), ENDS.data(1)],
            vec![1],
        ),
        (
            "a count of what was never sent",
            vec![told(1, VIRTIO_VSOCK_OP_CREDIT_UPDATE)],
            vec![],
        ),
        (
            "a count below zero",
            vec![told(u32::MAX, VIRTIO_VSOCK_OP_CREDIT_REQUEST)],
            vec![],
        ),
        (
            "a lie beside a shutdown",
            vec![told(9, VIRTIO_VSOCK_OP_SHUTDOWN)],
            vec![],
        ),
        (
            "a lie beside data",
            vec![VsockPacketHeader {
                len: 1,
                ..told(9, VIRTIO_VSOCK_OP_RW)
            }],
            vec![1],
        ),
    ]
}

#[test]
fn a_broken_rule_ends_the_connection_and_no_other() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let other = Ends { guest: 7, ..ENDS };
        let mut untouched = rig.connect(&listener, other);
        for (name, packets, payload) in wrongs() {
            let mut stream = rig.connect(&listener, ENDS);
            let (last, before) = packets.split_last().expect("one");
            for packet in before {
                rig.send(packet, &[]);
            }
            rig.send(last, &payload);
            assert!(is_closed(&mut stream), "{name}");
            let (reply, _) = rig.packet();
            assert_eq!(
                (reply.op, reply.dst_port),
                (VIRTIO_VSOCK_OP_RST, 1024),
                "{name}"
            );
        }
        rig.send(&other.data(1), b"x");
        assert_eq!(read(&mut untouched), b"x");
    });
}

#[test]
fn a_guest_that_sends_more_than_it_may_loses_the_connection() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        let mut stream = rig.connect(&listener, ENDS);
        // Nobody reads, so the guest is told of less and less room.
        let mut is_reset = false;
        for _ in 0..1000 {
            rig.send(&ENDS.data(0x1000), &[5; 0x1000]);
            is_reset |= rig
                .packets()
                .iter()
                .any(|(one, _)| one.op == VIRTIO_VSOCK_OP_RST);
            if is_reset {
                break;
            }
        }
        assert!(is_reset);
        while !read(&mut stream).is_empty() {}
        assert!(is_closed(&mut stream));
    });
}

#[test]
fn a_storm_of_packets_of_no_connection_waits_for_the_guest_to_take_the_answers() {
    on_each(|mut rig| {
        // The device has 64 buffers for answers; the guest takes none back.
        let (mut done, mut put) = (0, 0);
        while put < done + 100 {
            rig.put(&ENDS.header(VIRTIO_VSOCK_OP_RW), &[]);
            put += 1;
            while rig.guest.take(TX).is_some() {
                done += 1;
            }
        }
        assert!((64..=64 + 64 + 256).contains(&done), "{done}");
        rig.poll();
        // When it takes them, the rest is done.
        let answers = rig.packets();
        while rig.guest.take(TX).is_some() {
            done += 1;
        }
        assert_eq!((answers.len(), done), (put, put));
        assert!(answers.iter().all(|(one, _)| one.op == VIRTIO_VSOCK_OP_RST));
    });
}

#[test]
fn connections_that_are_asked_for_and_dropped_leave_nothing_behind() {
    on_each(|mut rig| {
        let listener = rig.listen(52);
        for _ in 0..5000 {
            rig.send(&request(), &[]);
            rig.send(&ENDS.header(VIRTIO_VSOCK_OP_RST), &[]);
            drop(listener.accept().expect("the guest has come"));
            rig.packets();
        }
        rig.connect(&listener, ENDS);
    });
}
