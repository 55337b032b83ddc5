//! What every block device must do, through a driver, a transport, rings and the disk.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use pepita_io::{Engine, FileOptions, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp, WriteCache};
use pepita_sys::error::{Errno, Result};
use pepita_virtio::VirtioBlock;

use super::{
    DISCARD, F_ALL, FLUSH, IN, IOERR, OK, OUT, UNSAID, UNSUPP, WRITE_ZEROES, element, header, range,
};
use crate::guest::{Bell, DATA, Guest, TRANSPORTS, Transport};
use crate::transport::rings;

/// Requests that a driver has in flight, each with a place of its own.
const DEPTH: u64 = 32;
const PLACE: u64 = 0x1_0000;
const MAX_SECTORS: u32 = 64;
/// Of a file that is served by threads.
const THREADS: NonZero<usize> = NonZero::new(2).unwrap();

/// A device behind a guest's driver.
struct Through<D> {
    device: Arc<D>,
    transport: Transport,
    packed: bool,
}

impl<D: BlockDevice + 'static> BlockDevice for Through<D> {
    type Lane<'d> = Driver;

    fn geometry(&self) -> Geometry {
        let geometry = self.device.geometry();
        Geometry {
            max_sectors: MAX_SECTORS,
            // A driver has no way to ask for it.
            write_cache: match geometry.write_cache {
                WriteCache::WriteThrough => WriteCache::WriteThrough,
                _ => WriteCache::WriteBack,
            },
            ..geometry
        }
    }

    fn id(&self) -> DeviceId {
        self.device.id()
    }

    fn open_lane(&self, _depth: u16) -> Result<Driver> {
        let disk = VirtioBlock::new(Arc::clone(&self.device))?;
        let features = F_ALL | rings(self.packed);
        let guest = Guest::ready(self.transport, Box::new(disk), features);
        Ok(Driver {
            bell: guest.signals.bell(),
            guest,
            free: (0..DEPTH).collect(),
            out: BTreeMap::new(),
        })
    }
}

/// A driver as a lane: data goes through the guest's memory.
struct Driver {
    guest: Guest,
    bell: Bell,
    free: Vec<u64>,
    /// By the number of the buffer: the place, and the request.
    out: BTreeMap<u16, (u64, Request)>,
}

/// Parts of a place.
const fn place(number: u64) -> [u64; 3] {
    let base = DATA + number * PLACE;
    [base, base + 0x20, base + 0x1000]
}

impl Lane for Driver {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let Some(number) = self.free.pop() else {
            return Err(request);
        };
        let [head, status, data] = place(number);
        let (sector, nr_sectors) = (request.sector(), request.nr_sectors());
        let (kind, flags) = match request.op() {
            RequestOp::Read => (IN, 0),
            RequestOp::Write => (OUT, 0),
            RequestOp::Flush => (FLUSH, 0),
            RequestOp::Discard => (DISCARD, 0),
            RequestOp::WriteZeroes => {
                let keeps = pepita_sys::blk_mq::RequestFlags::NOUNMAP;
                (WRITE_ZEROES, u32::from(!request.flags().contains(keeps)))
            }
            _ => (u32::MAX, 0),
        };
        let mut output = vec![0; request.source().len()];
        request.source().read(&mut output).expect("all of it");
        if matches!(kind, DISCARD | WRITE_ZEROES) {
            output = range(sector, nr_sectors, flags);
        }
        let input = request.sink().len();
        self.guest.write(head, &header(kind, sector));
        self.guest.write(status, &[UNSAID]);
        self.guest.write(data, &output);
        let readable = [element(head, 16), element(data, output.len())];
        let writable = [element(data, input), element(status, 1)];
        let readable = &readable[..1 + usize::from(!output.is_empty())];
        let writable = &writable[usize::from(input == 0)..];
        let added = self.guest.queues[0].add(readable, writable);
        self.out
            .insert(added.expect("there is room"), (number, request));
        Ok(())
    }

    fn commit(&mut self) {
        if self.guest.queues[0].needs_kick() {
            self.guest.bus.notify(0);
        }
    }

    fn poll(&mut self) {
        self.bell.quiet();
        self.guest.bus.interrupts();
        loop {
            while let Some(used) = self.guest.take(0) {
                self.end(used.id, used.written);
            }
            if !self.guest.queues[0].enable_notifications() {
                break;
            }
        }
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.bell.as_raw_fd())
    }
}

impl Driver {
    fn end(&mut self, id: u16, written: u64) {
        let (number, request) = self.out.remove(&id).expect("it was asked for");
        self.free.push(number);
        let [_, status, data] = place(number);
        let result = match self.guest.read(status) {
            [OK] => Ok(()),
            [UNSUPP] => Err(Errno::EOPNOTSUPP),
            [IOERR] => Err(Errno::EIO),
            [other] => panic!("status {other}"),
        };
        let mut input = vec![0; request.sink().len()];
        if result.is_ok() {
            assert_eq!(written, input.len() as u64 + 1);
        }
        self.guest
            .ram
            .read(data, &mut input)
            .expect("there is memory");
        if result.is_ok() {
            request.sink().write(&input).expect("all of it");
        }
        request.complete(result);
    }
}

fn check<D: BlockDevice + 'static>(device: &Arc<D>, transport: Transport, packed: bool) {
    let device = Arc::clone(device);
    let through = Through {
        device,
        transport,
        packed,
    };
    let report = Conformance::new().run(&through);
    let report = report.unwrap_or_else(|violation| panic!("{transport:?}: {violation}"));
    assert!(report.checked.len() > 5, "{report:?}");
}

#[test]
fn a_disk_of_memory_conforms_through_its_driver() {
    let device = Arc::new(RamDevice::new(1 << 14));
    for transport in TRANSPORTS {
        for packed in [false, true] {
            check(&device, transport, packed);
        }
    }
}

#[test]
fn a_disk_of_memory_with_large_blocks_conforms_through_its_driver() {
    let geometry = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        ..RamDevice::new(1 << 14).geometry()
    };
    let device = RamDevice::with_geometry(geometry).expect("it can be");
    check(&Arc::new(device), Transport::Mmio, true);
}

#[test]
fn a_disk_of_a_file_conforms_through_its_driver() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(8 << 20).expect("it grows");
    let cases = [
        (Engine::Threads(THREADS), Transport::Mmio, true),
        (Engine::Uring, Transport::Pci, false),
    ];
    for (engine, transport, packed) in cases {
        let options = FileOptions::new().engine(engine);
        match options.open(file.path()) {
            Ok(device) => check(&Arc::new(device), transport, packed),
            Err(error) => println!(
                "SKIPPED: a_disk_of_a_file_conforms_through_its_driver: {engine:?}: {error}"
            ),
        }
    }
}
