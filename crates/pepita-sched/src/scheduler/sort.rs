//! Sorting by several workers.

use std::cmp::Ordering;
use std::mem;

use super::join::join;
use super::local;
use super::parallel::for_each_mut;

/// Shorter slices are not cut further.
const SHORT: usize = 8192;

/// Parts for each worker, so that they even out.
const PARTS: usize = 8;

/// A shorter slice is parted by one worker.
const PARTED_ALONE: usize = 65_536;

/// Pieces for each worker where several part a slice.
const PIECES: usize = 4;

/// The pivot is the median of so many elements, a part of the slice.
const FEWEST_SAMPLES: usize = 31;
const MOST_SAMPLES: usize = 511;
const SAMPLED: usize = 128;

/// Sorts `slice`; equal elements may change their order. Parts are sorted by [`slice::sort_unstable_by`], on this worker and on those
/// that have nothing to do; outside of a scheduler the whole is.
///
/// # Panics
/// With a panic of `compare`, or if that is no total order.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, sort_unstable_by};
///
/// let mut numbers: Vec<u64> = (0..100_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
/// let scheduler = Scheduler::with_workers(2);
/// scheduler.install(|| sort_unstable_by(&mut numbers, |a, b| b.cmp(a)));
/// assert!(numbers.is_sorted_by(|a, b| a >= b));
/// ```
pub fn sort_unstable_by<T, F>(slice: &mut [T], compare: F)
where
    T: Send + Sync,
    F: Fn(&T, &T) -> Ordering + Sync,
{
    let workers = local::workers();
    let short = SHORT.max(slice.len() / (PARTS * workers));
    if workers < 2 || slice.len() <= short || is_sorted(slice, &compare) {
        slice.sort_unstable_by(compare);
    } else {
        let limits = Limits {
            short,
            depth: slice.len().ilog2(),
            workers,
        };
        sort(slice, &compare, limits);
    }
}

/// [`sort_unstable_by`] the order of the elements.
///
/// # Panics
/// With a panic of the comparison.
pub fn sort_unstable<T: Ord + Send + Sync>(slice: &mut [T]) {
    sort_unstable_by(slice, T::cmp);
}

/// Whether nothing is to be done, or it only is to be turned round, which one worker does fast.
fn is_sorted<T>(slice: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> bool {
    slice.is_sorted_by(|a, b| compare(a, b).is_le())
        || slice.is_sorted_by(|a, b| compare(a, b).is_gt())
}

/// How far a slice is cut.
#[derive(Clone, Copy)]
struct Limits {
    /// Not shorter.
    short: usize,
    /// Levels that are left, if the pivots are bad.
    depth: u32,
    /// Those that have nothing to do but this slice.
    workers: usize,
}

impl Limits {
    fn of_half(self) -> Self {
        Self {
            depth: self.depth - 1,
            workers: self.workers.div_ceil(2),
            ..self
        }
    }
}

/// Quicksort down to the limits.
fn sort<T, F>(slice: &mut [T], compare: &F, limits: Limits)
where
    T: Send + Sync,
    F: Fn(&T, &T) -> Ordering + Sync,
{
    if slice.len() <= limits.short || limits.depth == 0 {
        slice.sort_unstable_by(compare);
        return;
    }
    pick_pivot(slice, compare);
    let Some((pivot, others)) = slice.split_first_mut() else {
        return;
    };
    let pivot = &*pivot;
    let is_less = |element: &T| compare(element, pivot).is_lt();
    let mut less = part(others, &is_less, limits.workers);
    // Many may be equal to the pivot: they need no more sorting.
    let mut equal = 0;
    if less < others.len() / 8 {
        let is_equal = |element: &T| compare(element, pivot).is_eq();
        equal = part(&mut others[less..], &is_equal, limits.workers);
    }
    // The pivot goes between, in exchange for the last of the lesser.
    slice.swap(0, less);
    less += 1;
    let (left, right) = slice.split_at_mut(less);
    let (left, right) = (&mut left[..less - 1], &mut right[equal..]);
    join(
        || sort(left, compare, limits.of_half()),
        || sort(right, compare, limits.of_half()),
    );
}

/// Puts the median of some elements first.
fn pick_pivot<T>(slice: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) {
    let count = (slice.len() / SAMPLED).clamp(FEWEST_SAMPLES, MOST_SAMPLES);
    let step = slice.len() / count;
    (0..count).for_each(|sample| slice.swap(sample, sample * step));
    slice[..count].select_nth_unstable_by(count / 2, compare);
    slice.swap(0, count / 2);
}

/// Moves the elements that `belong` to the front, and says how many they are.
fn part<T: Send>(slice: &mut [T], belongs: &(impl Fn(&T) -> bool + Sync), workers: usize) -> usize {
    if workers < 2 || slice.len() <= PARTED_ALONE {
        part_alone(slice, belongs)
    } else {
        part_together(slice, belongs, workers * PIECES)
    }
}

/// Without a branch that the CPU would have to guess, and so that no element waits for what became of the one before.
fn part_alone<T>(slice: &mut [T], belongs: &impl Fn(&T) -> bool) -> usize {
    let mut count = 0;
    for index in 0..slice.len() {
        let belongs = belongs(&slice[index]);
        slice.swap(count, index);
        count += usize::from(belongs);
    }
    count
}

/// Each piece is parted by itself; then those which lie on the wrong side of the border between all that belong and all others
/// change places.
fn part_together<T: Send>(
    slice: &mut [T],
    belongs: &(impl Fn(&T) -> bool + Sync),
    pieces: usize,
) -> usize {
    let size = slice.len().div_ceil(pieces);
    let mut pieces: Vec<_> = slice.chunks_mut(size).map(|piece| (piece, 0)).collect();
    for_each_mut(&mut pieces, |_, (piece, count)| {
        *count = part_alone(piece, belongs);
    });
    let all = pieces.iter().map(|(_, count)| count).sum();
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    let mut begin = 0;
    for (piece, count) in pieces {
        let border = piece.len().min(all - begin.min(all));
        begin += piece.len();
        let (left, right) = piece.split_at_mut(border);
        if count < border {
            before.push(&mut left[count..]);
        } else {
            behind.push(&mut right[..count - border]);
        }
    }
    exchange(before, behind);
    all
}

/// Exchanges the elements of both lists, of which they have as many.
fn exchange<T: Send>(before: Vec<&mut [T]>, behind: Vec<&mut [T]>) {
    let mut pairs = Vec::new();
    let mut behind = behind.into_iter();
    let mut right: &mut [T] = &mut [];
    for mut left in before {
        while !left.is_empty() {
            while right.is_empty() {
                right = behind.next().expect("as many on both sides");
            }
            let count = left.len().min(right.len());
            let (now, later) = mem::take(&mut left).split_at_mut(count);
            left = later;
            let (its, later) = mem::take(&mut right).split_at_mut(count);
            right = later;
            pairs.push((now, its));
        }
    }
    for_each_mut(&mut pairs, |_, (left, right)| left.swap_with_slice(right));
}
