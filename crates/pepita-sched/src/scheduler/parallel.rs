#![expect(unsafe_code, reason = "parts of one slice are lent to several threads")]
//! Loops over ranges and slices that workers share; how is in [`loops`].

use std::ops::Range;
use std::slice;

use super::loops;

/// Calls `map` with parts of `range`, which together are all of it, on this worker and on those that have nothing to do, and makes
/// one result of theirs by `reduce`, from left to right; `None` for an empty range.
///
/// How large the parts are follows from how long an element takes and from who is there to help: a loop that is over in a few
/// microseconds is called with few. Outside of a scheduler there is one part.
///
/// # Panics
/// With a panic of `map` or `reduce`, after all parts that had begun have ended.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, map_reduce_parts};
///
/// fn dot(a: &[f64], b: &[f64]) -> f64 {
///     let part = |range: std::ops::Range<usize>| {
///         let pairs = a[range.clone()].iter().zip(&b[range]);
///         pairs.map(|(a, b)| a * b).sum::<f64>()
///     };
///     map_reduce_parts(0..a.len().min(b.len()), part, |left, right| left + right).unwrap_or(0.0)
/// }
///
/// let (a, b) = (vec![2.0; 100_000], vec![0.5; 100_000]);
/// let scheduler = Scheduler::with_workers(2);
/// assert_eq!(scheduler.install(|| dot(&a, &b)), 100_000.0);
/// ```
pub fn map_reduce_parts<R: Send>(
    range: Range<usize>,
    map: impl Fn(Range<usize>) -> R + Sync,
    reduce: impl Fn(R, R) -> R + Sync,
) -> Option<R> {
    let begin = range.start;
    let part = |part: Range<usize>| map(begin + part.start..begin + part.end);
    loops::run(range.len(), part, reduce)
}

/// Calls `map` with each index of `range`, and makes one result of theirs by `reduce`, from left to right; `None` for an empty
/// range. Which workers take part is as in [`map_reduce_parts`].
///
/// # Panics
/// With a panic of `map` or `reduce`.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, map_reduce};
///
/// let words = ["a", "parallel", "loop"];
/// let scheduler = Scheduler::with_workers(2);
/// let longest = || map_reduce(0..words.len(), |index| words[index].len(), usize::max);
/// assert_eq!(scheduler.install(longest), Some(8));
/// ```
pub fn map_reduce<R: Send>(
    range: Range<usize>,
    map: impl Fn(usize) -> R + Sync,
    reduce: impl Fn(R, R) -> R + Sync,
) -> Option<R> {
    let part = |part: Range<usize>| part.map(&map).reduce(&reduce);
    let both = |left: Option<R>, right| match (left, right) {
        (Some(left), Some(right)) => Some(reduce(left, right)),
        (left, right) => left.or(right),
    };
    map_reduce_parts(range, part, both).flatten()
}

/// Calls `run` with each index of `range`. Which workers take part is as in [`map_reduce_parts`].
///
/// # Panics
/// With a panic of `run`.
pub fn for_each(range: Range<usize>, run: impl Fn(usize) + Sync) {
    map_reduce_parts(range, |part| part.for_each(&run), |(), ()| ());
}

/// A slice whose parts are lent to several threads.
///
/// # Invariants
/// * *disjoint*: the ranges that a loop gives out do not overlap, and lie within its count.
/// * *lent*: the slice is borrowed until the loop has ended.
struct Lent<T>(*mut T);

// SAFETY: disjoint: each element is used by one thread, to which it may be sent.
unsafe impl<T: Send> Sync for Lent<T> {}

impl<T> Lent<T> {
    /// # Safety
    /// `range` is within the slice, and does not overlap another one that is in use.
    #[expect(clippy::mut_from_ref, reason = "disjoint: no element is lent twice")]
    unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: disjoint: within the slice.
        let first = unsafe { self.0.add(range.start) };
        // SAFETY: disjoint, lent.
        unsafe { slice::from_raw_parts_mut(first, range.len()) }
    }
}

/// Calls `run` with parts of `slice`, which together are all of it, and the index at which each begins. How large they are is as in
/// [`map_reduce_parts`].
///
/// # Panics
/// With a panic of `run`.
pub fn for_each_part_mut<T: Send>(slice: &mut [T], run: impl Fn(usize, &mut [T]) + Sync) {
    let lent = Lent(slice.as_mut_ptr());
    let part = |range: Range<usize>| {
        let begin = range.start;
        // SAFETY: disjoint.
        run(begin, unsafe { lent.part(range) });
    };
    map_reduce_parts(0..slice.len(), part, |(), ()| ());
}

/// Calls `run` with each element of `slice` and its index. Which workers take part is as in [`map_reduce_parts`].
///
/// # Panics
/// With a panic of `run`.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, for_each_mut};
///
/// let mut squares = vec![0; 1000];
/// Scheduler::with_workers(2).install(|| for_each_mut(&mut squares, |index, square| *square = index * index));
/// assert_eq!(squares[999], 998_001);
/// ```
pub fn for_each_mut<T: Send>(slice: &mut [T], run: impl Fn(usize, &mut T) + Sync) {
    for_each_part_mut(slice, |begin, part| {
        for (index, element) in part.iter_mut().enumerate() {
            run(begin + index, element);
        }
    });
}

/// Calls `run` with each piece of `size` elements of `slice`, the last of which may be shorter, and its number. Which workers take
/// part is as in [`map_reduce_parts`].
///
/// # Panics
/// If `size` is 0, and with a panic of `run`.
pub fn for_each_chunk_mut<T: Send>(
    slice: &mut [T],
    size: usize,
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    assert!(size > 0, "chunks have at least one element");
    let length = slice.len();
    let lent = Lent(slice.as_mut_ptr());
    for_each(0..length.div_ceil(size), |number| {
        let begin = number * size;
        // SAFETY: disjoint: each number comes once.
        run(number, unsafe {
            lent.part(begin..length.min(begin + size))
        });
    });
}
