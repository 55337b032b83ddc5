#![expect(unsafe_code, reason = "pushes a cancellation, and closes pools")]
//! The end of a ring: what is in flight ends before anything of it is freed.

use std::mem;
use std::time::{Duration, Instant};

use pepita_sys::io_uring::{IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY, IoUringSqe};

use super::{Inner, NOBODY, Turn};
use crate::local::multi::Origin;
use crate::local::panics::Panics;

/// How long a ring that is dropped waits before it cancels again.
const DRAIN_STEP: Duration = Duration::from_millis(10);

impl Inner {
    /// Cancels everything and waits for its end; says whether all has ended. Code of others that panics
    /// meanwhile holds up nothing.
    fn drain(&mut self, panics: &mut Panics) -> bool {
        let deadline = self.drain_limit.map(|limit| Instant::now() + limit);
        let flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        // What was abandoned has been cancelled already. The kernel looks at each operation for each that it
        // cancels, and brings few ends at a time, so it is asked again only when none has ended.
        let mut step = Duration::ZERO;
        let mut is_stuck = false;
        let mut in_flight = self.slots.in_flight();
        while in_flight != 0 {
            if is_stuck {
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return false;
                }
                let cancel = IoUringSqe::cancel(0, flags).user_data(NOBODY);
                // SAFETY: the entry leads nowhere.
                let _ = unsafe { self.push(cancel) };
            }
            // The cancellation itself completes; operations that it does not reach take their time.
            if self.enter(Turn::AtMost(step)).is_err() {
                return false;
            }
            step = DRAIN_STEP;
            self.reap();
            for (keeper, cqe) in self.told.ended.drain(..) {
                panics.catch(|| keeper.end(cqe));
            }
            for stream in self.told.streams.drain(..) {
                panics.catch(|| stream.end(Origin(None)));
            }
            // What goes on completes without an end, so completions alone are none.
            let left = self.slots.in_flight();
            is_stuck = left >= in_flight;
            in_flight = left;
        }
        true
    }
}

impl Drop for Inner {
    /// Ends what is in flight, since closing the ring does not; what does not end is leaked.
    fn drop(&mut self) {
        let mut panics = Panics::default();
        if self.drain(&mut panics) {
            for pool in mem::take(&mut self.pools) {
                // SAFETY: it is of this ring, and nothing is in flight. What cannot be closed is leaked.
                let _ = unsafe { pool.close(&mut self.ring) };
            }
        } else {
            self.slots.leak();
        }
        panics.resume();
    }
}
