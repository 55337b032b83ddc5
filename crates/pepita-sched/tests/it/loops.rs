//! Loops over ranges and slices, and sorting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pepita_sched::scheduler::{
    Scheduler, for_each, for_each_chunk_mut, for_each_mut, for_each_part_mut, map_reduce,
    map_reduce_parts, sort_unstable, sort_unstable_by,
};
use proptest::prelude::*;

const LENGTHS: [usize; 12] = [0, 1, 2, 3, 15, 16, 17, 100, 1000, 1025, 10_000, 100_000];

/// Runs `work` outside of a scheduler, and on schedulers of several sizes.
fn everywhere(work: impl Fn() + Sync) {
    work();
    for workers in [1, 2, 3, 20] {
        let scheduler = Scheduler::with_workers(workers);
        (0..3).for_each(|_| scheduler.install(&work));
    }
}

#[test]
fn every_index_is_had_once() {
    everywhere(|| {
        for length in LENGTHS {
            let had: Vec<AtomicUsize> = (0..length).map(|_| AtomicUsize::new(0)).collect();
            for_each(0..length, |index| {
                had[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                had.iter().all(|count| count.load(Ordering::Relaxed) == 1),
                "{length}"
            );
        }
    });
}

#[test]
fn results_come_together_from_left_to_right() {
    everywhere(|| {
        for length in LENGTHS {
            // All of it is copied for each index.
            if length < 5000 {
                let all = map_reduce(
                    5..5 + length,
                    |index| vec![index],
                    |left, right| [left, right].concat(),
                );
                let wanted: Vec<usize> = (5..5 + length).collect();
                assert_eq!(all.unwrap_or_default(), wanted);
            }
            // A range that is two indices long when it is whole.
            let whole = map_reduce_parts(
                5..5 + length,
                |part| part,
                |left, right| {
                    assert_eq!(left.end, right.start);
                    left.start..right.end
                },
            );
            assert_eq!(whole, (length > 0).then_some(5..5 + length));
        }
    });
}

#[test]
fn elements_of_very_different_costs_are_all_had() {
    fn work(units: usize) -> u64 {
        (0..units as u64).fold(1, |value, unit| {
            std::hint::black_box(value ^ unit.wrapping_mul(31))
        })
    }
    // The cost grows, shrinks, or lies in one place.
    let costs: [fn(usize) -> usize; 3] = [
        |index| index,
        |index| 3000 - index,
        |index| if index == 1234 { 3_000_000 } else { 1 },
    ];
    everywhere(|| {
        for cost in costs {
            let had = map_reduce(
                0..3000,
                |index| (work(cost(index)) | 1, index),
                |a, b| (a.0 | b.0, a.1 + b.1),
            );
            assert_eq!(had.map(|had| had.1), Some(2999 * 1500));
        }
    });
}

#[test]
fn slices_are_changed_in_parts_in_chunks_and_by_element() {
    everywhere(|| {
        for length in LENGTHS {
            let mut numbers = vec![0; length];
            for_each_part_mut(&mut numbers, |begin, part| {
                (0..part.len()).for_each(|index| part[index] = begin + index);
            });
            for_each_mut(&mut numbers, |index, number| *number += index);
            for_each_chunk_mut(&mut numbers, 7, |chunk, part| {
                assert!(part.len() == 7 || (chunk + 1) * 7 > length);
                part.iter_mut().for_each(|number| *number += chunk);
            });
            let wanted = (0..length).map(|index| 2 * index + index / 7);
            assert!(numbers.into_iter().eq(wanted), "{length}");
        }
    });
}

#[test]
fn loops_nest() {
    everywhere(|| {
        let row =
            |row: usize| map_reduce(0..row, |column| column, usize::wrapping_add).unwrap_or(0);
        let sum = map_reduce(0..500, row, usize::wrapping_add);
        assert_eq!(
            sum,
            Some(
                (0..500)
                    .map(|row: usize| row * row.saturating_sub(1) / 2)
                    .sum()
            )
        );
    });
}

#[test]
fn a_loop_is_shared_with_workers_that_come_later() {
    let scheduler = Scheduler::with_workers(2);
    for _ in 0..20 {
        // Ends only when two indices are under way at the same time.
        let (inside, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
        scheduler.install(|| {
            for_each(0..100_000, |_| {
                if met.load(Ordering::Relaxed) > 0 {
                    return;
                }
                if inside.fetch_add(1, Ordering::SeqCst) > 0 {
                    met.fetch_add(1, Ordering::SeqCst);
                }
                let until = std::time::Instant::now() + std::time::Duration::from_micros(20);
                while met.load(Ordering::SeqCst) == 0 && std::time::Instant::now() < until {
                    std::thread::yield_now();
                }
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        });
        assert!(met.into_inner() > 0);
    }
}

#[test]
fn a_panic_in_a_loop_comes_out_and_the_workers_go_on() {
    let scheduler = Scheduler::with_workers(2);
    for at in [0, 500, 99_999] {
        let run =
            || scheduler.install(|| for_each(0..100_000, |index| assert!(index != at, "at {at}")));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&format!("at {at}")));
    }
    assert_eq!(
        scheduler.install(|| map_reduce(0..10, |index| index, |a, b| a + b)),
        Some(45)
    );
}

#[test]
fn a_panic_ends_the_parts_of_the_others_too() {
    const ALL: usize = 20_000;
    let scheduler = Scheduler::with_workers(2);
    for helper_panics in [false, true] {
        let [begun, helped, begun_at_panic] = [const { AtomicUsize::new(0) }; 3];
        let run = || {
            let owner = std::thread::current().id();
            let part = |part: std::ops::Range<usize>| {
                begun.fetch_add(part.len(), Ordering::SeqCst);
                let is_helper = std::thread::current().id() != owner;
                helped.fetch_add(usize::from(is_helper), Ordering::SeqCst);
                if is_helper == helper_panics && helped.load(Ordering::SeqCst) > 0 {
                    begun_at_panic.store(begun.load(Ordering::SeqCst), Ordering::SeqCst);
                    panic!("two are there");
                }
                // So much is left that the other one cannot be through before it hears of the panic.
                for _ in part.clone() {
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
                part
            };
            // Nor are parts combined that are not side by side.
            let both = |left: std::ops::Range<usize>, right: std::ops::Range<usize>| {
                assert_eq!(left.end, right.start);
                left.start..right.end
            };
            map_reduce_parts(0..ALL, part, both);
        };
        let panic = catch_unwind(AssertUnwindSafe(|| scheduler.install(run))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"two are there"));
        let (begun, at_panic) = (begun.into_inner(), begun_at_panic.into_inner());
        assert!(
            begun - at_panic <= (ALL - at_panic) / 2,
            "{at_panic} {begun}"
        );
    }
}

#[test]
fn a_loop_has_more_indices_than_a_word_counts() {
    let count = (1_usize << 33) + 5;
    let part = |part: std::ops::Range<usize>| {
        // So long that the loop is shared.
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_micros(2) {}
        part.len()
    };
    let run = || map_reduce_parts(7..7 + count, part, |left, right| left + right);
    assert_eq!(Scheduler::with_workers(2).install(run), Some(count));
}

#[test]
fn large_slices_of_any_kind_are_sorted() {
    let mix = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let kinds: [fn(u64, u64) -> u64; 6] = [
        |_, mixed| mixed,
        |index, _| index,
        |index, _| u64::MAX - index,
        |_, mixed| mixed % 3,
        |index, mixed| if index % 100 == 0 { mixed } else { index },
        |_, _| 7,
    ];
    let scheduler = Scheduler::with_workers(3);
    for kind in kinds {
        let mut numbers: Vec<u64> = (0..300_000).map(|index| kind(index, mix(index))).collect();
        let mut wanted = numbers.clone();
        wanted.sort_unstable();
        scheduler.install(|| sort_unstable(&mut numbers));
        assert!(numbers == wanted);
    }
}

#[test]
fn a_sort_whose_comparison_panics_keeps_every_element() {
    const ELEMENTS: u32 = 150_000;
    let scheduler = Scheduler::with_workers(3);
    // While it looks whether all is sorted, picks a pivot, parts, and sorts the parts.
    for comparisons in [0, 10, 1000, 100_000, 500_000, 1_500_000] {
        let mut elements: Vec<Arc<u32>> = (0..ELEMENTS)
            .map(|number| Arc::new(number.wrapping_mul(0x9e37_79b9)))
            .collect();
        let mut all = elements.clone();
        let left = AtomicUsize::new(comparisons);
        let compare = |a: &Arc<u32>, b: &Arc<u32>| {
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
            assert!(before.is_ok(), "enough");
            a.cmp(b)
        };
        let sort = || scheduler.install(|| sort_unstable_by(&mut elements, compare));
        assert!(catch_unwind(AssertUnwindSafe(sort)).is_err());
        all.sort_unstable();
        elements.sort_unstable();
        assert!(elements == all, "after {comparisons} comparisons");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_slice_is_sorted_as_by_the_standard_library(
        numbers in prop::collection::vec(any::<u8>(), 0..30_000),
        workers in 1..4_usize,
    ) {
        let scheduler = Scheduler::with_workers(workers);
        let mut ours: Vec<String> = numbers.iter().map(u8::to_string).collect();
        let mut theirs = ours.clone();
        scheduler.install(|| sort_unstable_by(&mut ours, |a, b| b.cmp(a)));
        theirs.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert!(ours == theirs);
    }
}
