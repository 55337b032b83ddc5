//! Which calls count: the last *n*, in a ring of bits, or those of the last *n* seconds, in a
//! ring of counters. Both keep a running sum, so a record takes constant time.

use std::time::Duration;

use super::CallOutcome;
use super::config::Rules;

/// The calls by which a [`CircuitBreaker`](super::CircuitBreaker) judges.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker};
///
/// let busy = CircuitBreaker::builder(CallWindow::Seconds(10)).build()?;
/// let rare = CircuitBreaker::builder(CallWindow::Calls(20)).build()?;
/// # Ok::<(), pepita_sched::fault::CircuitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallWindow {
    /// The last so many calls, 1 to 65,536. Takes two bits a call.
    Calls(u32),
    /// The calls of the current second of the clock and of those before it, so many in all, 1 to
    /// 3,600. Takes 24 bytes a second.
    Seconds(u32),
}

/// What a window keeps of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

impl Call {
    pub(super) fn new(rules: &Rules, outcome: CallOutcome, took: Duration) -> Self {
        Self {
            failed: outcome == CallOutcome::Failure,
            slow: rules.slow.is_some_and(|slow| took > slow.above),
        }
    }
}

/// Counts of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

impl Tally {
    pub(super) fn add(&mut self, call: Call) {
        self.calls += 1;
        self.failures += u64::from(call.failed);
        self.slow += u64::from(call.slow);
    }

    fn remove(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

#[derive(Debug)]
pub(super) enum Ring {
    Calls(CallRing),
    Seconds(SecondRing),
}

impl Ring {
    pub(super) fn new(window: CallWindow) -> Self {
        match window {
            CallWindow::Calls(size) => Self::Calls(CallRing::new(size)),
            CallWindow::Seconds(size) => Self::Seconds(SecondRing::new(size)),
        }
    }

    /// Records `call`, which ended at `now`, and returns the counts of the window.
    pub(super) fn record(&mut self, now: Duration, call: Call) -> Tally {
        match self {
            Self::Calls(ring) => ring.record(call),
            Self::Seconds(ring) => ring.record(now.as_secs(), call),
        }
    }

    /// The counts of the window that ends at `now`.
    pub(super) fn tally(&mut self, now: Duration) -> Tally {
        match self {
            Self::Calls(ring) => ring.sum,
            Self::Seconds(ring) => ring.tally(now.as_secs()),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => (ring.next, ring.sum) = (0, Tally::default()),
            Self::Seconds(ring) => ring.clear(),
        }
    }
}

/// The last `size` calls, two bits each: failed, slow.
///
/// # Invariants
/// * `next < size`; `words` holds `size` pairs of bits.
/// * `sum` counts the pairs below `next`, and once `sum.calls` is `size`, all of them.
#[derive(Debug)]
pub(super) struct CallRing {
    words: Box<[u64]>,
    size: usize,
    next: usize,
    sum: Tally,
}

const CALLS_PER_WORD: usize = 32;

impl CallRing {
    fn new(size: u32) -> Self {
        let size = size as usize;
        Self {
            words: vec![0; size.div_ceil(CALLS_PER_WORD)].into(),
            size,
            next: 0,
            sum: Tally::default(),
        }
    }

    fn record(&mut self, call: Call) -> Tally {
        let word = &mut self.words[self.next / CALLS_PER_WORD];
        let shift = 2 * (self.next % CALLS_PER_WORD);
        if self.sum.calls == self.size as u64 {
            let oldest = *word >> shift;
            self.sum.remove(Tally {
                calls: 1,
                failures: oldest & 1,
                slow: (oldest >> 1) & 1,
            });
        }
        let bits = u64::from(call.failed) | (u64::from(call.slow) << 1);
        *word = (*word & !(0b11 << shift)) | (bits << shift);
        self.sum.add(call);
        self.next = (self.next + 1) % self.size;
        self.sum
    }
}

/// The calls of the last `buckets.len()` seconds of the clock.
///
/// # Invariants
/// * `head` is the bucket of second `newest`; older seconds stand before it, cyclically.
/// * `sum` is the sum of the buckets.
#[derive(Debug)]
pub(super) struct SecondRing {
    buckets: Box<[Tally]>,
    head: usize,
    newest: u64,
    sum: Tally,
}

impl SecondRing {
    fn new(size: u32) -> Self {
        Self {
            buckets: vec![Tally::default(); size as usize].into(),
            head: 0,
            newest: 0,
            sum: Tally::default(),
        }
    }

    fn record(&mut self, second: u64, call: Call) -> Tally {
        self.advance_to(second);
        self.buckets[self.head].add(call);
        self.sum.add(call);
        self.sum
    }

    fn tally(&mut self, second: u64) -> Tally {
        self.advance_to(second);
        self.sum
    }

    /// Forgets the seconds that have left the window.
    fn advance_to(&mut self, second: u64) {
        let passed = second.saturating_sub(self.newest);
        if passed >= self.buckets.len() as u64 {
            self.clear();
        } else {
            for _ in 0..passed {
                self.head = (self.head + 1) % self.buckets.len();
                self.sum
                    .remove(std::mem::take(&mut self.buckets[self.head]));
            }
        }
        self.newest = self.newest.max(second);
    }

    fn clear(&mut self) {
        if self.sum != Tally::default() {
            self.buckets.fill(Tally::default());
            self.sum = Tally::default();
        }
    }
}
