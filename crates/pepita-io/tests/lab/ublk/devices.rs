//! Devices that do what devices may, and what they should not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use pepita_io::{RamDevice, RamLane};
use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp};
use pepita_sys::error::{Errno, Result};

/// Sectors from here on are where a device misbehaves.
pub(super) const BAD_SECTOR: u64 = 1024;

/// The same in blocks of 4096 bytes.
pub(super) const BAD_BLOCK: u64 = BAD_SECTOR / 8;

/// A RAM device whose requests are served, and end, on a thread of their own.
pub(super) struct Elsewhere {
    device: Arc<RamDevice>,
}

impl Elsewhere {
    pub(super) fn new(device: RamDevice) -> Self {
        let device = Arc::new(device);
        Self { device }
    }
}

impl BlockDevice for Elsewhere {
    type Lane<'d> = ElsewhereLane;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("elsewhere")
    }

    fn open_lane(&self, depth: u16) -> Result<ElsewhereLane> {
        let (send, receive) = mpsc::channel::<Request>();
        let device = Arc::clone(&self.device);
        let thread = std::thread::spawn(move || {
            let mut lane = device.open_lane(depth).expect("it needs nothing");
            for request in receive {
                lane.submit(request).expect("it is never full");
            }
        });
        Ok(ElsewhereLane {
            send: Some(send),
            thread: Some(thread),
        })
    }
}

pub(super) struct ElsewhereLane {
    send: Option<Sender<Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Lane for ElsewhereLane {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if let Some(send) = &self.send {
            send.send(request).expect("the thread is there");
        }
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

impl Drop for ElsewhereLane {
    fn drop(&mut self) {
        self.send = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it serves requests, and no more");
        }
    }
}

/// A device whose lanes take one request at a time.
pub(super) struct Narrow<D>(pub(super) D);

impl<D: BlockDevice> BlockDevice for Narrow<D> {
    type Lane<'d>
        = D::Lane<'d>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn id(&self) -> DeviceId {
        self.0.id()
    }

    fn open_lane(&self, _depth: u16) -> Result<D::Lane<'_>> {
        self.0.open_lane(1)
    }
}

/// A device whose lanes panic at the bad sector.
pub(super) struct Trap<D>(pub(super) D);

impl<D: BlockDevice> BlockDevice for Trap<D> {
    type Lane<'d>
        = TrapLane<D::Lane<'d>>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn id(&self) -> DeviceId {
        self.0.id()
    }

    fn open_lane(&self, depth: u16) -> Result<TrapLane<D::Lane<'_>>> {
        self.0.open_lane(depth).map(TrapLane)
    }
}

pub(super) struct TrapLane<L>(L);

impl<L: Lane> Lane for TrapLane<L> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let is_flush = request.op() == RequestOp::Flush;
        assert!(is_flush || request.sector() != BAD_SECTOR, "a bad sector");
        self.0.submit(request)
    }

    fn commit(&mut self) {
        self.0.commit();
    }

    fn poll(&mut self) {
        self.0.poll();
    }

    fn descriptor(&self) -> Option<i32> {
        self.0.descriptor()
    }
}

/// A device whose lanes have a descriptor that is none.
pub(super) struct Unheard(pub(super) RamDevice);

impl BlockDevice for Unheard {
    type Lane<'d> = UnheardLane<'d>;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn id(&self) -> DeviceId {
        self.0.id()
    }

    fn open_lane(&self, depth: u16) -> Result<UnheardLane<'_>> {
        self.0.open_lane(depth).map(UnheardLane)
    }
}

pub(super) struct UnheardLane<'d>(RamLane<'d>);

impl Lane for UnheardLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        self.0.submit(request)
    }

    fn commit(&mut self) {
        self.0.commit();
    }

    fn poll(&mut self) {
        self.0.poll();
    }

    fn descriptor(&self) -> Option<i32> {
        Some(i32::MAX)
    }
}

/// What becomes of the requests for bad sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error.
    Error(Errno),
    /// The device panics.
    Panic,
    /// Nothing, until they are let go.
    Hang,
    /// They are dropped.
    Drop,
}

/// A RAM device with a fault, which can be healed.
#[derive(Clone)]
pub(super) struct Faulty {
    device: Arc<RamDevice>,
    pub(super) fault: Fault,
    pub(super) is_healed: Arc<AtomicBool>,
    /// The requests that hang.
    pub(super) hung: Arc<Mutex<Vec<Request>>>,
}

impl Faulty {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            device: Arc::new(RamDevice::new(2 * BAD_SECTOR)),
            fault,
            is_healed: Arc::default(),
            hung: Arc::default(),
        }
    }
}

impl BlockDevice for Faulty {
    type Lane<'d> = FaultyLane<'d>;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("faulty")
    }

    fn open_lane(&self, depth: u16) -> Result<FaultyLane<'_>> {
        Ok(FaultyLane {
            device: self,
            lane: self.device.open_lane(depth)?,
        })
    }
}

pub(super) struct FaultyLane<'d> {
    device: &'d Faulty,
    lane: RamLane<'d>,
}

impl Lane for FaultyLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let is_bad = (BAD_SECTOR..BAD_SECTOR + 8).contains(&request.sector());
        if !is_bad
            || request.op() == RequestOp::Flush
            || self.device.is_healed.load(Ordering::SeqCst)
        {
            return self.lane.submit(request);
        }
        match self.device.fault {
            Fault::Error(errno) => request.complete(Err(errno)),
            Fault::Panic => panic!("a bad sector"),
            Fault::Hang => self.device.hung.lock().expect("whole").push(request),
            Fault::Drop => drop(request),
        }
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

/// A device that opens one lane, and then does as it is told.
pub(super) struct Unready<D> {
    device: D,
    opened: AtomicBool,
    then: fn() -> Result<()>,
}

impl<D> Unready<D> {
    pub(super) fn new(device: D, then: fn() -> Result<()>) -> Self {
        Self {
            device,
            opened: AtomicBool::new(false),
            then,
        }
    }
}

impl<D: BlockDevice> BlockDevice for Unready<D> {
    type Lane<'d>
        = D::Lane<'d>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        self.device.id()
    }

    fn open_lane(&self, depth: u16) -> Result<D::Lane<'_>> {
        if self.opened.swap(true, Ordering::SeqCst) {
            (self.then)()?;
        }
        self.device.open_lane(depth)
    }
}
