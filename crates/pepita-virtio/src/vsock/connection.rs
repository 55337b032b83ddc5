//! [`Connection`]: one connection, as packets and the host's socket make it go. virtio 1.3, 5.10.6.5

use std::time::Instant;

use super::credit::{Allowance, WINDOW, Window};
use super::packet::{
    VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_REQUEST,
    VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_SHUTDOWN,
    VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND, VIRTIO_VSOCK_TYPE_STREAM,
    VsockPacketHeader,
};

/// Both directions, as flags of a shutdown.
pub(super) const BOTH: u32 = VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_F_SEND;

/// The two ports, which name a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) guest: u32,
    pub(super) host: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A program of the host has come, and has not said yet which port of the guest it wants.
    Greeting,
    /// The guest wants a connection, and the host has not answered.
    Asked,
    /// The host wants a connection. The guest is yet to be asked, or to answer.
    Offered { is_told: bool },
    /// There is a connection. The guest may still have to be told so.
    Open { is_told: bool },
    /// There is none any more, which the guest has to be told.
    Reset,
}

/// What goes to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// A packet without payload.
    Control(VsockPacketHeader),
    /// Payload, of so many bytes at most.
    Data(u32),
}

/// What a packet of the guest has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that concerns the host's socket.
    None,
    /// The guest has taken the host's offer.
    Established,
    /// The payload is to be handed on.
    Data,
    /// The guest has ended a direction.
    Ended,
    /// The guest has broken a rule: it will be told that the connection is no more.
    Broken,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// None in a greeting.
    pub(super) ports: Option<Ports>,
    state: State,
    window: Window,
    allowance: Allowance,
    /// The directions that the guest has ended: flags of its shutdowns.
    guest_ended: u32,
    /// The directions that the host has ended, and those of them that the guest knows of.
    host_ended: u32,
    host_ended_told: u32,
    /// The host's socket may have something to read.
    is_readable: bool,
    /// The guest was asked how much room there is, and has not answered.
    is_room_asked: bool,
    /// The guest asks how much room there is.
    is_update_wanted: bool,
    pub(super) deadline: Option<Instant>,
}

impl Connection {
    fn new(ports: Option<Ports>, state: State) -> Self {
        Self {
            ports,
            state,
            window: Window::default(),
            allowance: Allowance::default(),
            guest_ended: 0,
            host_ended: 0,
            host_ended_told: 0,
            is_readable: false,
            is_room_asked: false,
            is_update_wanted: false,
            deadline: None,
        }
    }

    /// Somebody has come to the host's socket.
    pub(super) fn greeting() -> Self {
        Self::new(None, State::Greeting)
    }

    /// The guest has asked for it.
    pub(super) fn asked(ports: Ports, request: &VsockPacketHeader) -> Self {
        let mut connection = Self::new(Some(ports), State::Asked);
        // A new connection has no count to lie about: whatever the guest says, nothing is on its way.
        let _ = connection.allowance.hear(request.buf_alloc, 0);
        connection
    }

    /// Who has come wants the guest's port.
    pub(super) fn offer(&mut self, ports: Ports) {
        self.ports = Some(ports);
        self.state = State::Offered { is_told: false };
    }

    /// The host takes what the guest has asked for.
    pub(super) fn accept(&mut self) {
        self.state = State::Open { is_told: false };
    }

    /// The guest is to be told that there is no connection.
    pub(super) fn reset(&mut self) {
        self.state = State::Reset;
    }

    pub(super) fn is_greeting(&self) -> bool {
        self.state == State::Greeting
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// A packet has come that is not a reset, with `behind` bytes behind its header.
    pub(super) fn receive(&mut self, header: &VsockPacketHeader, behind: u64) -> Effect {
        match (self.state, header.op) {
            (State::Reset, _) => return Effect::None,
            (State::Offered { is_told: true }, VIRTIO_VSOCK_OP_RESPONSE) => {}
            (State::Open { .. }, op) if op != VIRTIO_VSOCK_OP_RESPONSE => {}
            _ => return Effect::Broken,
        }
        if self
            .allowance
            .hear(header.buf_alloc, header.fwd_cnt)
            .is_err()
        {
            return Effect::Broken;
        }
        self.is_room_asked &= self.allowance.free() == 0;
        match header.op {
            VIRTIO_VSOCK_OP_RESPONSE => {
                self.state = State::Open { is_told: true };
                Effect::Established
            }
            VIRTIO_VSOCK_OP_SHUTDOWN => {
                // They are permanent, and other flags say nothing.
                self.guest_ended |= header.flags & BOTH;
                Effect::Ended
            }
            VIRTIO_VSOCK_OP_RW => self.receive_data(header.len, behind),
            VIRTIO_VSOCK_OP_CREDIT_UPDATE => Effect::None,
            VIRTIO_VSOCK_OP_CREDIT_REQUEST => {
                self.is_update_wanted = true;
                Effect::None
            }
            _ => Effect::Broken,
        }
    }

    fn receive_data(&mut self, len: u32, behind: u64) -> Effect {
        let is_over = self.guest_ended & VIRTIO_VSOCK_SHUTDOWN_F_SEND != 0;
        if is_over || u64::from(len) > behind || self.window.receive(len).is_err() {
            return Effect::Broken;
        }
        if len == 0 { Effect::None } else { Effect::Data }
    }

    /// Bytes that the guest has sent, and that were not handed on.
    pub(super) const fn held(&self) -> u32 {
        self.window.held()
    }

    /// `len` of them were handed on.
    pub(super) fn forward(&mut self, len: u32) {
        self.window.forward(len);
    }

    /// The directions that the guest has ended.
    pub(super) const fn guest_ended(&self) -> u32 {
        self.guest_ended
    }

    /// The host has ended directions: flags of a shutdown.
    pub(super) const fn end(&mut self, directions: u32) {
        self.host_ended |= directions & BOTH;
    }

    pub(super) const fn host_ended(&self) -> u32 {
        self.host_ended
    }

    /// Whether the host's socket may have something to read.
    pub(super) const fn set_readable(&mut self, is_readable: bool) {
        self.is_readable = is_readable;
    }

    /// Whether nothing is left to be done but to tell the guest so: it has ended both directions, and has got rid of all
    /// its bytes.
    pub(super) fn is_over(&self) -> bool {
        self.is_open() && self.guest_ended == BOTH && self.held() == 0
    }

    /// Whether one side has ended both directions, and is owed an end within a time.
    pub(super) fn is_ending(&self) -> bool {
        self.guest_ended == BOTH || self.host_ended == BOTH
    }

    /// What the guest is to get next. A packet without payload counts as sent; payload does when
    /// [`data`](Self::data) is called.
    pub(super) fn next(&mut self, guest_cid: u64) -> Option<Turn> {
        let op = match self.state {
            State::Greeting | State::Asked | State::Offered { is_told: true } => return None,
            State::Reset => VIRTIO_VSOCK_OP_RST,
            State::Offered { is_told: false } => {
                self.state = State::Offered { is_told: true };
                VIRTIO_VSOCK_OP_REQUEST
            }
            State::Open { is_told: false } => {
                self.state = State::Open { is_told: true };
                VIRTIO_VSOCK_OP_RESPONSE
            }
            State::Open { is_told: true } => {
                let free = self.allowance.free();
                let has_data = self.may_have_data();
                if has_data && free > 0 {
                    return Some(Turn::Data(free));
                }
                if self.host_ended != self.host_ended_told {
                    self.host_ended_told = self.host_ended;
                    VIRTIO_VSOCK_OP_SHUTDOWN
                } else if has_data && !self.is_room_asked {
                    self.is_room_asked = true;
                    VIRTIO_VSOCK_OP_CREDIT_REQUEST
                } else if self.is_update_wanted || self.window.is_update_due() {
                    VIRTIO_VSOCK_OP_CREDIT_UPDATE
                } else {
                    return None;
                }
            }
        };
        let mut header = self.header(guest_cid, op, 0);
        if op == VIRTIO_VSOCK_OP_SHUTDOWN {
            header.flags = self.host_ended;
        }
        Some(Turn::Control(header))
    }

    fn may_have_data(&self) -> bool {
        self.is_readable
            && self.guest_ended & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE == 0
            && self.host_ended & VIRTIO_VSOCK_SHUTDOWN_F_SEND == 0
    }

    /// The header of a packet with `len` bytes of payload, which is sent with it.
    pub(super) fn data(&mut self, guest_cid: u64, len: u32) -> VsockPacketHeader {
        self.allowance.send(len);
        self.header(guest_cid, VIRTIO_VSOCK_OP_RW, len)
    }

    fn header(&mut self, guest_cid: u64, op: u16, len: u32) -> VsockPacketHeader {
        let ports = self.ports.unwrap_or(Ports { guest: 0, host: 0 });
        self.is_update_wanted = false;
        VsockPacketHeader {
            src_cid: super::VSOCK_CID_HOST,
            dst_cid: guest_cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len,
            packet_type: VIRTIO_VSOCK_TYPE_STREAM,
            op,
            flags: 0,
            buf_alloc: WINDOW,
            fwd_cnt: self.window.tell(),
        }
    }
}
