#![expect(unsafe_code, reason = "a wrong device writes where it should not")]
//! Memory as a device: it ends each request in `submit`. With a fault it breaks one rule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, Geometry, Lane, Request, RequestFlags, RequestOp, SECTOR_SIZE,
};
use pepita_sys::error::{Errno, KernelError, Result};

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RamFault {
    ImpossibleGeometry,
    RestlessGeometry,
    ReadsDiffer,
    ReadFails,
    Forgets,
    Drops,
    WritesBehindSegments,
    WritesIntoSources,
    LosesWrites,
    FirstSegmentOnly,
    LosesLastSector,
    MixesUpLongOffsets,
    RefusesOverlap,
    EmptyFails,
    EmptyWrites,
    WrapsAround,
    PanicsBehindEnd,
    InvalidBehindEnd,
    CutsAtEnd,
    UnknownIsIoError,
    UnknownSucceeds,
    FlushFails,
    FuaFails,
    ZeroesNothing,
    ZeroesTooMuch,
    NounmapFails,
    DiscardsTooMuch,
    NoShallowLane,
}

impl RamFault {
    pub(crate) const COUNT: usize = Self::NoShallowLane as usize + 1;
}

/// Each fault, the rule that catches it, and a part of what is said.
pub(crate) const CAUGHT: [(RamFault, &str, &str); 28] = {
    use RamFault::*;
    const STABLE: &str = "what is read twice is the same";
    const WRITTEN: &str = "what was written is read, in any shape";
    const EMPTY: &str = "a request of no sectors does nothing";
    const END: &str = "behind the end there is EIO";
    const UNKNOWN: &str = "what is not known is EOPNOTSUPP";
    const FLUSH: &str = "a flush succeeds, also in the middle of writes";
    const ZEROES: &str = "zeroes are read where they were written";
    [
        (ImpossibleGeometry, "the geometry can be, and stays", "512"),
        (RestlessGeometry, "the geometry can be, and stays", "then"),
        (ReadsDiffer, STABLE, "byte 0"),
        (ReadFails, STABLE, "EIO"),
        (Forgets, STABLE, "not ended within"),
        (Drops, STABLE, "EIO"),
        (WritesBehindSegments, STABLE, "leave alone"),
        (WritesIntoSources, WRITTEN, "leave alone"),
        (LosesWrites, WRITTEN, "it should be"),
        (FirstSegmentOnly, STABLE, "it should be"),
        (LosesLastSector, WRITTEN, "it should be"),
        (MixesUpLongOffsets, WRITTEN, "it should be"),
        (RefusesOverlap, "segments may overlap", "EINVAL"),
        (EmptyFails, EMPTY, "EINVAL"),
        (EmptyWrites, EMPTY, "it should be"),
        (WrapsAround, END, "Ok"),
        (PanicsBehindEnd, END, "it panicked"),
        (InvalidBehindEnd, END, "EINVAL"),
        (CutsAtEnd, END, "Ok"),
        (UnknownIsIoError, UNKNOWN, "EIO"),
        (UnknownSucceeds, UNKNOWN, "Ok"),
        (FlushFails, FLUSH, "Flush"),
        (FuaFails, FLUSH, "Write"),
        (ZeroesNothing, ZEROES, "it should be 0x00"),
        (ZeroesTooMuch, ZEROES, "reads as 0x00"),
        (NounmapFails, ZEROES, "NOUNMAP"),
        (
            DiscardsTooMuch,
            "a discard leaves its neighbours alone",
            "reads as 0x00",
        ),
        (
            NoShallowLane,
            "lanes of little depth do the same",
            "no lane of depth 1",
        ),
    ]
};

#[derive(Debug)]
pub(crate) struct Ram {
    memory: Mutex<Vec<u8>>,
    geometry: Geometry,
    fault: Option<RamFault>,
    calls: AtomicU64,
}

impl Ram {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let bytes = usize::try_from(geometry.capacity_sectors * SECTOR_SIZE).expect("small");
        // As after earlier use: nothing that a fault could hide behind.
        let memory: Vec<u8> = (0..bytes)
            .map(|at| (at / 7 + at / 512).to_le_bytes()[0] | 1)
            .collect();
        Self {
            memory: Mutex::new(memory),
            geometry,
            fault: None,
            calls: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_fault(geometry: Geometry, fault: RamFault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::new(geometry)
        }
    }

    fn has(&self, fault: RamFault) -> bool {
        self.fault == Some(fault)
    }

    /// Writes `data` at `sector`.
    pub(crate) fn put(&self, sector: u64, data: &[u8]) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory[bytes(sector)..][..data.len()].copy_from_slice(data);
    }

    /// What `request` asks for.
    pub(crate) fn serve(&self, request: &Request) -> std::result::Result<(), Errno> {
        let known = matches!(
            request.op(),
            RequestOp::Read
                | RequestOp::Write
                | RequestOp::Flush
                | RequestOp::Discard
                | RequestOp::WriteZeroes
        );
        if !known {
            return Err(Errno::EOPNOTSUPP);
        }
        if request.op() == RequestOp::Flush {
            return Ok(());
        }
        let (sector, nr_sectors) = (request.sector(), u64::from(request.nr_sectors()));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sector
            .checked_add(nr_sectors)
            .filter(|end| *end <= self.geometry.capacity_sectors)
            .map(|end| bytes(sector)..bytes(end))
            .ok_or(Errno::EIO)?;
        let place = &mut memory[place];
        match request.op() {
            RequestOp::Read => request.sink().write(place)?,
            RequestOp::Write => request.source().read(place)?,
            _ => place.fill(0),
        }
        Ok(())
    }
}

fn bytes(sectors: u64) -> usize {
    usize::try_from(sectors * SECTOR_SIZE).expect("inside of the device")
}

impl BlockDevice for Ram {
    type Lane<'d> = &'d Self;

    fn geometry(&self) -> Geometry {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some(RamFault::ImpossibleGeometry) => Geometry {
                physical_block_size: 0,
                ..self.geometry
            },
            Some(RamFault::RestlessGeometry) => Geometry {
                max_sectors: 512 + u32::from(calls % 2 == 1),
                ..self.geometry
            },
            _ => self.geometry,
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("ram")
    }

    fn open_lane(&self, depth: u16) -> Result<&Self> {
        if depth == 1 && self.has(RamFault::NoShallowLane) {
            return Err(KernelError::from_errno("open_lane", Errno::EINVAL));
        }
        Ok(self)
    }
}

impl Lane for &Ram {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        match self.fault {
            Some(RamFault::Forgets) => {
                std::mem::forget(request);
                return Ok(());
            }
            Some(RamFault::Drops) => return Ok(()),
            _ => {}
        }
        let done = match self.fault {
            Some(fault) => self.serve_wrongly(fault, &request),
            None => self.serve(&request),
        };
        request.complete(done);
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

impl Ram {
    fn serve_wrongly(&self, fault: RamFault, request: &Request) -> std::result::Result<(), Errno> {
        let op = request.op();
        if fault == RamFault::LosesWrites && op == RequestOp::Write {
            return Ok(());
        }
        let right = self.serve(request);
        let behind = right == Err(Errno::EIO);
        let unknown = right == Err(Errno::EOPNOTSUPP);
        let empty = request.nr_sectors() == 0 && op != RequestOp::Flush;
        match fault {
            RamFault::EmptyFails if empty => Err(Errno::EINVAL),
            RamFault::WrapsAround | RamFault::CutsAtEnd if behind => Ok(()),
            RamFault::PanicsBehindEnd if behind => panic!("out of range"),
            RamFault::InvalidBehindEnd if behind => Err(Errno::EINVAL),
            RamFault::UnknownIsIoError if unknown => Err(Errno::EIO),
            RamFault::UnknownSucceeds if unknown => Ok(()),
            RamFault::FlushFails if op == RequestOp::Flush => Err(Errno::EINVAL),
            RamFault::FuaFails if request.flags().contains(RequestFlags::FUA) => Err(Errno::EINVAL),
            RamFault::NounmapFails if request.flags().contains(RequestFlags::NOUNMAP) => {
                Err(Errno::EINVAL)
            }
            RamFault::ReadFails if op == RequestOp::Read => Err(Errno::EIO),
            RamFault::RefusesOverlap if overlaps(request) => Err(Errno::EINVAL),
            _ if right.is_ok() => {
                self.spoil(fault, request);
                Ok(())
            }
            _ => right,
        }
    }

    /// Does too much, too little or something else with a request that was done right.
    fn spoil(&self, fault: RamFault, request: &Request) {
        let (op, start) = (request.op(), bytes(request.sector()));
        let end = start + bytes(u64::from(request.nr_sectors()));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (reads, writes) = (op == RequestOp::Read, op == RequestOp::Write);
        match fault {
            RamFault::ReadsDiffer if reads && start == 0 && end > 0 => memory[0] ^= 1,
            RamFault::LosesLastSector if writes && end - start > 512 => {
                memory[end - 512..end].fill(7);
            }
            RamFault::MixesUpLongOffsets if writes && start >= 1 << 16 && end > start => {
                memory.copy_within(start..start + 512, start & 0xffff);
            }
            RamFault::FirstSegmentOnly if reads => {
                let first = request
                    .segments()
                    .first()
                    .map_or(0, |segment| segment.len());
                let mut sink = request.sink();
                let _ = sink.split_to(first);
                let _ = sink.write_zeroes(sink.len());
            }
            RamFault::EmptyWrites if writes && start == end && start < memory.len() => {
                memory[start] = memory[start].wrapping_add(1);
            }
            RamFault::ZeroesNothing if op == RequestOp::WriteZeroes => memory[start..end].fill(1),
            RamFault::ZeroesTooMuch if op == RequestOp::WriteZeroes && end > start => {
                let end = end.next_multiple_of(4096);
                memory[start..end].fill(0);
            }
            RamFault::DiscardsTooMuch if op == RequestOp::Discard && end > start => {
                memory[start / 4096 * 4096..end].fill(0);
            }
            RamFault::WritesBehindSegments if reads => scribble(request, 1),
            RamFault::WritesIntoSources if writes => scribble(request, 0),
            _ => {}
        }
    }
}

/// Whether two segments of `request` begin at one place.
fn overlaps(request: &Request) -> bool {
    let bases = || {
        request
            .segments()
            .iter()
            .filter(|segment| !segment.is_empty())
    };
    bases().enumerate().any(|(index, one)| {
        bases()
            .skip(index + 1)
            .any(|other| other.base() == one.base())
    })
}

/// Writes one byte at the end of the first segment, or `behind` it.
fn scribble(request: &Request, behind: usize) {
    let Some(segment) = request
        .segments()
        .iter()
        .find(|segment| !segment.is_empty())
    else {
        return;
    };
    let at = segment.base().wrapping_add(segment.len() - 1 + behind);
    // SAFETY: the suite's memory goes on behind each segment.
    let byte = unsafe { at.read() };
    // SAFETY: as above.
    unsafe { at.write(!byte) };
}
