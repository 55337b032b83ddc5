use std::collections::HashSet;

use proptest::prelude::*;

use super::super::packet::{
    VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RW,
    VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND,
};
use super::super::table::CONNECTIONS_MAX;
use super::*;

const CID: u64 = 3;

fn header(guest: u32, host: u32, op: u16) -> VsockPacketHeader {
    VsockPacketHeader {
        src_cid: CID,
        dst_cid: VSOCK_CID_HOST,
        src_port: guest,
        dst_port: host,
        packet_type: VIRTIO_VSOCK_TYPE_STREAM,
        op,
        ..VsockPacketHeader::default()
    }
}

/// The packets for the guest; sockets have nothing to read.
fn drain(machine: &mut Machine) -> Vec<VsockPacketHeader> {
    std::iter::from_fn(|| machine.next())
        .map(|packet| match packet {
            Packet::Control(header) => header,
            Packet::Data(..) => panic!("there is nothing to read"),
        })
        .collect()
}

fn open(machine: &mut Machine, guest: u32, now: Instant) -> Id {
    let verdict = machine.receive(&header(guest, 1, VIRTIO_VSOCK_OP_REQUEST), 0, now);
    let Verdict::Connect(id, 1) = verdict else {
        panic!("{verdict:?}");
    };
    machine.accept(id);
    let told = drain(machine);
    assert_eq!(told[0].op, VIRTIO_VSOCK_OP_RESPONSE);
    id
}

#[test]
fn one_connection_more_than_there_may_be_is_refused() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    let most = u32::try_from(CONNECTIONS_MAX).expect("small");
    for port in 0..most {
        open(&mut machine, port, now);
    }
    let request = header(most, 1, VIRTIO_VSOCK_OP_REQUEST);
    for _ in 0..3 {
        assert_eq!(machine.receive(&request, 0, now), Verdict::Nothing);
        let [reset] = drain(&mut machine)[..] else {
            panic!("one answer");
        };
        assert_eq!((reset.op, reset.dst_port), (VIRTIO_VSOCK_OP_RST, most));
    }
    assert_eq!(machine.greet(now), None);
    // One that goes makes room for one.
    let gone = machine.receive(&header(7, 1, VIRTIO_VSOCK_OP_RST), 0, now);
    assert!(matches!(gone, Verdict::Close(_)));
    open(&mut machine, most, now);
}

#[test]
fn what_a_guest_that_takes_nothing_can_make_pile_up_is_bounded() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    // Asked for, accepted, dropped: nobody waits that is not there.
    for port in 0..10_000 {
        let verdict = machine.receive(&header(port % 9, 1, VIRTIO_VSOCK_OP_REQUEST), 0, now);
        let Verdict::Connect(id, _) = verdict else {
            panic!("{verdict:?}");
        };
        machine.accept(id);
        machine.receive(&header(port % 9, 1, VIRTIO_VSOCK_OP_RST), 0, now);
    }
    assert!(drain(&mut machine).is_empty());
    // Refused by the host: each is there until the guest hears of it.
    let mut asked = 0;
    while machine.can_receive() {
        if let Verdict::Connect(id, _) =
            machine.receive(&header(asked, 1, VIRTIO_VSOCK_OP_REQUEST), 0, now)
        {
            machine.reset(id);
        }
        asked += 1;
    }
    let resets = drain(&mut machine);
    assert_eq!(resets.len(), CONNECTIONS_MAX + REPLIES_MAX);
    let ports: HashSet<u32> = resets.iter().map(|one| one.dst_port).collect();
    assert_eq!(ports.len(), resets.len());
    assert!(machine.can_receive());
}

#[test]
fn who_does_not_say_what_it_wants_in_time_is_sent_away_and_the_guest_hears_nothing() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    let id = machine.greet(now).expect("there is room");
    assert_eq!(machine.deadline(), Some(now + CONNECT_TIME));
    assert_eq!(machine.expire(now + CONNECT_TIME / 2), None);
    assert_eq!(machine.expire(now + CONNECT_TIME), Some(id));
    assert_eq!(machine.expire(now + CONNECT_TIME), None);
    assert!(drain(&mut machine).is_empty());
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_guest_that_does_not_answer_in_time_is_told_that_it_is_too_late() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    let id = machine.greet(now).expect("there is room");
    let host = machine.offer(id, 80, now).expect("there are ports");
    assert_eq!(drain(&mut machine)[0].op, VIRTIO_VSOCK_OP_REQUEST);
    assert_eq!(machine.expire(now + CONNECT_TIME), Some(id));
    assert_eq!(drain(&mut machine)[0].op, VIRTIO_VSOCK_OP_RST);
    // Its answer is then one to nothing.
    machine.receive(&header(80, host, VIRTIO_VSOCK_OP_RESPONSE), 0, now);
    assert_eq!(drain(&mut machine)[0].op, VIRTIO_VSOCK_OP_RST);
}

#[test]
fn a_guest_that_answers_has_no_deadline() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    let id = machine.greet(now).expect("there is room");
    let host = machine.offer(id, 80, now).expect("there are ports");
    drain(&mut machine);
    let verdict = machine.receive(&header(80, host, VIRTIO_VSOCK_OP_RESPONSE), 0, now);
    assert_eq!(verdict, Verdict::Established(id));
    assert_eq!(machine.deadline(), None);
}

#[test]
fn an_end_that_the_guest_does_not_answer_is_forced_after_a_time() {
    let (mut machine, now) = (Machine::new(CID), Instant::now());
    let id = open(&mut machine, 5, now);
    machine.end(id, VIRTIO_VSOCK_SHUTDOWN_F_SEND, now);
    assert_eq!(
        machine.deadline(),
        None,
        "half of an end takes what it takes"
    );
    machine.end(id, VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, now);
    let told = drain(&mut machine);
    assert_eq!(
        (told[0].op, told[0].flags),
        (VIRTIO_VSOCK_OP_SHUTDOWN, BOTH)
    );
    assert_eq!(machine.expire(now + CLOSE_TIME), Some(id));
    assert_eq!(drain(&mut machine)[0].op, VIRTIO_VSOCK_OP_RST);
}

#[test]
fn bytes_of_a_guest_that_has_ended_are_waited_for_as_long_as_some_are_handed_on() {
    let (mut machine, mut now) = (Machine::new(CID), Instant::now());
    let id = open(&mut machine, 5, now);
    let data = VsockPacketHeader {
        len: 100,
        ..header(5, 1, VIRTIO_VSOCK_OP_RW)
    };
    assert_eq!(machine.receive(&data, 100, now), Verdict::Data(id));
    let end = VsockPacketHeader {
        flags: BOTH,
        ..header(5, 1, VIRTIO_VSOCK_OP_SHUTDOWN)
    };
    assert_eq!(machine.receive(&end, 0, now), Verdict::Ended(id));
    for _ in 0..99 {
        assert!(!machine.is_over(id));
        now += CLOSE_TIME / 2;
        assert_eq!(machine.expire(now), None);
        machine.forward(id, 1, now);
    }
    assert_eq!(machine.expire(now + CLOSE_TIME), Some(id));
    let resets = drain(&mut machine);
    assert_eq!(resets.last().map(|one| one.op), Some(VIRTIO_VSOCK_OP_RST));
}

/// What the two sides do in a run.
#[derive(Debug, Clone)]
enum Op {
    /// The guest sends so much, as far as it may.
    GuestSends(usize, u32),
    /// The host's socket takes so much.
    HostTakes(usize, u32),
    /// The host's program writes so much.
    HostWrites(usize, u32),
    /// The guest hands on so much, and perhaps says so.
    GuestTakes(usize, u32, bool),
    /// So many packets reach the guest.
    Deliver(usize),
    /// A side ends what it sends.
    GuestEnds(usize),
    HostEnds(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..3_usize;
    let len = 0..40_000_u32;
    prop_oneof![
        4 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::GuestSends(at, len)),
        4 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::HostTakes(at, len)),
        4 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::HostWrites(at, len)),
        4 => (at.clone(), len, any::<bool>()).prop_map(|(at, len, says)| Op::GuestTakes(at, len, says)),
        6 => (0..6_usize).prop_map(Op::Deliver),
        1 => at.clone().prop_map(Op::GuestEnds),
        1 => at.prop_map(Op::HostEnds),
    ]
}

/// A connection, as two queues of bytes that nobody loses, counted without wrapping.
#[derive(Debug, Default)]
struct Model {
    /// From the guest: sent, and taken by the host's socket.
    sent: u64,
    taken: u64,
    /// What the guest knows of it.
    told: u64,
    /// From the host: written, sent in packets, arrived, and handed on by the guest; and what it has said of that.
    written: u64,
    packed: u64,
    arrived: u64,
    handed_on: u64,
    said: u64,
    guest_has_ended: bool,
    host_has_ended: bool,
}

/// The room of the model's guest.
const ROOM: u32 = 50_000;

struct World {
    machine: Machine,
    now: Instant,
    ids: Vec<Id>,
    models: Vec<Model>,
}

impl World {
    fn new() -> Self {
        let (mut machine, now) = (Machine::new(CID), Instant::now());
        let ids: Vec<Id> = (0..3).map(|port| open(&mut machine, port, now)).collect();
        let models = ids.iter().map(|_| Model::default()).collect();
        let mut world = Self {
            machine,
            now,
            ids,
            models,
        };
        for at in 0..3 {
            world.send(at, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
        }
        world
    }

    /// A packet of the guest's, with what it knows.
    fn send(&mut self, at: usize, op: u16, len: u32, flags: u32) -> Verdict {
        let model = &mut self.models[at];
        model.said = model.handed_on;
        let forwarded = u32::try_from(model.said).expect("small");
        let packet = VsockPacketHeader {
            len,
            flags,
            buf_alloc: ROOM,
            fwd_cnt: forwarded,
            ..header(u32::try_from(at).expect("small"), 1, op)
        };
        self.machine.receive(&packet, len.into(), self.now)
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::GuestSends(at, len) => {
                let model = &self.models[at];
                let room = model.told + u64::from(WINDOW) - model.sent;
                let len = u64::from(len).min(room);
                if model.guest_has_ended || len == 0 {
                    return;
                }
                self.models[at].sent += len;
                let len = u32::try_from(len).expect("small");
                let verdict = self.send(at, VIRTIO_VSOCK_OP_RW, len, 0);
                assert_eq!(verdict, Verdict::Data(self.ids[at]), "it may be sent");
            }
            Op::HostTakes(at, len) => {
                let model = &mut self.models[at];
                let len = u64::from(len).min(model.sent - model.taken);
                model.taken += len;
                let len = u32::try_from(len).expect("small");
                self.machine.forward(self.ids[at], len, self.now);
            }
            Op::HostWrites(at, len) => {
                let model = &mut self.models[at];
                if !model.host_has_ended {
                    model.written += u64::from(len);
                    self.machine.set_readable(self.ids[at], true);
                }
            }
            Op::GuestTakes(at, len, says) => {
                let model = &mut self.models[at];
                model.handed_on += u64::from(len).min(model.arrived - model.handed_on);
                if says {
                    let verdict = self.send(at, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
                    assert_eq!(verdict, Verdict::Nothing);
                }
            }
            Op::Deliver(count) => {
                for _ in 0..count {
                    self.deliver();
                }
            }
            Op::GuestEnds(at) => {
                self.models[at].guest_has_ended = true;
                let flags = VIRTIO_VSOCK_SHUTDOWN_F_SEND;
                let verdict = self.send(at, VIRTIO_VSOCK_OP_SHUTDOWN, 0, flags);
                assert_eq!(verdict, Verdict::Ended(self.ids[at]));
            }
            Op::HostEnds(at) => self.models[at].host_has_ended = true,
        }
    }

    /// The next packet reaches the guest; whether there was one.
    fn deliver(&mut self) -> bool {
        let Some(packet) = self.machine.next() else {
            return false;
        };
        let header = match packet {
            Packet::Control(header) => header,
            Packet::Data(id, limit) => {
                let at = self.ids.iter().position(|one| *one == id).expect("known");
                let model = &mut self.models[at];
                let in_flight = model.packed - model.said;
                assert_eq!(u64::from(limit), u64::from(ROOM.min(WINDOW)) - in_flight);
                let len = u64::from(limit).min(model.written - model.packed);
                if len == 0 {
                    self.machine.set_readable(id, false);
                    if model.host_has_ended {
                        let sends = VIRTIO_VSOCK_SHUTDOWN_F_SEND;
                        self.machine.end(id, sends, self.now);
                    }
                    return true;
                }
                model.packed += len;
                model.arrived += len;
                self.machine.data(id, u32::try_from(len).expect("small"))
            }
        };
        let at = usize::try_from(header.dst_port).expect("small");
        let model = &mut self.models[at];
        model.told = u64::from(header.fwd_cnt);
        assert_eq!(model.told, model.taken, "each packet says how it stands");
        assert_ne!(header.op, VIRTIO_VSOCK_OP_RST, "nobody has broken a rule");
        if header.op == VIRTIO_VSOCK_OP_SHUTDOWN {
            assert_eq!(model.packed, model.written, "the end comes last");
        }
        true
    }

    /// Both sides take all that there is: then all has arrived, and nobody waits for anybody.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            for at in 0..3 {
                let model = &self.models[at];
                is_quiet &= model.sent == model.taken && model.arrived == model.handed_on;
                self.run(&Op::HostTakes(at, u32::MAX));
                if self.models[at].said < self.models[at].arrived {
                    self.run(&Op::GuestTakes(at, u32::MAX, true));
                }
            }
            while self.deliver() {
                is_quiet = false;
            }
            if is_quiet {
                break;
            }
        }
        for model in &self.models {
            assert_eq!(model.taken, model.sent);
            assert_eq!(model.handed_on, model.written);
            // And the guest knows that at least half of the room is free.
            assert!(model.sent - model.told <= u64::from(WINDOW / 2));
        }
    }
}

proptest! {
    #[test]
    fn what_one_side_sends_the_other_gets_within_what_each_has_room_for(
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.settle();
    }

    /// Nothing panics, nothing grows, and each connection ends at most once, whatever a guest sends.
    #[test]
    fn any_packets_leave_the_machine_in_order(
        packets in prop::collection::vec((0..4_u32, 0..2_u32, 0..9_u16, 0..70_000_u32, 0..4_u32, 0..3_u32), 0..300),
    ) {
        let (mut machine, now) = (Machine::new(CID), Instant::now());
        let mut live = HashSet::new();
        for (guest, host, op, len, flags, forwarded) in packets {
            let packet = VsockPacketHeader {
                len,
                flags,
                buf_alloc: len,
                fwd_cnt: forwarded.saturating_sub(1),
                ..header(guest, host, op)
            };
            match machine.receive(&packet, 60_000, now) {
                Verdict::Nothing => {}
                Verdict::Connect(id, port) => {
                    prop_assert_eq!(port, host);
                    prop_assert!(live.insert(id));
                    if guest == 3 {
                        live.remove(&id);
                        machine.reset(id);
                    } else {
                        machine.accept(id);
                    }
                }
                Verdict::Established(_) => prop_assert!(false, "nobody has asked"),
                Verdict::Data(id) => {
                    prop_assert!(live.contains(&id));
                    prop_assert!(machine.held(id) <= WINDOW);
                    if flags == 0 {
                        let held = machine.held(id);
                        machine.forward(id, held, now);
                    }
                }
                Verdict::Ended(id) => {
                    if machine.is_over(id) {
                        machine.reset(id);
                        live.remove(&id);
                    }
                }
                Verdict::Close(id) => {
                    live.remove(&id);
                }
            }
            if flags == 3 {
                drain(&mut machine);
            }
        }
        drain(&mut machine);
        prop_assert!(!machine.has_next());
        for id in live {
            prop_assert_eq!(machine.by_number(id.to_number()), Some(id));
        }
    }
}
