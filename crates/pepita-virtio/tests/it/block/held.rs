//! [`Held`]: a device whose requests end when the story says so.

use std::os::fd::AsRawFd;
use std::sync::{Condvar, Mutex, MutexGuard};

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestFlags, RequestOp};
use pepita_sys::error::{Errno, KernelError, Result};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) geometry: Geometry,
    /// Requests that a lane takes.
    pub(super) room: usize,
    /// A lane that is dropped leaves its requests behind, as one whose kernel has hung.
    pub(super) hangs: bool,
    /// It opens no lane.
    pub(super) is_broken: bool,
    /// Readable never: requests end elsewhere.
    descriptor: std::io::PipeReader,
    _writer: std::io::PipeWriter,
    requests: Mutex<Vec<Request>>,
    bell: Condvar,
}

impl Held {
    pub(super) fn new(geometry: Geometry) -> Self {
        let (descriptor, writer) = std::io::pipe().expect("a pipe");
        Self {
            geometry,
            room: 64,
            hangs: false,
            is_broken: false,
            descriptor,
            _writer: writer,
            requests: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().expect("no panic")
    }

    pub(super) fn count(&self) -> usize {
        self.requests().len()
    }

    /// Waits for the next request, and takes it.
    pub(super) fn next(&self) -> Request {
        let mut requests = self.requests();
        while requests.is_empty() {
            requests = self.bell.wait(requests).expect("no panic");
        }
        requests.remove(0)
    }

    /// The same, ends it, and tells what it was.
    pub(super) fn end(&self, result: std::result::Result<(), Errno>) -> (RequestOp, RequestFlags) {
        let request = self.next();
        let was = (request.op(), request.flags());
        request.complete(result);
        was
    }
}

impl BlockDevice for Held {
    type Lane<'d> = HeldLane<'d>;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("held")
    }

    fn open_lane(&self, _depth: u16) -> Result<HeldLane<'_>> {
        if self.is_broken {
            return Err(KernelError::from_errno("opening a lane", Errno::ENOMEM));
        }
        Ok(HeldLane(self))
    }
}

pub(super) struct HeldLane<'d>(&'d Held);

impl Lane for HeldLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let mut requests = self.0.requests();
        if requests.len() >= self.0.room {
            return Err(request);
        }
        requests.push(request);
        self.0.bell.notify_all();
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        Some(self.0.descriptor.as_raw_fd())
    }
}

impl Drop for HeldLane<'_> {
    fn drop(&mut self) {
        if !self.0.hangs {
            self.0.requests().clear();
        }
    }
}
