//! [`Worker`]: the thread of a queue.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use pepita_sys::blk_mq::{BlockDevice, Lane};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::flight::{Board, ring};
use super::queue::{BlockQueue, Front};
use crate::device::ActiveQueue;
use crate::transport::Interrupt;

/// A thread that serves a queue.
#[derive(Debug)]
pub(super) struct Worker {
    thread: JoinHandle<()>,
    stops: Arc<AtomicBool>,
    bell: Arc<OwnedFd>,
    left: Left,
}

/// What a thread may have left behind.
pub(super) struct Left(Weak<Board>);

impl Left {
    /// Buffers that somebody still has: each request has a count of the board.
    pub(super) fn buffers(&self) -> usize {
        self.0.strong_count()
    }
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Left").field(&self.buffers()).finish()
    }
}

impl Worker {
    /// Serves `queue` by a lane of `device`, which the thread opens. A driver that does wrong, and a device that panics or opens
    /// no lane, make `interrupt` say that a reset is needed.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start<D: BlockDevice + 'static>(
        device: Arc<D>,
        queue: ActiveQueue,
        front: Front,
        bell: Arc<OwnedFd>,
        interrupt: Interrupt,
    ) -> io::Result<Self> {
        let stops = Arc::new(AtomicBool::new(false));
        let board = Board::new(queue.size(), Arc::clone(&bell));
        let left = Left(Arc::downgrade(&board));
        let run = Run {
            index: front.queue_id,
            interrupt,
            stops: Arc::clone(&stops),
            bell: Arc::clone(&bell),
        };
        let name = format!("virtio-blk {}", front.queue_id);
        let thread = Builder::new().name(name).spawn(move || {
            let served = panic::catch_unwind(AssertUnwindSafe(|| {
                let lane = device.open_lane(queue.size());
                lane.map(|lane| run.serve(BlockQueue::new(queue, lane, front, board)))
            }));
            if !matches!(served, Ok(Ok(()))) {
                run.interrupt.needs_reset();
            }
        })?;
        Ok(Self {
            thread,
            stops,
            bell,
            left,
        })
    }

    /// Asks the thread to end, and does not wait.
    pub(super) fn ask_to_stop(&self) {
        self.stops.store(true, Ordering::Release);
        ring(&self.bell);
    }

    /// Ends the thread, with the requests that it has.
    pub(super) fn stop(self) -> Left {
        self.ask_to_stop();
        // A panic was told of.
        let _ = self.thread.join();
        self.left
    }
}

/// What the thread has.
struct Run {
    index: u16,
    interrupt: Interrupt,
    stops: Arc<AtomicBool>,
    bell: Arc<OwnedFd>,
}

impl Run {
    fn serve<L: Lane>(&self, mut queue: BlockQueue<L>) {
        let mut is_lane_ready = false;
        while !self.stops.load(Ordering::Acquire) {
            queue.disable_kicks();
            let turned = queue.turn(is_lane_ready);
            is_lane_ready = false;
            if queue.needs_notification() {
                self.interrupt.queue(self.index);
            }
            match turned {
                Ok(true) => continue,
                Ok(false) => {}
                Err(_) => self.interrupt.needs_reset(),
            }
            if queue.may_sleep() {
                // A kick, an end, a wish to stop, the lane, or the end of a rest.
                let (lane, until) = (queue.descriptor(), queue.rests_until());
                is_lane_ready = sleep(&self.bell, lane, until);
            }
        }
    }
}

/// Waits for `bell`, which is then quiet again, for `lane`, or until `until`; says whether the lane is ready.
pub(super) fn sleep(bell: &OwnedFd, lane: Option<BorrowedFd<'_>>, until: Option<Instant>) -> bool {
    let mut is_lane_ready = false;
    if lane.is_some() || until.is_some() {
        let second = lane.unwrap_or(bell.as_fd());
        let mut waits =
            [bell.as_fd(), second].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let _ = poll(&mut waits, left.as_ref());
        is_lane_ready = lane.is_some() && !waits[1].revents().is_empty();
        if waits[0].revents().is_empty() {
            return is_lane_ready;
        }
    }
    let _ = rustix::io::read(bell, &mut [0; 8]);
    is_lane_ready
}
