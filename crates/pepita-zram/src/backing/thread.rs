//! The thread of a backing device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use pepita_sys::blk_mq::{BlockDevice, Lane, Request};
use pepita_sys::error::Errno;
use rustix::event::{PollFd, PollFlags, poll};

use super::{DEPTH, Job, flight};

/// Serves jobs until nobody can send more.
pub(super) fn serve<D: BlockDevice>(
    device: &D,
    jobs: &Receiver<Job>,
    opened: &Sender<Result<(), Errno>>,
) {
    let mut lane = match device.open_lane(DEPTH) {
        Ok(lane) => lane,
        Err(error) => {
            let _ = opened.send(Err(error.to_errno()));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut waiting: VecDeque<Request> = VecDeque::new();
    while let Ok(job) = jobs.recv() {
        waiting.push_back(flight::start(job, &in_flight));
        loop {
            waiting.extend(jobs.try_iter().map(|job| flight::start(job, &in_flight)));
            while let Some(request) = waiting.pop_front() {
                // Full: it has something in flight, so it can be waited for.
                if let Err(request) = lane.submit(request) {
                    waiting.push_front(request);
                    break;
                }
            }
            lane.commit();
            let ended = lane.poll();
            if in_flight.load(Ordering::Acquire) == 0 {
                break;
            }
            if ended == 0 {
                wait(&lane);
            }
        }
    }
}

/// Sleeps until the lane has something to do.
fn wait(lane: &impl Lane) {
    let Some(descriptor) = flight::descriptor_of(lane) else {
        // It completes without being waited for, on another thread.
        thread::yield_now();
        return;
    };
    // After a signal the caller looks again.
    let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None);
}
