//! The disk, as a driver sees it. virtio 1.3, 5.2

mod cache;
mod conformance;
mod held;
mod life;
mod limits;
mod malformed;
mod model;
mod requests;

use std::sync::Arc;

use pepita_io::RamDevice;
use pepita_sys::blk_mq::BlockDevice;
use pepita_virtio::{Element, VIRTIO_F_RING_RESET, VirtioBlock};

use crate::guest::{DATA, Guest, TRANSPORTS, Transport};
use crate::transport::rings;

/// Kinds of requests. virtio 1.3, 5.2.6
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Statuses.
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
/// What no device says.
const UNSAID: u8 = 0xee;

/// Features. virtio 1.3, 5.2.3
const F_RO: u64 = 1 << 5;
const F_FLUSH: u64 = 1 << 9;
const F_CONFIG_WCE: u64 = 1 << 11;
/// All of a disk's own.
const F_ALL: u64 = 0xff_ffff;

const SECTORS: u64 = 4096;

/// Where parts of a request are.
const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const OUTPUT: u64 = DATA + 0x1_0000;
const INPUT: u64 = DATA + 0x10_0000;

struct Disk {
    guest: Guest,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u8,
    written: u64,
    data: Vec<u8>,
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// A range to discard, or to make zero.
fn range(sector: u64, nr_sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(nr_sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

fn element(addr: u64, len: usize) -> Element {
    Element::new(addr, u32::try_from(len).expect("small"))
}

impl Disk {
    fn new<D: BlockDevice + 'static>(transport: Transport, device: &Arc<D>, features: u64) -> Self {
        let disk = VirtioBlock::new(Arc::clone(device)).expect("the device is a disk");
        Self {
            guest: Guest::ready(transport, Box::new(disk), features),
        }
    }

    /// A request as Linux makes it: header, data, status, each with a descriptor.
    fn ask(&mut self, kind: u32, sector: u64, output: &[u8], input: usize) -> Answer {
        self.guest.write(HEADER, &header(kind, sector));
        self.guest.write(OUTPUT, output);
        let readable = [element(HEADER, 16), element(OUTPUT, output.len())];
        let writable = [element(INPUT, input), element(STATUS, 1)];
        let readable = &readable[..1 + usize::from(!output.is_empty())];
        let writable = &writable[usize::from(input == 0)..];
        self.ask_with(readable, writable, INPUT, input)
    }

    /// Any request, whose status is at [`STATUS`].
    fn ask_with(
        &mut self,
        readable: &[Element],
        writable: &[Element],
        input: u64,
        len: usize,
    ) -> Answer {
        self.guest.write(STATUS, &[UNSAID]);
        let id = self.guest.add(0, readable, writable);
        let used = self.guest.wait(0);
        assert_eq!(used.id, id);
        let mut data = vec![0; len];
        self.guest
            .ram
            .read(input, &mut data)
            .expect("there is memory");
        let [status] = self.guest.read(STATUS);
        Answer {
            status,
            written: used.written,
            data,
        }
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.ask(OUT, sector, data, 0).status
    }

    fn read(&mut self, sector: u64, len: usize) -> Vec<u8> {
        let answer = self.ask(IN, sector, &[], len);
        assert_eq!((answer.status, answer.written), (OK, len as u64 + 1));
        answer.data
    }
}

/// Bytes that tell their place.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let bytes =
        (0..len).map(|at| at.wrapping_mul(31).to_le_bytes()[0] ^ (at >> 9).to_le_bytes()[0]);
    bytes.map(|byte| byte ^ seed).collect()
}

/// Lets a story be told of a disk of memory, on each transport and with each kind of ring.
fn on_each(story: impl Fn(Disk)) {
    for transport in TRANSPORTS {
        for packed in [false, true] {
            let device = Arc::new(RamDevice::new(SECTORS));
            let features = F_ALL | rings(packed) | VIRTIO_F_RING_RESET;
            story(Disk::new(transport, &device, features));
        }
    }
}
