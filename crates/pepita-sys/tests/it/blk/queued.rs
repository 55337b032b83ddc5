//! A device whose lane gathers requests, sends them with `commit`, and ends them with `poll`, last one
//! first. With a fault it breaks one rule.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp};
use pepita_sys::error::{Errno, Result};

use super::ram::Ram;

/// What is wrong with a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueuedFault {
    NeverReadable,
    AlwaysReadable,
    FullWhenIdle,
    GivesBackAnother,
    ForgetsOneOfMany,
    SpoilsReadsOfMany,
    RefusesFlushOfMany,
    DropForgets,
    DropSpoils,
    KeepsWritesToItself,
    BusyWhenIdle,
}

impl QueuedFault {
    pub(crate) const COUNT: usize = Self::BusyWhenIdle as usize + 1;
}

/// Each fault, the rule that catches it, and a part of what is said.
pub(crate) const CAUGHT: [(QueuedFault, &str, &str); 11] = {
    use QueuedFault::*;
    const STABLE: &str = "what is read twice is the same";
    const MANY: &str = "many in flight end once each";
    const DROPPED: &str = "a dropped lane has ended its requests";
    [
        (NeverReadable, STABLE, "its descriptor is not readable"),
        (AlwaysReadable, STABLE, "readable with nothing to do"),
        (FullWhenIdle, STABLE, "without a request in flight is full"),
        (GivesBackAnother, MANY, "gave back"),
        (ForgetsOneOfMany, MANY, "not ended within"),
        (SpoilsReadsOfMany, MANY, "reads as 0x00"),
        (
            RefusesFlushOfMany,
            "a flush succeeds, also in the middle of writes",
            "EBUSY",
        ),
        (DropForgets, DROPPED, "have not ended"),
        (DropSpoils, DROPPED, "neither old nor new"),
        (
            KeepsWritesToItself,
            "lanes of two threads see each other's writes",
            "it should be",
        ),
        (
            BusyWhenIdle,
            "an idle lane has nothing to do",
            "is readable",
        ),
    ]
};

/// More requests than this are many.
const MANY: usize = 20;

pub(crate) struct Queued {
    ram: Ram,
    fault: Option<QueuedFault>,
}

impl Queued {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            ram: Ram::new(geometry),
            fault: None,
        }
    }

    pub(crate) fn with_fault(geometry: Geometry, fault: QueuedFault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::new(geometry)
        }
    }
}

impl BlockDevice for Queued {
    type Lane<'d> = QueuedLane<'d>;

    fn geometry(&self) -> Geometry {
        self.ram.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("queued")
    }

    fn open_lane(&self, depth: u16) -> Result<QueuedLane<'_>> {
        let (readable, bell) = std::io::pipe().expect("a pipe");
        Ok(QueuedLane {
            device: self,
            depth: usize::from(depth),
            gathered: Vec::new(),
            sent: Vec::new(),
            own: HashMap::new(),
            readable,
            bell,
        })
    }
}

pub(crate) struct QueuedLane<'d> {
    device: &'d Queued,
    depth: usize,
    gathered: Vec<Request>,
    /// If there is one, `bell` has rung.
    sent: Vec<Request>,
    /// Sectors that a wrong lane keeps to itself until it is dropped.
    own: HashMap<u64, Vec<u8>>,
    readable: PipeReader,
    bell: PipeWriter,
}

impl QueuedLane<'_> {
    fn has(&self, fault: QueuedFault) -> bool {
        self.device.fault == Some(fault)
    }

    /// Ends `request`, one of `count`.
    fn end(&mut self, request: Request, count: usize) {
        let mut done = self.device.ram.serve(&request);
        let (op, many) = (request.op(), count > MANY);
        match self.device.fault {
            Some(QueuedFault::ForgetsOneOfMany) if many && op == RequestOp::Write => {
                mem::forget(request);
                return;
            }
            Some(QueuedFault::SpoilsReadsOfMany) if many => {
                let _ = request.sink().write_zeroes(64);
            }
            Some(QueuedFault::RefusesFlushOfMany) if count > 2 && op == RequestOp::Flush => {
                done = Err(Errno::EBUSY);
            }
            _ => {}
        }
        request.complete(done);
    }

    /// Ends `request` by what only this lane knows.
    fn end_alone(&mut self, request: Request) {
        let count = u64::from(request.nr_sectors());
        let end = request.sector().checked_add(count);
        let capacity = self.device.geometry().capacity_sectors;
        let Some(end) = end.filter(|end| *end <= capacity) else {
            return request.complete(Err(Errno::EIO));
        };
        let sectors = request.sector()..end;
        let (mut source, mut sink) = (request.source(), request.sink());
        if request.op() == RequestOp::Read {
            let done = self.device.ram.serve(&request);
            for own in sectors.map(|sector| self.own.get(&sector)) {
                let mut place = sink.split_to(512).expect("a read has room for its data");
                let own = own.map_or(Ok(()), |own| place.write(own));
                own.expect("a sector has room for one");
            }
            return request.complete(done);
        }
        for sector in sectors {
            let mut own = vec![0; 512];
            if request.op() == RequestOp::Write {
                source.read(&mut own).expect("a write has its data");
            }
            self.own.insert(sector, own);
        }
        request.complete(Ok(()));
    }
}

impl Lane for QueuedLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.has(QueuedFault::FullWhenIdle) {
            return Err(request);
        }
        if self.gathered.len() + self.sent.len() == self.depth {
            if self.has(QueuedFault::GivesBackAnother) {
                return Err(mem::replace(&mut self.gathered[0], request));
            }
            return Err(request);
        }
        self.gathered.push(request);
        Ok(())
    }

    fn commit(&mut self) {
        let rung = !self.sent.is_empty() || self.has(QueuedFault::NeverReadable);
        self.sent.append(&mut self.gathered);
        if !rung && !self.sent.is_empty() {
            self.bell.write_all(&[1]).expect("the pipe is empty");
        }
    }

    fn poll(&mut self) {
        match self.device.fault {
            Some(QueuedFault::AlwaysReadable) => return,
            Some(QueuedFault::BusyWhenIdle) if self.sent.is_empty() => {
                self.bell.write_all(&[1]).expect("the pipe has room");
            }
            _ => {}
        }
        let sent = mem::take(&mut self.sent);
        let count = sent.len();
        if count > 0 && !self.has(QueuedFault::NeverReadable) {
            let _ = self.readable.read(&mut [0]).expect("it has rung");
        }
        for request in sent.into_iter().rev() {
            let ranged = !matches!(request.op(), RequestOp::Flush | RequestOp::SecureErase);
            if self.has(QueuedFault::KeepsWritesToItself) && ranged && !request.op().is_zone_op() {
                self.end_alone(request);
            } else {
                self.end(request, count);
            }
        }
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.readable.as_raw_fd())
    }
}

impl Drop for QueuedLane<'_> {
    fn drop(&mut self) {
        for (sector, data) in &self.own {
            self.device.ram.put(*sector, data);
        }
        for request in self.gathered.drain(..).chain(self.sent.drain(..)) {
            match self.device.fault {
                Some(QueuedFault::DropForgets) => mem::forget(request),
                Some(QueuedFault::DropSpoils) if request.op() == RequestOp::Write => {
                    self.device.ram.put(request.sector(), &[0x55; 512]);
                }
                _ => request.complete(Err(Errno::ECANCELED)),
            }
        }
    }
}
