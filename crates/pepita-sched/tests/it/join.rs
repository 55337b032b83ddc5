//! Joins, and work that is installed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pepita_sched::scheduler::{Scheduler, WorkerId, join};

fn fibonacci(n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = join(|| fibonacci(n - 1), || fibonacci(n - 2));
    a + b
}

/// Joins until another worker has taken what is older: sooner or later one of them puts it on offer.
fn until(is_taken: &AtomicBool) {
    while !is_taken.load(Ordering::Acquire) {
        join(|| (), || ());
    }
}

/// What a panic said.
fn words<R>(work: impl FnOnce() -> R) -> Option<&'static str> {
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    panic.downcast_ref().copied()
}

#[test]
fn joins_give_both_results_with_any_number_of_workers() {
    for workers in [1, 2, 3, 20] {
        let scheduler = Scheduler::with_workers(workers);
        for _ in 0..5 {
            assert_eq!(scheduler.install(|| fibonacci(22)), 17_711);
        }
    }
}

#[test]
fn outside_of_workers_a_join_runs_both_here() {
    let here = std::thread::current().id();
    let (a, b) = join(
        || std::thread::current().id(),
        || std::thread::current().id(),
    );
    assert_eq!((a, b), (here, here));
}

#[test]
fn both_closures_may_change_what_they_borrow() {
    let scheduler = Scheduler::with_workers(2);
    let mut numbers: Vec<u32> = (0..10_000).collect();
    fn double(numbers: &mut [u32]) {
        match numbers {
            [] => {}
            [number] => *number *= 2,
            _ => {
                let (left, right) = numbers.split_at_mut(numbers.len() / 2);
                join(|| double(left), || double(right));
            }
        }
    }
    scheduler.install(|| double(&mut numbers));
    assert!(
        numbers
            .iter()
            .zip(0..)
            .all(|(number, index)| *number == 2 * index)
    );
}

#[test]
fn a_second_half_that_is_waited_for_was_run_by_another_worker() {
    let scheduler = Scheduler::with_workers(2);
    // The first half ends only when the second has begun, so another worker must take it, however often that sleeps.
    for _ in 0..200 {
        let is_taken = AtomicBool::new(false);
        let (first, second) = scheduler.join(
            || {
                until(&is_taken);
                WorkerId::current()
            },
            || {
                is_taken.store(true, Ordering::Release);
                WorkerId::current()
            },
        );
        assert_ne!(first, second);
    }
}

#[test]
fn a_panic_of_either_half_comes_out_and_the_workers_go_on() {
    let scheduler = Scheduler::with_workers(2);
    for _ in 0..100 {
        let ended = AtomicBool::new(false);
        let end = || ended.store(true, Ordering::Relaxed);
        assert_eq!(
            words(|| scheduler.join(|| panic!("first"), || 1)),
            Some("first")
        );
        assert_eq!(
            words(|| scheduler.join(end, || panic!("second"))),
            Some("second")
        );
        assert!(ended.into_inner());
        let both = words(|| scheduler.join(|| panic!("first"), || panic!("second")));
        assert_eq!(both, Some("first"));
        assert_eq!(
            words(|| scheduler.install(|| panic!("alone"))),
            Some("alone")
        );
    }
    assert_eq!(scheduler.install(|| fibonacci(15)), 610);
}

#[test]
fn a_panic_waits_for_a_half_that_somebody_has_taken() {
    let scheduler = Scheduler::with_workers(2);
    for _ in 0..50 {
        let (is_taken, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let said = words(|| {
            scheduler.join(
                || {
                    until(&is_taken);
                    panic!("first")
                },
                || {
                    is_taken.store(true, Ordering::Release);
                    std::thread::yield_now();
                    ended.store(true, Ordering::Relaxed);
                },
            )
        });
        assert_eq!(said, Some("first"));
        assert!(ended.into_inner());
    }
}

#[test]
fn what_the_halves_own_is_dropped_once_also_when_one_panics() {
    let scheduler = Scheduler::with_workers(2);
    let owned = Arc::new(());
    for round in 0..200 {
        let (a, b, c) = (owned.clone(), owned.clone(), owned.clone());
        let _ = catch_unwind(AssertUnwindSafe(|| {
            scheduler.join(
                move || assert!(round % 2 == 0 || Arc::strong_count(&a) == 0, "odd"),
                move || {
                    drop(b);
                    c
                },
            )
        }));
        assert_eq!(Arc::strong_count(&owned), 1);
    }
}

/// rayon's issue 592: a worker that waited in a join ran an unrelated job, which wanted the lock that the waiter held.
#[test]
fn who_waits_in_a_join_runs_no_unrelated_work_that_wants_its_lock() {
    let scheduler = Arc::new(Scheduler::with_workers(2));
    let lock = Arc::new(Mutex::new(0));
    for _ in 0..20 {
        let (is_taken, is_spawned) = (AtomicBool::new(false), AtomicBool::new(false));
        let (inner, inner_lock) = (scheduler.clone(), lock.clone());
        let handle = scheduler.spawn(move || {
            let mut guard = inner_lock.lock().unwrap();
            let (handles, ()) = join(
                || {
                    until(&is_taken);
                    // They wait in this worker's own queue, while the other worker is in the second half.
                    let spawn = |_| {
                        let lock = inner_lock.clone();
                        inner.spawn(move || *lock.lock().unwrap() += 1)
                    };
                    let handles: Vec<_> = (0..4).map(spawn).collect();
                    is_spawned.store(true, Ordering::Release);
                    handles
                },
                || {
                    is_taken.store(true, Ordering::Release);
                    while !is_spawned.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                    (0..20).for_each(|_| std::thread::yield_now());
                },
            );
            *guard += 1;
            handles
        });
        // None may want the lock in the next round, which needs both workers.
        for handle in handle.wait().unwrap() {
            handle.wait().unwrap();
        }
    }
    assert_eq!(*lock.lock().unwrap(), 100);
}

#[test]
fn ten_times_more_workers_than_cores_run_every_leaf_once() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let scheduler = Scheduler::with_workers(10 * cores);
    let leaves: Vec<AtomicUsize> = (0..20_000).map(|_| AtomicUsize::new(0)).collect();
    // Halves of very different sizes.
    fn visit(leaves: &[AtomicUsize], skew: usize) {
        match leaves {
            [] => {}
            [leaf] => {
                leaf.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                let (left, right) = leaves.split_at((leaves.len() / skew).max(1));
                join(
                    || visit(left, skew % 5 + 2),
                    || visit(right, (skew + 1) % 5 + 2),
                );
            }
        }
    }
    std::thread::scope(|scope| {
        for skew in 2..6 {
            let (scheduler, leaves) = (&scheduler, &leaves);
            scope.spawn(move || (0..10).for_each(|_| scheduler.install(|| visit(leaves, skew))));
        }
    });
    assert!(leaves.iter().all(|leaf| leaf.load(Ordering::Relaxed) == 40));
}

#[test]
fn a_scheduler_waits_for_another_one() {
    let (outer, inner) = (Scheduler::with_workers(1), Scheduler::with_workers(1));
    assert_eq!(outer.install(|| inner.install(|| outer.num_workers())), 1);
}
