//! [`Machine`]: all connections of a guest. Packets go in, packets come out; sockets, queues and clocks are elsewhere.
//!
//! What a guest can make it hold is bounded: connections by [`CONNECTIONS_MAX`](super::table::CONNECTIONS_MAX), each of
//! which waits at most once to be served, and answers to packets of no connection by [`REPLIES_MAX`]. When there is no
//! room for another answer, packets stay in the guest's queue.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::VSOCK_CID_HOST;
use super::connection::{BOTH, Connection, Effect, Ports, Turn};
use super::credit::WINDOW;
use super::packet::{
    VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_TYPE_STREAM, VsockPacketHeader,
};
use super::table::{Id, Table};

/// The most answers that wait for the guest to have room.
const REPLIES_MAX: usize = 256;

/// How long a program of the host may take to say what it wants, and the guest to answer it. As Linux' `connect`.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How long a connection that one side has ended may go without a byte being handed on. As Linux' `close`.
pub(super) const CLOSE_TIME: Duration = Duration::from_secs(8);

/// The first port that the host's side gives to programs that connect to the guest: above what programs choose.
const FIRST_PORT: u32 = 1 << 30;

/// What the host's side has to do about a packet of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// Connect to the port, and [`accept`](Machine::accept) or [`reset`](Machine::reset).
    Connect(Id, u32),
    /// Tell who has connected.
    Established(Id),
    /// Hand on the payload, and [`forward`](Machine::forward).
    Data(Id),
    /// See what the guest [has ended](Machine::guest_ended).
    Ended(Id),
    /// Close the socket.
    Close(Id),
}

/// What goes to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// A packet without payload.
    Control(VsockPacketHeader),
    /// What a socket has to read, so many bytes at most: [`data`](Machine::data) gives the header.
    Data(Id, u32),
}

#[derive(Debug)]
pub(super) struct Machine {
    guest_cid: u64,
    table: Table,
    replies: VecDeque<VsockPacketHeader>,
    deadlines: BTreeSet<(Instant, Id)>,
    next_port: u32,
}

impl Machine {
    pub(super) fn new(guest_cid: u64) -> Self {
        Self {
            guest_cid,
            table: Table::default(),
            replies: VecDeque::new(),
            deadlines: BTreeSet::new(),
            next_port: FIRST_PORT,
        }
    }

    /// Whether a packet can be received, whatever it is: there is room for an answer.
    pub(super) fn can_receive(&self) -> bool {
        self.replies.len() < REPLIES_MAX
    }

    /// A packet of the guest, with `behind` bytes behind its header.
    ///
    /// # Panics
    /// When it [cannot](Self::can_receive) be received.
    pub(super) fn receive(
        &mut self,
        header: &VsockPacketHeader,
        behind: u64,
        now: Instant,
    ) -> Verdict {
        assert!(self.can_receive(), "there is room for an answer");
        // Nobody else's packets go through here.
        if header.src_cid != self.guest_cid || header.dst_cid != VSOCK_CID_HOST {
            return Verdict::Nothing;
        }
        let ports = Ports {
            guest: header.src_port,
            host: header.dst_port,
        };
        let found = match header.packet_type {
            VIRTIO_VSOCK_TYPE_STREAM => self.table.find(ports),
            _ => None,
        };
        match (found, header.op) {
            (Some(id), VIRTIO_VSOCK_OP_RST) => {
                self.remove(id);
                Verdict::Close(id)
            }
            (Some(id), _) => self.receive_for(id, header, behind, now),
            (None, VIRTIO_VSOCK_OP_RST) => Verdict::Nothing,
            (None, VIRTIO_VSOCK_OP_REQUEST) if header.packet_type == VIRTIO_VSOCK_TYPE_STREAM => {
                match self.table.insert(Connection::asked(ports, header)) {
                    Some(id) => Verdict::Connect(id, ports.host),
                    None => self.refuse(header),
                }
            }
            (None, _) => self.refuse(header),
        }
    }

    fn receive_for(
        &mut self,
        id: Id,
        header: &VsockPacketHeader,
        behind: u64,
        now: Instant,
    ) -> Verdict {
        let Some(connection) = self.table.get(id) else {
            return Verdict::Nothing;
        };
        let effect = connection.receive(header, behind);
        self.table.enqueue(id);
        match effect {
            Effect::None => Verdict::Nothing,
            Effect::Established => {
                self.set_deadline(id, None);
                Verdict::Established(id)
            }
            Effect::Data => Verdict::Data(id),
            Effect::Ended => {
                self.mind_end(id, now);
                Verdict::Ended(id)
            }
            Effect::Broken => {
                self.reset(id);
                Verdict::Close(id)
            }
        }
    }

    /// Answers a packet of no connection.
    fn refuse(&mut self, header: &VsockPacketHeader) -> Verdict {
        self.replies.push_back(VsockPacketHeader {
            src_cid: VSOCK_CID_HOST,
            dst_cid: self.guest_cid,
            src_port: header.dst_port,
            dst_port: header.src_port,
            packet_type: header.packet_type,
            op: VIRTIO_VSOCK_OP_RST,
            ..VsockPacketHeader::default()
        });
        Verdict::Nothing
    }

    /// The host takes the connection that the guest has asked for.
    pub(super) fn accept(&mut self, id: Id) {
        if let Some(connection) = self.table.get(id) {
            connection.accept();
            self.table.enqueue(id);
        }
    }

    /// There is no connection any more; the guest is told so, if it knows of it.
    pub(super) fn reset(&mut self, id: Id) {
        self.set_deadline(id, None);
        match self.table.get(id) {
            Some(connection) if connection.is_greeting() => self.remove(id),
            Some(connection) => {
                connection.reset();
                self.table.enqueue(id);
            }
            None => {}
        }
    }

    /// Somebody has come to the host's socket. None if there are too many.
    pub(super) fn greet(&mut self, now: Instant) -> Option<Id> {
        let id = self.table.insert(Connection::greeting())?;
        self.set_deadline(id, Some(now + CONNECT_TIME));
        Some(id)
    }

    /// Who has come wants a port of the guest, and gets a port of the host.
    pub(super) fn offer(&mut self, id: Id, guest: u32, now: Instant) -> Option<u32> {
        // As many tries as there may be ports in use, and one.
        for _ in 0..=self.table.len() {
            let host = self.next_port;
            self.next_port = self.next_port.wrapping_add(1).max(FIRST_PORT);
            let ports = Ports { guest, host };
            if let Some(connection) = self.table.name(id, ports) {
                connection.offer(ports);
                self.set_deadline(id, Some(now + CONNECT_TIME));
                self.table.enqueue(id);
                return Some(host);
            }
        }
        None
    }

    /// The host's port of a connection.
    pub(super) fn host_port(&mut self, id: Id) -> Option<u32> {
        Some(self.table.get(id)?.ports?.host)
    }

    /// Whether a program has yet to say what it wants.
    pub(super) fn is_greeting(&mut self, id: Id) -> bool {
        self.table.get(id).is_some_and(|one| one.is_greeting())
    }

    /// The directions that the guest has ended.
    pub(super) fn guest_ended(&mut self, id: Id) -> u32 {
        self.table.get(id).map_or(BOTH, |one| one.guest_ended())
    }

    /// The directions that the host has ended.
    pub(super) fn host_ended(&mut self, id: Id) -> u32 {
        self.table.get(id).map_or(BOTH, |one| one.host_ended())
    }

    /// Bytes that have come and were not handed on.
    pub(super) fn held(&mut self, id: Id) -> u32 {
        self.table.get(id).map_or(0, |one| one.held())
    }

    /// `len` bytes of the guest's were handed on, or thrown away since nobody wants them.
    pub(super) fn forward(&mut self, id: Id, len: u32, now: Instant) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.forward(len);
        self.table.enqueue(id);
        self.mind_end(id, now);
    }

    /// The host has ended directions: flags of a shutdown.
    pub(super) fn end(&mut self, id: Id, directions: u32, now: Instant) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        connection.end(directions);
        self.table.enqueue(id);
        self.mind_end(id, now);
    }

    /// Whether the connection is to be closed: the guest has ended it and got rid of its bytes.
    pub(super) fn is_over(&mut self, id: Id) -> bool {
        self.table.get(id).is_some_and(|one| one.is_over())
    }

    fn mind_end(&mut self, id: Id, now: Instant) {
        let is_ending = self.table.get(id).is_some_and(|one| one.is_ending());
        if is_ending {
            self.set_deadline(id, Some(now + CLOSE_TIME));
        }
    }

    /// Whether a socket may have something to read.
    pub(super) fn set_readable(&mut self, id: Id, is_readable: bool) {
        if let Some(connection) = self.table.get(id) {
            connection.set_readable(is_readable);
            if is_readable {
                self.table.enqueue(id);
            }
        }
    }

    /// The connection that has a number, if it is still there.
    pub(super) fn by_number(&self, number: u64) -> Option<Id> {
        self.table.by_number(number)
    }

    /// Whether there may be something for the guest.
    pub(super) fn has_next(&self) -> bool {
        !self.replies.is_empty() || self.table.has_queued()
    }

    /// What the guest is to get next, each connection in its turn.
    pub(super) fn next(&mut self) -> Option<Packet> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(Packet::Control(reply));
        }
        while let Some(id) = self.table.dequeue() {
            let connection = self.table.get(id);
            let Some(turn) = connection.and_then(|one| one.next(self.guest_cid)) else {
                continue;
            };
            match turn {
                Turn::Data(limit) => {
                    self.table.enqueue(id);
                    return Some(Packet::Data(id, limit.min(WINDOW)));
                }
                Turn::Control(header) => {
                    if header.op == VIRTIO_VSOCK_OP_RST {
                        self.remove(id);
                    } else {
                        self.table.enqueue(id);
                    }
                    return Some(Packet::Control(header));
                }
            }
        }
        None
    }

    /// The header of a packet with `len` bytes that were read from a socket: no more than
    /// [`Packet::Data`] allows.
    pub(super) fn data(&mut self, id: Id, len: u32) -> VsockPacketHeader {
        let guest_cid = self.guest_cid;
        let connection = self.table.get(id).expect("it was its turn");
        connection.data(guest_cid, len)
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next connection whose time is over: its socket is to be closed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Id> {
        let (deadline, id) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.remove(&(deadline, id));
        self.reset(id);
        Some(id)
    }

    fn set_deadline(&mut self, id: Id, deadline: Option<Instant>) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut connection.deadline, deadline) {
            self.deadlines.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    fn remove(&mut self, id: Id) {
        self.set_deadline(id, None);
        self.table.remove(id);
    }
}

#[cfg(test)]
mod tests;
