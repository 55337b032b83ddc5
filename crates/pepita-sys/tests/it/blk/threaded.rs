//! A device whose lanes have a thread each, which does the work and ends the requests.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request};
use pepita_sys::error::Result;

use super::ram::Ram;

pub(crate) struct Threaded {
    ram: Arc<Ram>,
}

impl Threaded {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            ram: Arc::new(Ram::new(geometry)),
        }
    }
}

impl BlockDevice for Threaded {
    type Lane<'d> = ThreadedLane;

    fn geometry(&self) -> Geometry {
        self.ram.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("threaded")
    }

    fn open_lane(&self, depth: u16) -> Result<ThreadedLane> {
        let (requests, work) = sync_channel::<Request>(usize::from(depth));
        let ram = Arc::clone(&self.ram);
        let serve = move || {
            for request in work {
                let done = ram.serve(&request);
                request.complete(done);
            }
        };
        Ok(ThreadedLane {
            requests: Some(requests),
            worker: Some(thread::spawn(serve)),
        })
    }
}

pub(crate) struct ThreadedLane {
    requests: Option<SyncSender<Request>>,
    worker: Option<JoinHandle<()>>,
}

impl Lane for ThreadedLane {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let requests = self.requests.as_ref().expect("the lane is open");
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
        })
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

impl Drop for ThreadedLane {
    fn drop(&mut self) {
        // The worker ends what it has, and then itself.
        self.requests = None;
        let worker = self.worker.take();
        worker.map(JoinHandle::join).transpose().expect("no panic");
    }
}
