//! A socket device whose guest and whose programs are the fuzzer.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use pepita_virtio::{
    Area, DriverQueue, Element, GuestRam, Mmio, RingFeatures, STATUS_NEEDS_RESET, Slot,
    VIRTIO_VSOCK_OP_RW, VirtioVsock, VsockPacketHeader,
};

const CID: u64 = 3;
const SIZE: u16 = 16;
/// Where packets for the guest are, and what it sends.
const RX: u64 = 0x1_0000;
const RX_BYTES: u32 = 0x1000;
const TX: u64 = 0x4_0000;
const BYTES: usize = 0x6_0000;
const HEADER: u32 = VsockPacketHeader::BYTES as u32;
/// The most that a guest says it has room for.
const ROOM_MAX: u32 = 255 << 8;

thread_local! {
    /// A port where a program listens, beside the socket of the devices.
    static LISTENER: RefCell<Option<UnixListener>> = const { RefCell::new(None) };
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("pepita-fuzz-vsock-{}", std::process::id()))
}

fn accept() -> Option<UnixStream> {
    LISTENER.with_borrow_mut(|listener| {
        let listener = listener.get_or_insert_with(|| {
            let mut path = path().into_os_string();
            path.push("_1");
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(path).expect("it is new");
            listener.set_nonblocking(true).expect("it is a socket");
            listener
        });
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).expect("it is a socket");
        Some(stream)
    })
}

struct World<'a> {
    mmio: Mmio,
    ram: &'a GuestRam,
    rx: DriverQueue<'a>,
    tx: DriverQueue<'a>,
    /// Buffers that the device has, and free places.
    given: HashMap<u16, u64>,
    free: Vec<u64>,
    streams: Vec<UnixStream>,
    /// A buffer was too short for a packet: the device may give up.
    is_wrong: bool,
}

impl<'a> World<'a> {
    fn new(ram: &'a GuestRam, slots: &'a mut [[Slot; SIZE as usize]; 2], packed: bool) -> Self {
        let _ = std::fs::remove_file(path());
        let vsock = VirtioVsock::new(CID).listen(path()).expect("it is new");
        let mmio = Mmio::new(Box::new(vsock), ram.clone(), |_signal| {});
        let set = |offset: u64, word: u32| mmio.write(offset, &word.to_le_bytes());
        let rings = RingFeatures {
            packed,
            event_index: true,
            ..RingFeatures::default()
        };
        set(0x070, 1);
        set(0x070, 3);
        for (word, bits) in [(0, rings.to_bits() | 5), (1, rings.to_bits() >> 32 | 1)] {
            set(0x024, word);
            set(
                0x020,
                u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits"),
            );
        }
        set(0x070, 11);
        let queue = |index: u32, slots: &'a mut [Slot]| {
            let bytes = DriverQueue::bytes(SIZE, rings);
            let ring = ram.shared(u64::from(index) * 0x4000, bytes);
            let queue = DriverQueue::new(ring.expect("inside"), slots, rings);
            set(0x030, index);
            set(0x038, SIZE.into());
            for (area, offset) in Area::ALL.into_iter().zip([0x080, 0x090, 0x0a0]) {
                let address = queue.registers().address(area).to_le_bytes();
                mmio.write(offset, &address[..4]);
                mmio.write(offset + 4, &address[4..]);
            }
            set(0x044, 1);
            queue
        };
        let [for_rx, for_tx] = slots;
        let (rx, tx) = (queue(0, for_rx), queue(1, for_tx));
        set(0x070, 15);
        while accept().is_some() {}
        let free = (0..u64::from(SIZE)).map(|at| RX + at * u64::from(RX_BYTES));
        Self {
            mmio,
            ram,
            rx,
            tx,
            given: HashMap::new(),
            free: free.collect(),
            streams: Vec::new(),
            is_wrong: false,
        }
    }

    fn status(&self) -> u32 {
        let mut word = [0; 4];
        self.mmio.read(0x070, &mut word);
        u32::from_le_bytes(word)
    }

    fn kick(&self, queue: u32) {
        self.mmio.write(0x050, &queue.to_le_bytes());
    }

    fn packet(&mut self, [op, ports, len, flags, room, forwarded, other]: [u8; 7]) {
        while self.tx.take_used().expect("the device is right").is_some() {}
        let len = u32::from(len) << 8;
        let header = VsockPacketHeader {
            src_cid: if other & 0xe0 == 0xe0 { 4 } else { CID },
            dst_cid: 2,
            src_port: u32::from(ports & 1),
            dst_port: match ports >> 1 & 3 {
                3 => (1 << 30) + u32::from(ports >> 4),
                port => port.into(),
            },
            len: len + u32::from(other & 1),
            packet_type: if other & 0x1e == 0x1e { 2 } else { 1 },
            op: (op % 10).into(),
            flags: flags.into(),
            buf_alloc: u32::from(room) << 8,
            fwd_cnt: u32::from(forwarded) << (other >> 5 & 7),
        };
        self.ram.write(TX, &header.to_bytes()).expect("inside");
        let elements = [Element::new(TX, HEADER), Element::new(TX + 64, len)];
        if self.tx.add(&elements, &[]).is_ok() && self.tx.needs_kick() {
            self.kick(1);
        }
    }

    fn give(&mut self, len: u32) {
        let Some(addr) = self.free.pop() else { return };
        let len = len.min(RX_BYTES);
        let id = self.rx.add(&[], &[Element::new(addr, len)]);
        self.given.insert(id.expect("there is room"), addr);
        self.is_wrong |= len <= HEADER;
        if self.rx.needs_kick() {
            self.kick(0);
        }
    }

    fn take(&mut self) {
        while let Some(used) = self.rx.take_used().expect("the device is right") {
            let addr = self.given.remove(&used.id).expect("the device had it");
            self.free.push(addr);
            let mut bytes = [0; VsockPacketHeader::BYTES];
            self.ram.read(addr, &mut bytes).expect("inside");
            let header = VsockPacketHeader::from_bytes(bytes);
            assert_eq!((header.src_cid, header.dst_cid), (2, CID));
            assert_eq!(used.written, u64::from(HEADER + header.len));
            assert!((1..=7).contains(&header.op) && header.flags <= 3);
            assert!(header.len == 0 || header.op == VIRTIO_VSOCK_OP_RW);
            assert!(header.len <= ROOM_MAX);
        }
    }

    /// A program of the host does something.
    fn program(&mut self, [what, which, len, ..]: [u8; 7]) {
        let which = usize::from(which) % self.streams.len().max(1);
        let Some(stream) = self.streams.get_mut(which) else {
            return;
        };
        match what % 6 {
            0 => drop(stream.write(&vec![7; usize::from(len) << 6])),
            1 => drop(stream.read(&mut vec![0; usize::from(len) << 8])),
            2 => drop(stream.shutdown(std::net::Shutdown::Write)),
            3 => drop(stream.shutdown(std::net::Shutdown::Read)),
            4 => drop(stream.write(&[b'C', len])),
            _ => drop(self.streams.swap_remove(which)),
        }
    }

    fn come(&mut self, [port, ..]: [u8; 7]) {
        if let Ok(mut stream) = UnixStream::connect(path()) {
            stream.set_nonblocking(true).expect("it is a socket");
            let _ = write!(stream, "CONNECT {}\n", port & 3);
            self.streams.push(stream);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else {
        return;
    };
    thread_local! {
        static RAM: &'static GuestRam = Box::leak(Box::new(GuestRam::zeroed(BYTES)));
    }
    let mut slots = [[Slot::default(); SIZE as usize]; 2];
    let mut world = World::new(RAM.with(|ram| *ram), &mut slots, flags & 1 != 0);
    for [kind, rest @ ..] in data.as_chunks::<8>().0.iter().take(200) {
        match kind % 8 {
            0..=2 => world.packet(*rest),
            3 => world.give(u32::from(rest[0]) << 4),
            4 => (0..8).for_each(|_| world.give(RX_BYTES)),
            5 => world.come(*rest),
            _ => world.program(*rest),
        }
        // Twice is enough for what one step has brought, if nothing spins.
        world.mmio.poll();
        world.mmio.poll();
        world.streams.extend(accept());
        world.take();
        let needs_reset = world.status() & u32::from(STATUS_NEEDS_RESET) != 0;
        assert!(!needs_reset || world.is_wrong, "it gave up for nothing");
        if needs_reset {
            break;
        }
    }
});
