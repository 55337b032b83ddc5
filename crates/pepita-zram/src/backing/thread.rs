//! The thread of a backing device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use pepita_sys::blk_mq::{BlockDevice, Lane, Request};
use pepita_sys::error::Errno;

use super::flight::InFlight;
use super::{DEPTH, Job, flight};

/// Serves jobs until nobody can send more. Who sends one rings the bell of what `opened` hears, since requests of others
/// may take long.
pub(super) fn serve<D: BlockDevice>(
    device: &D,
    jobs: &Receiver<Job>,
    opened: &Sender<Result<Arc<InFlight>, Errno>>,
) {
    let mut lane = match device.open_lane(DEPTH) {
        Ok(lane) => lane,
        Err(error) => {
            let _ = opened.send(Err(error.to_errno()));
            return;
        }
    };
    let in_flight = match InFlight::of_this_thread() {
        Ok(in_flight) => in_flight,
        Err(errno) => {
            let _ = opened.send(Err(errno));
            return;
        }
    };
    let _ = opened.send(Ok(in_flight.clone()));
    let mut waiting: VecDeque<Request> = VecDeque::new();
    while let Ok(job) = jobs.recv() {
        waiting.push_back(flight::start(job, &in_flight));
        loop {
            waiting.extend(jobs.try_iter().map(|job| flight::start(job, &in_flight)));
            let before = in_flight.count();
            while let Some(request) = waiting.pop_front() {
                // Full: it has something in flight, so it can be waited for.
                if let Err(request) = lane.submit(request) {
                    waiting.push_front(request);
                    break;
                }
            }
            lane.commit();
            lane.poll();
            match in_flight.count() {
                0 => break,
                // Nothing has ended, so there is no room that was not tried.
                now if now == before => in_flight.wait(&lane),
                _ => {}
            }
        }
    }
}
