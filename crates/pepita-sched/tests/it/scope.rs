//! Scopes, and what is spawned in them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pepita_sched::scheduler::{Scheduler, Scope, WorkerId, join, scope};

fn add_to(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// What a panic said.
fn words<R>(work: impl FnOnce() -> R) -> Option<&'static str> {
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    panic.downcast_ref().copied()
}

#[test]
fn every_job_of_a_scope_has_ended_when_it_returns() {
    for workers in [1, 2, 3, 20] {
        let scheduler = Scheduler::with_workers(workers);
        for _ in 0..20 {
            let mut numbers = vec![0_usize; 1000];
            scheduler.scope(|scope| {
                for (index, number) in numbers.iter_mut().enumerate() {
                    scope.spawn(move |_| *number = index);
                }
            });
            assert!(
                numbers
                    .iter()
                    .enumerate()
                    .all(|(index, number)| index == *number)
            );
        }
    }
}

#[test]
fn jobs_spawn_jobs_in_the_same_scope() {
    fn spread<'a>(scope: &Scope<'a>, count: &'a AtomicUsize, depth: u32) {
        count.fetch_add(1, Ordering::Relaxed);
        if depth > 0 {
            for _ in 0..2 {
                scope.spawn(move |scope| spread(scope, count, depth - 1));
            }
        }
    }
    let scheduler = Scheduler::with_workers(3);
    for _ in 0..20 {
        let count = AtomicUsize::new(0);
        scheduler.scope(|scope| spread(scope, &count, 10));
        assert_eq!(count.into_inner(), (1 << 11) - 1);
    }
}

/// The newest come first, also of those that are too many for a worker's deque: else they would wait by levels.
#[test]
fn a_wide_tree_of_jobs_does_not_wait_by_levels() {
    const WIDTH: usize = 300;
    const LEVELS: u32 = 2;
    #[derive(Default)]
    struct Pending {
        now: AtomicUsize,
        most: AtomicUsize,
    }
    fn spread<'a>(scope: &Scope<'a>, pending: &'a Pending, level: u32) {
        if level < LEVELS {
            let now = pending.now.fetch_add(WIDTH, Ordering::Relaxed) + WIDTH;
            pending.most.fetch_max(now, Ordering::Relaxed);
            for _ in 0..WIDTH {
                scope.spawn(move |scope| {
                    pending.now.fetch_sub(1, Ordering::Relaxed);
                    spread(scope, pending, level + 1);
                });
            }
        }
    }
    let pending = Pending::default();
    Scheduler::with_workers(1).scope(|scope| spread(scope, &pending, 0));
    let most = pending.most.into_inner();
    assert!(most <= WIDTH * LEVELS as usize, "{most} jobs wait");
}

#[test]
fn scopes_and_joins_nest_in_any_order() {
    fn visit(count: &AtomicUsize, depth: u32) {
        if depth == 0 {
            count.fetch_add(1, Ordering::Relaxed);
        } else if depth.is_multiple_of(2) {
            scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|_| visit(count, depth - 1));
                }
            });
        } else {
            join(|| visit(count, depth - 1), || visit(count, depth - 1));
        }
    }
    for workers in [1, 2, 4] {
        let scheduler = Scheduler::with_workers(workers);
        let count = AtomicUsize::new(0);
        scheduler.install(|| visit(&count, 10));
        assert_eq!(count.into_inner(), 6_usize.pow(5));
    }
}

#[test]
fn a_job_of_an_outer_scope_that_is_spawned_in_an_inner_one_ends_before_the_outer_does() {
    for workers in [1, 2] {
        let scheduler = Scheduler::with_workers(workers);
        for _ in 0..100 {
            let count = AtomicUsize::new(0);
            let add = |_: &Scope<'_>| add_to(&count);
            scheduler.scope(|outer| {
                outer.spawn(|outer| {
                    scope(|inner| {
                        inner.spawn(add);
                        outer.spawn(add);
                        inner.spawn(add);
                    });
                });
            });
            assert_eq!(count.load(Ordering::Relaxed), 3);
        }
    }
}

#[test]
fn outside_of_workers_the_calling_thread_runs_all() {
    let here = std::thread::current().id();
    let ran = AtomicUsize::new(0);
    scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|scope| {
                assert_eq!(std::thread::current().id(), here);
                scope.spawn(|_| add_to(&ran));
            });
        }
    });
    assert_eq!(ran.into_inner(), 10);
}

#[test]
fn a_job_that_another_thread_spawns_wakes_who_waits() {
    for workers in [0, 1, 2] {
        let scheduler = (workers > 0).then(|| Scheduler::with_workers(workers));
        let ran = AtomicUsize::new(0);
        let body = || {
            scope(|outer| {
                outer.spawn(|outer| {
                    std::thread::scope(|threads| {
                        for _ in 0..4 {
                            threads.spawn(|| {
                                outer.spawn(|_| add_to(&ran));
                            });
                        }
                    });
                });
            });
        };
        for _ in 0..50 {
            match &scheduler {
                Some(scheduler) => scheduler.install(body),
                None => body(),
            }
        }
        assert_eq!(ran.into_inner(), 200);
    }
}

#[test]
fn the_first_panic_comes_out_when_all_jobs_have_ended() {
    let scheduler = Scheduler::with_workers(2);
    for _ in 0..100 {
        let ended = AtomicUsize::new(0);
        let said = words(|| {
            scheduler.scope(|scope| {
                for index in 0..10 {
                    let ended = &ended;
                    scope.spawn(move |_| {
                        ended.fetch_add(1, Ordering::Relaxed);
                        assert!(index % 5 != 0, "a job");
                    });
                }
            });
        });
        assert_eq!((said, ended.into_inner()), (Some("a job"), 10));
        let ended = AtomicBool::new(false);
        let said = words(|| {
            scheduler.scope(|scope| {
                scope.spawn(|_| ended.store(true, Ordering::Relaxed));
                scope.spawn(|_| panic!("a job"));
                panic!("the body")
            })
        });
        assert_eq!((said, ended.into_inner()), (Some("the body"), true));
    }
}

/// rayon's issue 592, with scopes.
#[test]
fn who_waits_in_a_scope_runs_no_other_work_that_wants_its_lock() {
    for workers in [1, 2] {
        let scheduler = Arc::new(Scheduler::with_workers(workers));
        let lock = Arc::new(Mutex::new(0));
        for _ in 0..50 {
            let (inner, inner_lock) = (scheduler.clone(), lock.clone());
            let handle = scheduler.spawn(move || {
                let mut handles = Vec::new();
                scope(|outer| {
                    let mut guard = inner_lock.lock().unwrap();
                    // Neither a closure of the scheduler nor a job of the outer scope may come on top of this.
                    outer.spawn(|_| *inner_lock.lock().unwrap() += 1);
                    for _ in 0..4 {
                        let lock = inner_lock.clone();
                        handles.push(inner.spawn(move || *lock.lock().unwrap() += 1));
                    }
                    scope(|within| {
                        (0..10).for_each(|_| within.spawn(|_| std::thread::yield_now()))
                    });
                    *guard += 1;
                });
                handles
            });
            for handle in handle.wait().unwrap() {
                handle.wait().unwrap();
            }
        }
        assert_eq!(*lock.lock().unwrap(), 300);
    }
}

#[test]
fn who_waits_for_a_job_helps_with_its_joins() {
    /// Gives up after a minute, so that the test fails rather than goes on for ever.
    fn until(is_done: &AtomicBool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_done.load(Ordering::Acquire) && Instant::now() < end {
            join(|| (), || ());
        }
    }
    let scheduler = Scheduler::with_workers(2);
    for round in 0..50 {
        // The other worker takes the only job, in which the second half of a join needs somebody else: the owner.
        let (is_taken, is_helped) = (AtomicBool::new(false), AtomicBool::new(false));
        let (job, half) = (Mutex::new(None), Mutex::new(None));
        scheduler.scope(|scope| {
            scope.spawn(|_| {
                *job.lock().unwrap() = WorkerId::current();
                is_taken.store(true, Ordering::Release);
                if round % 5 == 0 {
                    // Long enough for the owner to sleep, mostly.
                    std::thread::sleep(Duration::from_millis(5));
                }
                join(
                    || until(&is_helped),
                    || {
                        *half.lock().unwrap() = WorkerId::current();
                        is_helped.store(true, Ordering::Release);
                    },
                );
            });
            while !is_taken.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
        assert_ne!(job.into_inner().unwrap(), half.into_inner().unwrap());
    }
}

#[test]
fn ten_times_more_workers_than_cores_run_every_job_once() {
    fn spread<'a>(scope: &Scope<'a>, cells: &'a [AtomicUsize], skew: usize) {
        match cells {
            [] => {}
            [cell] => add_to(cell),
            _ => {
                let (left, right) = cells.split_at((cells.len() / skew).max(1));
                scope.spawn(move |scope| spread(scope, left, skew % 5 + 2));
                scope.spawn(move |scope| spread(scope, right, (skew + 1) % 5 + 2));
            }
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let scheduler = Scheduler::with_workers(10 * cores);
    let cells: Vec<AtomicUsize> = (0..5000).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|threads| {
        for skew in 2..6 {
            let (scheduler, cells) = (&scheduler, &cells);
            let run = move || scheduler.scope(|scope| spread(scope, cells, skew));
            threads.spawn(move || (0..10).for_each(|_| run()));
        }
    });
    assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 40));
}

#[test]
fn more_jobs_than_a_worker_keeps_run_once_whether_they_are_long_or_short() {
    let scheduler = Scheduler::with_workers(4);
    let cells: Vec<AtomicUsize> = (0..20_000).map(|_| AtomicUsize::new(0)).collect();
    for _ in 0..5 {
        scheduler.scope(|scope| {
            for (number, cell) in cells.iter().enumerate() {
                scope.spawn(move |scope| {
                    // Some take so long that those which were taken together with them go back.
                    let turns = if number % 1000 == 0 { 100_000 } else { 0 };
                    (0..turns).for_each(|turn| _ = std::hint::black_box(turn));
                    if number % 2 == 0 {
                        scope.spawn(move |_| add_to(cell));
                    } else {
                        add_to(cell);
                    }
                });
            }
        });
    }
    assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 5));
}
