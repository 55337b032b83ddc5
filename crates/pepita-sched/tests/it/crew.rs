//! The number of workers: blocking sections, and changes while they run.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;

use pepita_sched::pool::Shutdown;
use pepita_sched::scheduler::{
    JoinHandle, ResizeError, Scheduler, SchedulerBuildError, WorkerId, blocking, join, scope,
};
use pepita_sched::task::Task;

fn start(workers: usize, most: usize) -> Scheduler {
    let builder = Scheduler::builder().workers(workers);
    builder.max_workers(most).start().unwrap()
}

fn add_to(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// So many closures wait for each other: each has a worker.
fn meet(scheduler: &Scheduler, count: usize) {
    let all = Arc::new(Barrier::new(count));
    let spawn = |_| {
        let all = all.clone();
        scheduler.spawn(move || {
            all.wait();
        })
    };
    let closures: Vec<_> = (0..count).map(spawn).collect();
    closures
        .into_iter()
        .for_each(|closure| closure.wait().unwrap());
}

/// The workers that run closures from now on.
fn at_work(scheduler: &Scheduler) -> BTreeSet<WorkerId> {
    let spawn = |_| {
        scheduler.spawn(|| {
            thread::yield_now();
            WorkerId::current().unwrap()
        })
    };
    let closures: Vec<_> = (0..100).map(spawn).collect();
    closures
        .into_iter()
        .map(|closure| closure.wait().unwrap())
        .collect()
}

/// Those that are too many go soon, not at once.
fn comes_down_to_one(scheduler: &Scheduler) -> bool {
    (0..10_000).any(|_| at_work(scheduler).len() == 1)
}

#[test]
fn each_blocking_section_lends_a_slot_while_there_are_workers_to_spare() {
    let scheduler = start(1, 4);
    let (all, there) = (Arc::new(Barrier::new(4)), channel());
    let sections: Vec<_> = (0..3)
        .map(|_| {
            let (all, there) = (all.clone(), there.0.clone());
            scheduler.spawn(move || {
                blocking(|| {
                    there.send(()).unwrap();
                    // A section within one is nothing more.
                    blocking(|| all.wait());
                });
            })
        })
        .collect();
    // All three are in their sections, and the fourth is free.
    there.1.iter().take(3).for_each(drop);
    assert_eq!(scheduler.spawn(|| 5).wait(), Ok(5));
    all.wait();
    sections
        .into_iter()
        .for_each(|section| section.wait().unwrap());
    assert!(comes_down_to_one(&scheduler));
}

#[test]
fn a_section_that_panics_ends_too() {
    let scheduler = start(1, 2);
    for _ in 0..20 {
        let section = scheduler.spawn(|| blocking(|| panic!("as it should")));
        assert!(section.wait().is_err());
        let (sender, receiver) = channel();
        let waits = scheduler.spawn(move || blocking(|| receiver.recv().unwrap()));
        scheduler.spawn_detached(move || sender.send(3).unwrap());
        assert_eq!(waits.wait(), Ok(3));
    }
    assert!(comes_down_to_one(&scheduler));
}

#[test]
fn without_workers_to_spare_and_outside_of_a_scheduler_a_section_is_just_run() {
    assert_eq!(blocking(|| 1), 1);
    let scheduler = Scheduler::with_workers(1);
    assert_eq!(scheduler.install(|| blocking(|| 2)), 2);
    assert_eq!(at_work(&scheduler).len(), 1);
}

#[test]
fn the_second_half_of_a_join_goes_to_another_worker_when_the_first_blocks() {
    let scheduler = start(1, 2);
    for _ in 0..50 {
        let (sender, receiver) = channel();
        let first = move || blocking(|| receiver.recv().unwrap());
        let (got, ()) = scheduler.install(|| join(first, || sender.send(7).unwrap()));
        assert_eq!(got, 7);
    }
}

#[test]
fn jobs_of_a_scope_that_lie_with_one_that_blocks_are_run_by_others() {
    const JOBS: usize = 200;
    let scheduler = start(2, 3);
    for blocked in (0..JOBS).step_by(7) {
        let others = AtomicUsize::new(0);
        scheduler.scope(|scope| {
            for job in 0..JOBS {
                let others = &others;
                scope.spawn(move |_| {
                    if job == blocked {
                        blocking(|| {
                            while others.load(Ordering::Acquire) < JOBS - 1 {
                                thread::yield_now();
                            }
                        });
                    } else {
                        others.fetch_add(1, Ordering::Release);
                    }
                });
            }
        });
    }
}

#[test]
fn as_many_closures_run_at_once_as_was_asked_for_last() {
    let scheduler = start(1, 3);
    for _ in 0..20 {
        scheduler.resize(3).unwrap();
        assert_eq!(scheduler.num_workers(), 3);
        meet(&scheduler, 3);
        scheduler.resize(2).unwrap();
        meet(&scheduler, 2);
        scheduler.resize(1).unwrap();
        assert!(comes_down_to_one(&scheduler));
    }
}

#[test]
fn a_number_that_cannot_be_changes_nothing() {
    let scheduler = start(2, 3);
    for workers in [0, 4] {
        let error = ResizeError { workers, most: 3 };
        assert_eq!(scheduler.resize(workers), Err(error));
        assert_eq!(scheduler.num_workers(), 2);
    }
    let fewer = Scheduler::builder().workers(3).max_workers(2).start();
    let wanted = SchedulerBuildError::TooManyWorkers { count: 3, most: 2 };
    assert_eq!(fewer.err().unwrap().to_string(), wanted.to_string());
}

#[test]
fn every_closure_runs_once_while_workers_come_and_go() {
    for how in [None, Some(Shutdown::Drain), Some(Shutdown::Abort)] {
        let scheduler = Arc::new(start(2, 5));
        let ran = Arc::new(AtomicUsize::new(0));
        let closure = |number: usize| {
            let (inside, ran) = (Arc::downgrade(&scheduler), ran.clone());
            move || {
                if number.is_multiple_of(11) {
                    blocking(thread::yield_now);
                }
                if number.is_multiple_of(5) {
                    scope(|scope| (0..5).for_each(|_| scope.spawn(|_| thread::yield_now())));
                }
                if number.is_multiple_of(7)
                    && let Some(inside) = inside.upgrade()
                {
                    let ran = ran.clone();
                    inside.spawn_detached(move || add_to(&ran));
                }
                add_to(&ran);
            }
        };
        let mut closures = Vec::new();
        for number in 0..3000 {
            closures.push(scheduler.spawn(closure(number)));
            if number.is_multiple_of(13) {
                scheduler.resize(1 + number % 5).unwrap();
            }
        }
        let closures = match how {
            None => {
                // Nothing else is left, and so nobody else has the scheduler.
                closures.into_iter().for_each(|one| one.wait().unwrap());
                Vec::new()
            }
            Some(_) => closures,
        };
        let mut shared = scheduler;
        let scheduler = loop {
            match Arc::try_unwrap(shared) {
                Ok(scheduler) => break scheduler,
                Err(again) => shared = again,
            }
            thread::yield_now();
        };
        match how {
            None => drop(scheduler),
            Some(how) => scheduler.shutdown(how),
        }
        let done = closures.into_iter().filter(|one| one.is_finished()).count();
        let ran = ran.load(Ordering::Relaxed);
        if how == Some(Shutdown::Abort) {
            assert!(ran <= 3000 + 429);
            assert_eq!(done, 3000);
        } else {
            // When the scheduler goes, closures inside find none to spawn on.
            assert!((3000..=3000 + 429).contains(&ran), "{ran}");
        }
    }
}

#[test]
fn tasks_run_on_workers_that_came_later() {
    let scheduler = start(1, 3);
    scheduler.resize(3).unwrap();
    let task = || Task::function(|_| "done".to_owned()).build().unwrap();
    let handles: Vec<_> = (0..30).map(|_| scheduler.submit(task())).collect();
    for handle in handles {
        assert_eq!(handle.wait().unwrap().stdout_string(), "done");
    }
}

#[test]
fn a_panic_of_a_section_goes_on_in_a_join_and_its_other_half_has_ended() {
    let scheduler = start(1, 2);
    for _ in 0..20 {
        let ended = AtomicUsize::new(0);
        let first = || blocking(|| panic!("as it should"));
        let second = || add_to(&ended);
        let run = || scheduler.install(|| join::<_, _, (), ()>(first, second));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(ended.into_inner() <= 1);
    }
    let handle: JoinHandle<u8> = scheduler.spawn(|| 1);
    assert_eq!(handle.wait(), Ok(1));
}
