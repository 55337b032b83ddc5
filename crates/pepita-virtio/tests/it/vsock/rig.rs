//! A guest with a socket device, whose packets the test writes, and programs of the host.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use pepita_virtio::{
    Device, Element, RingFeatures, VIRTIO_F_RING_RESET, VIRTIO_VSOCK_OP_REQUEST,
    VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_TYPE_STREAM, VSOCK_CID_HOST,
    VirtioVsock, VsockPacketHeader,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tempfile::TempDir;

use crate::guest::{DATA, Guest, TRANSPORTS, Transport};
use crate::transport::rings;

pub(crate) const CID: u64 = 3;
const HEADER: u64 = VsockPacketHeader::BYTES as u64;

pub(crate) const RX: u16 = 0;
pub(crate) const TX: u16 = 1;
pub(crate) const EVENT: u16 = 2;

/// Where packets for the guest are.
const RX_DATA: u64 = DATA;
const RX_BYTES: u32 = 0x1000;
const RX_BUFFERS: u64 = 64;
/// Where packets of the guest are.
pub(crate) const TX_DATA: u64 = DATA + 0x10_0000;

/// What a guest says of its room, when a test does not say.
pub(crate) const ROOM: u32 = 1 << 18;

pub(crate) type Packet = (VsockPacketHeader, Vec<u8>);

pub(crate) struct Rig {
    pub(crate) guest: Guest,
    dir: TempDir,
    /// A duplicate of the device's.
    descriptor: OwnedFd,
    /// Addresses of buffers that the device has.
    buffers: HashMap<u16, u64>,
    free: Vec<u64>,
}

pub(crate) fn on_each(story: impl Fn(Rig)) {
    for transport in TRANSPORTS {
        for packed in [false, true] {
            story(Rig::new(transport, packed));
        }
    }
}

impl Rig {
    /// A guest with room for packets.
    pub(crate) fn new(transport: Transport, packed: bool) -> Self {
        let mut rig = Self::with(transport, packed, |vsock| vsock);
        rig.refill();
        rig
    }

    /// One without.
    pub(crate) fn with(
        transport: Transport,
        packed: bool,
        change: impl Fn(VirtioVsock) -> VirtioVsock,
    ) -> Self {
        let dir = tempfile::tempdir().expect("there is room for files");
        let vsock = VirtioVsock::new(CID);
        assert!(!vsock.is_ready());
        let vsock = vsock.listen(dir.path().join("v")).expect("it is new");
        let device: Box<dyn Device> = Box::new(change(vsock));
        let guest = Guest::ready(
            transport,
            device,
            rings(packed) | 0b111 | VIRTIO_F_RING_RESET,
        );
        let descriptor = guest.bus.host().descriptor().expect("there is one");
        let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("a kernel of 5.6");
        let descriptor = pidfd_getfd(own, descriptor, PidfdGetfdFlags::empty());
        let descriptor = descriptor.expect("it is open");
        let free = (0..RX_BUFFERS).map(|at| RX_DATA + at * u64::from(RX_BYTES));
        Self {
            guest,
            dir,
            descriptor,
            buffers: HashMap::new(),
            free: free.collect(),
        }
    }

    /// Where programs of the host come.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("v")
    }

    /// A program of the host that waits for the guest at a port.
    pub(crate) fn listen(&self, port: u32) -> UnixListener {
        let path = self.dir.path().join(format!("v_{port}"));
        UnixListener::bind(path).expect("the port is free")
    }

    /// Gives the device all buffers that it has not.
    pub(crate) fn refill(&mut self) {
        self.give(usize::MAX);
    }

    /// The driver resets the device, and is ready again.
    pub(crate) fn restart(&mut self) {
        self.guest.init(rings(false) | 0b111);
        let all = self.buffers.drain().map(|(_, addr)| addr);
        self.free.extend(all);
        self.refill();
    }

    /// The driver sets the queue for packets up again, which it has reset.
    pub(crate) fn restart_rx(&mut self) {
        let old = &self.guest.queues[usize::from(RX)];
        let (size, features) = (old.size(), RingFeatures::from_bits(rings(false)));
        let queue = self.guest.new_queue(RX, size, features);
        self.guest.queues[usize::from(RX)] = queue;
        let all = self.buffers.drain().map(|(_, addr)| addr);
        self.free.extend(all);
        self.refill();
    }

    /// Gives the device so many buffers at most.
    pub(crate) fn give(&mut self, count: usize) {
        for _ in 0..count.min(self.free.len()) {
            let addr = self.free.pop().expect("as many as there are");
            let id = self.guest.add(RX, &[], &[Element::new(addr, RX_BYTES)]);
            self.buffers.insert(id, addr);
        }
    }

    /// Packets for the guest, whose buffers stay free.
    pub(crate) fn take(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(used) = self.guest.take(RX) {
            let addr = self.buffers.remove(&used.id).expect("the device had it");
            self.free.push(addr);
            let header = VsockPacketHeader::from_bytes(self.guest.read(addr));
            assert_eq!(used.written, HEADER + u64::from(header.len));
            let mut payload = vec![0; header.len as usize];
            let read = self.guest.ram.read(addr + HEADER, &mut payload);
            read.expect("there is memory");
            assert_eq!((header.src_cid, header.dst_cid), (VSOCK_CID_HOST, CID));
            packets.push((header, payload));
        }
        packets
    }

    /// What the guest gets, and has buffers for, until nothing more comes.
    pub(crate) fn packets(&mut self) -> Vec<Packet> {
        let mut all = Vec::new();
        loop {
            self.poll();
            let some = self.take();
            self.refill();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    /// The one packet that the guest gets.
    #[track_caller]
    pub(crate) fn packet(&mut self) -> Packet {
        let packets = self.packets();
        let [packet] = <[Packet; 1]>::try_from(packets).expect("one packet");
        packet
    }

    /// Lets the device do what its descriptor tells of.
    pub(crate) fn poll(&self) {
        for _ in 0..10_000 {
            if !self.is_readable() {
                return;
            }
            self.guest.bus.host().poll();
        }
        panic!("the device spins");
    }

    /// Whether the device's descriptor is readable.
    pub(crate) fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).expect("it is a descriptor") > 0
    }

    /// Puts a packet into the guest's queue; the device may take it later.
    pub(crate) fn put(&mut self, header: &VsockPacketHeader, payload: &[u8]) {
        let ram = self.guest.ram;
        ram.write(TX_DATA, &header.to_bytes()).expect("memory");
        ram.write(TX_DATA + 64, payload).expect("memory");
        let head = Element::new(TX_DATA, VsockPacketHeader::BYTES.try_into().expect("44"));
        let len = u32::try_from(payload.len()).expect("short");
        let body = Element::new(TX_DATA + 64, len);
        let both = [head, body];
        let elements = if payload.is_empty() {
            &both[..1]
        } else {
            &both
        };
        self.guest.add(TX, elements, &[]);
    }

    /// The same, and the device takes it.
    #[track_caller]
    pub(crate) fn send(&mut self, header: &VsockPacketHeader, payload: &[u8]) {
        self.put(header, payload);
        let used = self.guest.take(TX).expect("it was taken");
        assert_eq!(used.written, 0);
    }

    /// The guest connects to a program that listens, and the program lets it in.
    #[track_caller]
    pub(crate) fn connect(&mut self, listener: &UnixListener, ends: Ends) -> UnixStream {
        self.send(&ends.header(VIRTIO_VSOCK_OP_REQUEST), &[]);
        let (header, _) = self.packet();
        assert_eq!(
            (header.op, header.dst_port),
            (VIRTIO_VSOCK_OP_RESPONSE, ends.guest)
        );
        assert_eq!((header.src_port, header.fwd_cnt), (ends.host, 0));
        let (stream, _) = listener.accept().expect("the guest has come");
        stream.set_nonblocking(true).expect("it is a socket");
        stream
    }
}

/// The two ports of a connection, and what the guest says in every packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) guest: u32,
    pub(crate) host: u32,
    pub(crate) room: u32,
    pub(crate) forwarded: u32,
}

impl Ends {
    pub(crate) fn new(guest: u32, host: u32) -> Self {
        Self {
            guest,
            host,
            room: ROOM,
            forwarded: 0,
        }
    }

    pub(crate) fn header(&self, op: u16) -> VsockPacketHeader {
        VsockPacketHeader {
            src_cid: CID,
            dst_cid: VSOCK_CID_HOST,
            src_port: self.guest,
            dst_port: self.host,
            packet_type: VIRTIO_VSOCK_TYPE_STREAM,
            op,
            buf_alloc: self.room,
            fwd_cnt: self.forwarded,
            ..VsockPacketHeader::default()
        }
    }

    pub(crate) fn data(&self, len: usize) -> VsockPacketHeader {
        VsockPacketHeader {
            len: u32::try_from(len).expect("short"),
            ..self.header(VIRTIO_VSOCK_OP_RW)
        }
    }

    pub(crate) fn shutdown(&self, flags: u32) -> VsockPacketHeader {
        VsockPacketHeader {
            flags,
            ..self.header(pepita_virtio::VIRTIO_VSOCK_OP_SHUTDOWN)
        }
    }
}
