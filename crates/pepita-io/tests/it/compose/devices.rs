//! Devices that do what devices may, to be put below others.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pepita_io::RamDevice;
use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp};
use pepita_sys::error::Result;

/// What requests a device got: operation, first sector, count of sectors, count of segments.
pub(super) type Got = (RequestOp, u64, u32, usize);

/// A RAM device that notes its requests.
pub(super) struct Noting {
    pub(super) ram: RamDevice,
    pub(super) got: Mutex<Vec<Got>>,
}

impl Noting {
    pub(super) fn new(sectors: u64) -> Self {
        Self {
            ram: RamDevice::new(sectors),
            got: Mutex::default(),
        }
    }

    /// What it got since the last time.
    pub(super) fn take(&self) -> Vec<Got> {
        std::mem::take(&mut self.got.lock().expect("whole"))
    }
}

impl BlockDevice for Noting {
    type Lane<'d> = NotingLane<'d>;

    fn geometry(&self) -> Geometry {
        self.ram.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("noting")
    }

    fn open_lane(&self, depth: u16) -> Result<NotingLane<'_>> {
        Ok(NotingLane {
            got: &self.got,
            lane: self.ram.open_lane(depth)?,
        })
    }
}

pub(super) struct NotingLane<'d> {
    got: &'d Mutex<Vec<Got>>,
    lane: pepita_io::RamLane<'d>,
}

impl Lane for NotingLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        self.got.lock().expect("whole").push((
            request.op(),
            request.sector(),
            request.nr_sectors(),
            request.segments().len(),
        ));
        self.lane.submit(request)
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

/// A RAM device whose lanes take one request at a time, and begin it at `commit`.
pub(super) struct Narrow(pub(super) RamDevice);

impl BlockDevice for Narrow {
    type Lane<'d> = NarrowLane<'d>;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("narrow")
    }

    fn open_lane(&self, depth: u16) -> Result<NarrowLane<'_>> {
        Ok(NarrowLane {
            kept: VecDeque::new(),
            lane: self.0.open_lane(depth)?,
        })
    }
}

pub(super) struct NarrowLane<'d> {
    kept: VecDeque<Request>,
    lane: pepita_io::RamLane<'d>,
}

impl Lane for NarrowLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if !self.kept.is_empty() {
            return Err(request);
        }
        self.kept.push_back(request);
        Ok(())
    }

    fn commit(&mut self) {
        for request in self.kept.drain(..) {
            self.lane.submit(request).expect("it is never full");
        }
    }

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

/// A RAM device whose lanes take two requests at a time, which end on a thread of the lane's; so there is never
/// something to poll.
pub(super) struct Elsewhere(pub(super) Arc<RamDevice>);

impl BlockDevice for Elsewhere {
    type Lane<'d> = ElsewhereLane;

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("elsewhere")
    }

    fn open_lane(&self, depth: u16) -> Result<ElsewhereLane> {
        let (send, receive) = mpsc::channel::<Request>();
        let device = Arc::clone(&self.0);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&in_flight);
        let thread = std::thread::spawn(move || {
            let mut lane = device.open_lane(depth).expect("it needs nothing");
            for request in receive {
                std::thread::yield_now();
                // There is room before somebody hears of the end.
                count.fetch_sub(1, Ordering::SeqCst);
                lane.submit(request).expect("it is never full");
            }
        });
        let silent = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
        Ok(ElsewhereLane {
            send: Some(send),
            in_flight,
            thread: Some(thread),
            silent: silent.expect("a descriptor"),
        })
    }
}

pub(super) struct ElsewhereLane {
    send: Option<Sender<Request>>,
    in_flight: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    silent: OwnedFd,
}

impl Lane for ElsewhereLane {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.in_flight.load(Ordering::SeqCst) >= 2 {
            return Err(request);
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        if let Some(send) = &self.send {
            send.send(request).expect("the thread is there");
        }
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        Some(self.silent.as_raw_fd())
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
