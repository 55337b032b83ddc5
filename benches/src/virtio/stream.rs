#![expect(unsafe_code, reason = "waits for the descriptor of a device")]
//! [`Stream`]: a guest that writes to a socket, and a program of the host that reads. And the socket without a guest.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use pepita_virtio::{
    Area, DriverQueue, Element, GuestRam, Mmio, RingFeatures, Slot, VIRTIO_VSOCK_OP_CREDIT_REQUEST,
    VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE,
    VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_TYPE_STREAM, VirtioVsock, VsockPacketHeader,
};
use tempfile::TempDir;

use super::queues;
use crate::case::Contender;

const CID: u64 = 3;
/// Bytes of a write, which is a packet.
pub(super) const WRITE: u32 = 64 << 10;
/// What the program reads at most.
const READ: usize = 256 << 10;

/// Where packets for the guest are, which are short, and those of the guest.
const RX: u64 = 0x10_0000;
const RX_BYTES: u32 = 256;
const RX_BUFFERS: u64 = 32;
const TX: u64 = 0x11_0000;
const PAYLOAD: u64 = 0x12_0000;

const FEATURES: RingFeatures = RingFeatures {
    indirect: false,
    event_index: true,
    packed: false,
    in_order: false,
};

/// A program that reads so many bytes, and gives how many there were.
fn reader(mut stream: UnixStream, bytes: u64) -> JoinHandle<std::io::Result<u64>> {
    std::thread::spawn(move || {
        let mut room = vec![0; READ];
        let mut left = bytes;
        while left > 0 {
            let len = stream.read(&mut room)?;
            if len == 0 {
                break;
            }
            std::hint::black_box(&mut room);
            left -= len as u64;
        }
        Ok(bytes - left)
    })
}

fn read_by(reader: JoinHandle<std::io::Result<u64>>) -> Result<u64> {
    let read = reader.join().map_err(|_| anyhow!("the reader panicked"))?;
    Ok(read?)
}

fn rate(bytes: u64, start: Instant) -> f64 {
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The guest, its device, and the program at the other end.
pub(super) struct Stream {
    mmio: Mmio,
    ram: GuestRam,
    rx: DriverQueue<'static>,
    tx: DriverQueue<'static>,
    program: UnixStream,
    /// Bytes that were sent, and those that the device has said it handed on, modulo 2³².
    sent: u32,
    forwarded: u32,
    writes: usize,
    _dir: TempDir,
}

impl Stream {
    pub(super) fn new(writes: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("v");
        let listener = UnixListener::bind(dir.path().join("v_1"))?;
        let (_, ram) = queues::memory()?;
        let vsock = VirtioVsock::new(CID).listen(&path)?;
        let mmio = Mmio::new(Box::new(vsock), ram.clone(), |_signal| {});
        let set = |offset: u64, word: u32| mmio.write(offset, &word.to_le_bytes());
        set(0x070, 1);
        set(0x070, 3);
        for (word, bits) in [(0, FEATURES.to_bits() | 5), (1, 1)] {
            set(0x024, word);
            set(0x020, u32::try_from(bits)?);
        }
        set(0x070, 11);
        let mut queues = Vec::new();
        for index in 0..2 {
            let kept: &'static GuestRam = Box::leak(Box::new(ram.clone()));
            let slots = vec![Slot::default(); 256].leak();
            let bytes = DriverQueue::bytes(256, FEATURES);
            let ring = kept.shared(u64::from(index) * 0x1_0000, bytes)?;
            let queue = DriverQueue::new(ring, slots, FEATURES);
            set(0x030, index);
            set(0x038, 256);
            for (area, offset) in Area::ALL.into_iter().zip([0x080, 0x090, 0x0a0]) {
                let address = queue.registers().address(area).to_le_bytes();
                mmio.write(offset, &address[..4]);
                mmio.write(offset + 4, &address[4..]);
            }
            set(0x044, 1);
            queues.push(queue);
        }
        set(0x070, 15);
        let [rx, tx] = <[_; 2]>::try_from(queues).map_err(|_| anyhow!("two queues"))?;
        ram.write(PAYLOAD, &vec![1; WRITE as usize])?;
        let mut guest = Self {
            mmio,
            ram,
            rx,
            tx,
            // Until the guest has connected.
            program: UnixStream::pair()?.0,
            sent: 0,
            forwarded: 0,
            writes,
            _dir: dir,
        };
        for at in 0..RX_BUFFERS {
            let addr = RX + at * u64::from(RX_BYTES);
            let id = guest.rx.add(&[], &[Element::new(addr, RX_BYTES)])?;
            ensure!(u64::from(id) == at, "ids are those of descriptors");
        }
        guest.send(VIRTIO_VSOCK_OP_REQUEST, 0)?;
        ensure!(
            guest.receive()? == Some(VIRTIO_VSOCK_OP_RESPONSE),
            "the device answers"
        );
        (guest.program, _) = listener.accept()?;
        Ok(guest)
    }

    /// Sends a packet of `len` bytes of payload.
    fn send(&mut self, op: u16, len: u32) -> Result<()> {
        let header = VsockPacketHeader {
            src_cid: CID,
            dst_cid: 2,
            src_port: 1024,
            dst_port: 1,
            len,
            packet_type: VIRTIO_VSOCK_TYPE_STREAM,
            op,
            buf_alloc: 1 << 16,
            ..VsockPacketHeader::default()
        };
        self.ram.write(TX, &header.to_bytes())?;
        let elements = [
            Element::new(TX, u32::try_from(VsockPacketHeader::BYTES)?),
            Element::new(PAYLOAD, len),
        ];
        self.tx
            .add(&elements[..if len == 0 { 1 } else { 2 }], &[])?;
        if self.tx.needs_kick() {
            self.mmio.write(0x050, &1_u32.to_le_bytes());
        }
        ensure!(
            self.tx.take_used()?.is_some(),
            "the packet is taken at once"
        );
        Ok(())
    }

    /// Takes a packet for the guest, and gives its operation; the buffer goes back.
    fn receive(&mut self) -> Result<Option<u16>> {
        let Some(used) = self.rx.take_used()? else {
            return Ok(None);
        };
        let addr = RX + u64::from(used.id) * u64::from(RX_BYTES);
        let mut bytes = [0; VsockPacketHeader::BYTES];
        self.ram.read(addr, &mut bytes)?;
        let header = VsockPacketHeader::from_bytes(bytes);
        self.forwarded = header.fwd_cnt;
        let id = self.rx.add(&[], &[Element::new(addr, RX_BYTES)])?;
        ensure!(id == used.id, "one buffer, one descriptor");
        if self.rx.needs_kick() {
            self.mmio.write(0x050, &0_u32.to_le_bytes());
        }
        Ok(Some(header.op))
    }

    /// Bytes that the guest may send.
    fn room(&self) -> u32 {
        WRITE - self.sent.wrapping_sub(self.forwarded)
    }

    fn write_all(&mut self) -> Result<u64> {
        for _ in 0..self.writes {
            let mut left = WRITE;
            while left > 0 {
                while let Some(op) = self.receive()? {
                    ensure!(op == VIRTIO_VSOCK_OP_CREDIT_UPDATE, "op {op}");
                }
                let len = left.min(self.room());
                if len == 0 {
                    self.wait()?;
                    continue;
                }
                self.send(VIRTIO_VSOCK_OP_RW, len)?;
                self.sent = self.sent.wrapping_add(len);
                left -= len;
            }
        }
        Ok(self.writes as u64 * u64::from(WRITE))
    }

    /// Until the device has something to do, as a host's event loop does.
    fn wait(&self) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let fd = self.mmio.descriptor().context("there is one")?;
        // SAFETY: the device has it open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
        self.mmio.poll();
        Ok(())
    }

    fn run(&mut self) -> Result<(f64, u64)> {
        let bytes = self.writes as u64 * u64::from(WRITE);
        let reader = reader(self.program.try_clone()?, bytes);
        let start = Instant::now();
        self.write_all()?;
        // What the device holds back goes out when the program has made room.
        loop {
            self.send(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0)?;
            while self.receive()?.is_some() {}
            if self.forwarded == self.sent {
                break;
            }
            self.wait()?;
        }
        let read = read_by(reader)?;
        Ok((rate(bytes, start), read))
    }
}

impl Contender for Stream {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} bytes", self.run()?.1))
    }

    fn round(&mut self) -> Result<f64> {
        Ok(self.run()?.0)
    }
}

/// The same writes into a Unix socket.
pub(super) struct Plain {
    writer: UnixStream,
    program: UnixStream,
    writes: usize,
}

impl Plain {
    pub(super) fn new(writes: usize) -> Result<Self> {
        let (writer, program) = UnixStream::pair()?;
        Ok(Self {
            writer,
            program,
            writes,
        })
    }

    fn run(&mut self) -> Result<(f64, u64)> {
        let bytes = self.writes as u64 * u64::from(WRITE);
        let reader = reader(self.program.try_clone()?, bytes);
        let start = Instant::now();
        let write = vec![1; WRITE as usize];
        for _ in 0..self.writes {
            self.writer.write_all(&write)?;
        }
        let read = read_by(reader)?;
        Ok((rate(bytes, start), read))
    }
}

impl Contender for Plain {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} bytes", self.run()?.1))
    }

    fn round(&mut self) -> Result<f64> {
        Ok(self.run()?.0)
    }
}
