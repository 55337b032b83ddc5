//! How a loop is shared: [`run`].
//!
//! A loop goes on by blocks on the thread that called it. While nobody wants work it is nothing but that loop. Else what is left
//! stands in a word ([`Rest`]), and a join whose second half helps waits for a thief: it takes half of what is left, shares that in
//! the same way, and comes again. So a loop is cut up where somebody is there to run a part, at any time while it runs, and parts of
//! very different costs even out.
//!
//! Helpers take from the back, and one has run all of its half before it takes the next; so the results of parts are combined from
//! left to right.

use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::join::join_sure;
use super::local::{self, Local};
use super::rest::Rest;

/// A loop that is over in this time is not shared: the way to another worker takes as long.
const ALONE: Duration = Duration::from_micros(4);

/// About what a look at the clock takes.
const LOOK: Duration = Duration::from_nanos(20);

/// Elements that take so long say how long others take: roughly, and well.
const HINTING: Duration = Duration::from_nanos(20);
const TELLING: Duration = Duration::from_nanos(150);

/// The least time and the most time that a block should take: about what a thief costs, and how long one may wait to be heard.
const SHORTEST: Duration = Duration::from_nanos(500);
const LONGEST: Duration = Duration::from_micros(16);

/// A half of fewer blocks is run by its helper alone.
const SMALL: u32 = 4;

/// Loops with fewer elements are shared without a look at how long an element takes.
const FEW: usize = 16;

/// A loop with more elements is run in pieces, one after the other.
const PIECE: usize = u32::MAX as usize;

/// What a loop does.
struct Loop<L, C> {
    /// Runs a part.
    leaf: L,
    /// Makes one result of those of two parts, the left one first.
    combine: C,
    /// Where the piece begins.
    base: usize,
    /// A part has panicked: nobody begins another one.
    has_panicked: AtomicBool,
}

/// Says that a loop has panicked, if it is dropped.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many elements a block has.
struct Pace {
    /// When the clock was looked at last.
    begin: Instant,
    /// How many elements had their time looked at then, and how many were run since.
    timed: u32,
    untimed: u32,
    least: u32,
    most: u32,
}

impl Pace {
    fn new(least: u32) -> Self {
        Self {
            begin: Instant::now(),
            timed: 0,
            untimed: 0,
            least,
            most: least.saturating_mul(16),
        }
    }

    /// A block of `count` has ended. Looks at the clock when that is worth it: blocks become small at the end of a loop.
    fn note(&mut self, count: u32) {
        self.untimed += count;
        if self.untimed > self.timed / 2 {
            self.learn();
        }
    }

    /// Says how many elements the next block has, by how long one took. What follows may take much longer than what was, so blocks
    /// grow by steps. Gives how long it was since the last look.
    fn learn(&mut self) -> Duration {
        let now = Instant::now();
        let elapsed = now - self.begin;
        let took = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let count = mem::take(&mut self.untimed);
        self.begin = now;
        self.timed = count;
        let fit = |time: Duration| {
            let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let fit = time.saturating_mul(u64::from(count)) / took.max(1);
            u32::try_from(fit)
                .unwrap_or(u32::MAX)
                .clamp(1, count.saturating_mul(4))
        };
        self.least = fit(SHORTEST);
        self.most = fit(LONGEST);
        elapsed
    }

    fn size(&self, left: u32) -> u32 {
        (left / 3).clamp(self.least, self.most.max(self.least))
    }
}

impl<L, C, R> Loop<L, C>
where
    L: Fn(Range<usize>) -> R + Sync,
    C: Fn(R, R) -> R + Sync,
    R: Send,
{
    fn part(&self, range: Range<u32>) -> R {
        (self.leaf)(self.base + range.start as usize..self.base + range.end as usize)
    }

    /// After a panic nothing is combined any more: parts between these may be missing.
    fn both(&self, left: Option<R>, right: Option<R>) -> Option<R> {
        match (left, right) {
            (left, _) if self.has_panicked.load(Ordering::Relaxed) => left,
            (Some(left), Some(right)) => Some((self.combine)(left, right)),
            (left, right) => left.or(right),
        }
    }

    /// Runs what is left, as long as nobody asks for work; `done` says how much that was.
    fn unasked(&self, range: &Range<u32>, done: &mut u32) -> Option<R> {
        let count = range.end - range.start;
        let block = if count < 1024 {
            count / 4 + 1
        } else {
            count / 16 + 1
        };
        let mut result = None;
        while *done < count && local::spend_allowance() {
            let begin = range.start + *done;
            let end = range.end.min(begin.saturating_add(block));
            result = self.both(result, Some(self.part(begin..end)));
            *done = end - range.start;
        }
        result
    }

    /// Runs the whole.
    fn piece(&self, mut range: Range<u32>) -> Option<R> {
        let mut done = 0;
        let mut result = self.unasked(&range, &mut done);
        range.start += done;
        let left = range.end - range.start;
        let mut least = 1;
        if left as usize >= FEW {
            // How long does an element take? A few say it, unless they are over before the clock has moved.
            let mut count = (left / 64).clamp(1, 16);
            let mut pace = Pace::new(1);
            loop {
                let end = range.start + count;
                result = self.both(result, Some(self.part(range.start..end)));
                range.start = end;
                pace.untimed = count;
                let took = pace.learn().saturating_sub(LOOK);
                let left = range.end - end;
                if left == 0 {
                    return result;
                }
                let all = took.as_nanos() * u128::from(left) / u128::from(count);
                let (hints, tells) = (took >= HINTING, took >= TELLING);
                if hints && all < ALONE.as_nanos() {
                    return self.both(result, Some(self.part(range)));
                }
                if tells || (hints && all >= ALONE.as_nanos() * 4) {
                    least = pace.least;
                    break;
                }
                count = (count * 8).min(left);
            }
        }
        if range.is_empty() {
            return result;
        }
        let rest = self.shared(range, least);
        self.both(result, rest)
    }

    /// Runs a range together with who helps.
    fn shared(&self, range: Range<u32>, least: u32) -> Option<R> {
        let least = least.max(1);
        let rest = Rest::new(&range, least);
        let (left, right) = join_sure(|| self.work(&rest, least), || self.help(&rest));
        self.both(left, right)
    }

    /// Runs what helpers leave. After a panic, the result lacks what was not run; the panic goes on in a join above.
    fn work(&self, rest: &Rest, least: u32) -> Option<R> {
        let mut pace = Pace::new(least);
        let mut result = None;
        let alarm = Alarm(&self.has_panicked);
        while !self.has_panicked.load(Ordering::Relaxed)
            && let Some(block) = rest.take(|left| pace.size(left))
        {
            let count = block.end - block.start;
            result = self.both(result, Some(self.part(block)));
            pace.note(count);
            rest.set_least(pace.least);
            local::look_around();
        }
        mem::forget(alarm);
        result
    }

    /// Takes halves of what is left, and runs them.
    fn help(&self, rest: &Rest) -> Option<R> {
        let mut result = None;
        let alarm = Alarm(&self.has_panicked);
        while !self.has_panicked.load(Ordering::Relaxed)
            && let Some(half) = rest.halve()
        {
            let least = rest.least();
            let more = if half.end - half.start < least.saturating_mul(SMALL) {
                Some(self.part(half))
            } else {
                self.shared(half, least / 4)
            };
            // It lies left of the one before.
            result = self.both(more, result);
        }
        mem::forget(alarm);
        result
    }
}

impl<L, C, R> Loop<L, C>
where
    L: Fn(Range<usize>) -> R,
    C: Fn(R, R) -> R,
{
    /// Runs a range in parts, and in an order, that dice decide.
    fn dealt(&self, range: Range<usize>, dice: &Dice, depth: u32) -> R {
        let Some(cut) = dice.cut(range.len(), depth) else {
            return (self.leaf)(range);
        };
        let middle = range.start + cut;
        let run = |range| self.dealt(range, dice, depth + 1);
        let (left, right) = if dice.flip() {
            let right = run(middle..range.end);
            (run(range.start..middle), right)
        } else {
            (run(range.start..middle), run(middle..range.end))
        };
        (self.combine)(left, right)
    }
}

/// Runs `leaf` with parts of `0..count`, which together are all of it, and makes one result of theirs by `combine`, from left to
/// right; `None` if `count` is 0.
pub(super) fn run<R: Send>(
    count: usize,
    leaf: impl Fn(Range<usize>) -> R + Sync,
    combine: impl Fn(R, R) -> R + Sync,
) -> Option<R> {
    if count == 0 {
        return None;
    }
    if !local::is_worker() {
        return Some(leaf(0..count));
    }
    let mut all = Loop {
        leaf,
        combine,
        base: 0,
        has_panicked: AtomicBool::new(false),
    };
    let dealt = |local: Option<&Local>| Some(all.dealt(0..count, local?.dice()?, 0));
    if let Some(result) = local::with(dealt) {
        return Some(result);
    }
    let mut result = None;
    while all.base < count {
        let length = (count - all.base).min(PIECE);
        let piece = all.piece(0..u32::try_from(length).unwrap_or(u32::MAX));
        result = all.both(result, piece);
        all.base += length;
    }
    result
}
