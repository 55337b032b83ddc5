//! The settings of a scheduler's workers, and what they say of themselves.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use pepita_sched::executor::CancelToken;
use pepita_sched::scheduler::{JoinError, Scheduler, SchedulerBuildError, Terms, scope};
use pepita_sched::task::Priority;
use rustix::thread::{CpuSet, sched_getaffinity};

/// Runs `work` on every one of `workers` workers.
fn on_each<R: Send + 'static>(
    scheduler: &Scheduler,
    workers: usize,
    work: impl Fn() -> R + Send + Sync + 'static,
) -> Vec<R> {
    let (all, work) = (Arc::new(Barrier::new(workers)), Arc::new(work));
    let spawn = |_| {
        let (all, work) = (all.clone(), work.clone());
        scheduler.spawn(move || {
            all.wait();
            work()
        })
    };
    let handles: Vec<_> = (0..workers).map(spawn).collect();
    handles
        .into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect()
}

fn cpus(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

#[test]
fn workers_have_the_name_that_was_set() {
    let scheduler = Scheduler::builder()
        .workers(3)
        .name("sieve")
        .start()
        .unwrap();
    let names = on_each(&scheduler, 3, || {
        thread::current().name().map(str::to_owned)
    });
    let names: HashSet<_> = names.into_iter().flatten().collect();
    assert_eq!(
        names,
        ["sieve-0", "sieve-1", "sieve-2"].map(str::to_owned).into()
    );
}

/// More than the standard library's 2 MiB.
const LARGE: usize = 24 << 20;

#[test]
fn a_closure_may_use_the_stack_that_was_set() {
    #[inline(never)]
    fn deep(levels: usize) -> usize {
        let room = black_box([levels; 8192]);
        if levels == 0 {
            0
        } else {
            deep(levels - 1) + usize::from(room[levels % 8192] == levels)
        }
    }
    let levels = LARGE / size_of::<[usize; 8192]>();
    let builder = Scheduler::builder().workers(1).stack_bytes(LARGE * 3);
    let closure = builder.start().unwrap().spawn(move || deep(levels));
    assert_eq!(closure.wait(), Ok(levels));
}

#[test]
fn pinned_workers_share_out_the_cpus_of_who_starts_them() {
    let allowed = cpus(&sched_getaffinity(None).unwrap());
    let workers = allowed.len() + 1;
    let scheduler = Scheduler::builder()
        .workers(workers)
        .pinned()
        .start()
        .unwrap();
    let bound = on_each(&scheduler, workers, || {
        sched_getaffinity(None).map(|set| cpus(&set))
    });
    let mut bound: Vec<usize> = bound.into_iter().flat_map(Result::unwrap).collect();
    bound.sort_unstable();
    let mut wanted = allowed;
    wanted.push(wanted[0]);
    wanted.sort_unstable();
    assert_eq!(bound, wanted);
}

#[test]
fn what_cannot_be_is_refused() {
    let none = Scheduler::builder().workers(0).start();
    assert!(matches!(none, Err(SchedulerBuildError::NoWorkers)));
    let full = Scheduler::builder().queue_capacity(0).start();
    assert!(matches!(full, Err(SchedulerBuildError::NoCapacity)));
    let name = Scheduler::builder().name("a\0b").start();
    assert!(matches!(name, Err(SchedulerBuildError::Name { name }) if name == "a\0b"));
    let stack = Scheduler::builder()
        .workers(1)
        .stack_bytes(usize::MAX / 4)
        .start();
    assert!(matches!(stack, Err(SchedulerBuildError::Thread(_))));
}

#[test]
fn metrics_count_what_workers_run_and_steal_and_how_often_they_sleep() {
    let scheduler = Arc::new(Scheduler::with_workers(2));
    let closures: Vec<_> = (0..50)
        .map(|number| scheduler.spawn(move || number))
        .collect();
    closures
        .into_iter()
        .for_each(|closure| assert!(closure.wait().is_ok()));
    assert_eq!(scheduler.metrics().tasks(), 50);
    // The body is one more.
    scheduler.scope(|scope| (0..30).for_each(|_| scope.spawn(|_| ())));
    assert_eq!(scheduler.metrics().tasks(), 81);
    // What a worker spawns and does not come to run is stolen, whether detached or of a scope.
    let stolen = |detached: bool| {
        let before = scheduler.metrics().steals();
        let inner = scheduler.clone();
        scheduler.install(move || {
            let ran = Arc::new(AtomicBool::new(false));
            let until_ran = || {
                while !ran.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            };
            let set = {
                let ran = ran.clone();
                move || ran.store(true, Ordering::Release)
            };
            if detached {
                inner.spawn_detached(set);
                until_ran();
            } else {
                scope(|scope| {
                    scope.spawn(move |_| set());
                    until_ran();
                });
            }
        });
        scheduler.metrics().steals() - before
    };
    assert_eq!([stolen(true), stolen(false)], [1, 1]);
    while scheduler.metrics().parks() < 2 {
        thread::yield_now();
    }
    let metrics = scheduler.metrics();
    assert_eq!(metrics.tasks(), 85);
    assert_eq!((metrics.queued, metrics.workers.len()), (0, 2));
}

#[test]
fn a_closure_runs_on_its_terms_or_is_dropped() {
    let scheduler = Scheduler::with_workers(1);
    let (opener, gate) = channel::<()>();
    let (begins, begun) = channel();
    let busy = scheduler.spawn(move || {
        begins.send(()).unwrap();
        gate.recv()
    });
    begun.recv().unwrap();
    let token = CancelToken::new();
    let soon = Instant::now() + Duration::from_millis(2);
    let held = Arc::new(());
    let spawn = |terms: Terms| {
        let held = held.clone();
        scheduler.spawn_on(&terms, move || drop(held))
    };
    let cancelled = spawn(Terms::new().cancelled_by(&token));
    let late = spawn(Terms::new().deadline(soon));
    let both = spawn(Terms::new().deadline(soon).cancelled_by(&token));
    let (sender, ran) = channel();
    let spawn_at = |priority| {
        let sender = sender.clone();
        let terms = Terms::new()
            .priority(priority)
            .cancelled_by(&CancelToken::new());
        let terms = terms.deadline(Instant::now() + Duration::from_secs(3600));
        scheduler.spawn_on(&terms, move || sender.send(priority).unwrap())
    };
    let in_time = [Priority::Low, Priority::High].map(spawn_at);
    token.cancel();
    while Instant::now() < soon {
        thread::yield_now();
    }
    opener.send(()).unwrap();
    assert!(busy.wait().is_ok());
    assert_eq!(cancelled.wait(), Err(JoinError::Cancelled));
    assert_eq!(late.wait(), Err(JoinError::Late));
    assert_eq!(both.wait(), Err(JoinError::Cancelled));
    assert_eq!(in_time.map(|closure| closure.wait()), [Ok(()), Ok(())]);
    assert!(ran.try_iter().eq([Priority::High, Priority::Low]));
    assert_eq!(Arc::strong_count(&held), 1);
    // A token that is cancelled later is the closure's own affair.
    let token = CancelToken::new();
    let (its, terms) = (token.clone(), Terms::new().cancelled_by(&token));
    let closure = scheduler.spawn_on(&terms, move || {
        its.cancel();
        its.is_cancelled()
    });
    assert_eq!(closure.wait(), Ok(true));
}
