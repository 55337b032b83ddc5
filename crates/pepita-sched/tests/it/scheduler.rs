//! The scheduler below the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use pepita_sched::pool::Shutdown;
use pepita_sched::scheduler::{Scheduler, WorkerId};
use pepita_sched::task::{Priority, Task};

#[test]
fn every_closure_runs_once_from_inside_and_outside() {
    let scheduler = Arc::new(Scheduler::with_workers(3));
    let ran = Arc::new(AtomicUsize::new(0));
    let spawn_hundred = |scheduler: Arc<Scheduler>, ran: Arc<AtomicUsize>| {
        let count = move || {
            let ran = ran.clone();
            scheduler.spawn(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            })
        };
        let handles: Vec<_> = (0..100).map(|_| count()).collect();
        handles
            .into_iter()
            .for_each(|handle| handle.wait().unwrap());
    };
    let outer: Vec<_> = (0..100)
        .map(|_| {
            let (inside, ran) = (scheduler.clone(), ran.clone());
            scheduler.spawn(move || spawn_hundred(inside, ran))
        })
        .collect();
    outer.into_iter().for_each(|handle| handle.wait().unwrap());
    assert_eq!(ran.load(Ordering::Relaxed), 10_000);
}

#[test]
fn more_closures_than_a_worker_keeps_run_once_in_a_drain_and_at_most_once_in_an_abort() {
    for how in [Shutdown::Drain, Shutdown::Abort] {
        let scheduler = Arc::new(Scheduler::with_workers(3));
        let (ran, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let spawner = scheduler.spawn({
            let (scheduler, ran, held) = (scheduler.clone(), ran.clone(), held.clone());
            move || {
                for _ in 0..10_000 {
                    let (ran, held) = (ran.clone(), held.clone());
                    scheduler.spawn_detached(move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        drop(held);
                    });
                }
            }
        });
        spawner.wait().unwrap();
        // The spawner's captures go with it.
        let scheduler = loop {
            if Arc::strong_count(&scheduler) == 1 {
                break Arc::into_inner(scheduler).unwrap();
            }
            std::thread::yield_now();
        };
        scheduler.shutdown(how);
        let ran = ran.load(Ordering::Relaxed);
        assert!(ran == 10_000 || (how == Shutdown::Abort && ran < 10_000));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn dropping_a_scheduler_runs_what_it_was_given() {
    let ran = Arc::new(AtomicUsize::new(0));
    let scheduler = Scheduler::with_workers(2);
    for _ in 0..1000 {
        let ran = ran.clone();
        drop(scheduler.spawn(move || ran.fetch_add(1, Ordering::Relaxed)));
    }
    drop(scheduler);
    assert_eq!(ran.load(Ordering::Relaxed), 1000);
}

#[test]
fn a_panic_is_the_result_of_its_closure_alone() {
    let scheduler = Scheduler::with_workers(1);
    let error = scheduler.spawn(|| panic!("ouch")).wait().unwrap_err();
    assert_eq!(error.to_string(), "a closure on a worker panicked: ouch");
    assert_eq!(scheduler.spawn(|| 1).wait(), Ok(1));
}

#[test]
fn a_closure_knows_its_worker_and_a_thread_outside_has_none() {
    let scheduler = Scheduler::with_workers(2);
    assert_eq!(WorkerId::current(), None);
    let worker = scheduler.spawn(WorkerId::current).wait().unwrap().unwrap();
    assert!(worker.index() < scheduler.num_workers());
}

#[test]
fn what_waits_and_what_runs_is_counted() {
    let scheduler = Scheduler::with_workers(1);
    let (opener, gate) = channel::<()>();
    let (sender, started) = channel();
    let first = scheduler.spawn(move || {
        sender.send(()).unwrap();
        gate.recv().unwrap();
    });
    started.recv().unwrap();
    let second = scheduler.spawn(|| ());
    assert_eq!(
        (scheduler.pending_tasks(), scheduler.worker_loads()),
        (1, vec![1])
    );
    opener.send(()).unwrap();
    assert!(first.wait().is_ok() && second.wait().is_ok());
    assert_eq!(scheduler.pending_tasks(), 0);
}

#[test]
fn a_scheduler_runs_tasks_and_says_what_it_cannot_run() {
    let scheduler = Scheduler::with_workers(1);
    let handle = scheduler.submit(Task::binary("echo").arg("hi").build().unwrap());
    assert_eq!(handle.wait().unwrap().stdout_string(), "hi\n");
    let gpu = Task::function(|_| ()).backend(pepita_sched::executor::Backend::Gpu);
    let error = scheduler.submit(gpu.build().unwrap()).wait().unwrap_err();
    assert!(error.to_string().contains("backend gpu"), "{error}");
}

/// Where a closure of normal priority waits.
#[derive(Debug, Clone, Copy)]
enum Place {
    Deque,
    /// For what is too much for the deque.
    Backlog,
    /// From outside.
    Outside,
    /// From outside, in order.
    Ordered,
}

/// Each place but one goes on having closures; how many of them run before the one that waits there?
fn runs_before(place: Place) -> usize {
    const FLOOD: usize = 20_000;
    fn again(scheduler: &Arc<Scheduler>, ran: Arc<AtomicUsize>, left: usize) {
        ran.fetch_add(1, Ordering::Relaxed);
        if left > 0 {
            let inner = scheduler.clone();
            scheduler.spawn_detached(move || again(&inner, ran, left - 1));
        }
    }
    let scheduler = Arc::new(Scheduler::with_workers(1));
    let ran = Arc::new(AtomicUsize::new(0));
    let count = || {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (sender, receiver) = channel();
    let waits = {
        let ran = ran.clone();
        move || sender.send(ran.load(Ordering::Relaxed)).unwrap()
    };
    let (opener, gate) = channel::<()>();
    let (inner, counts) = (scheduler.clone(), ran.clone());
    let begins = move |before: usize, waits: Option<_>| {
        gate.recv().unwrap();
        (0..before).for_each(|_| inner.spawn_detached(|| ()));
        waits
            .into_iter()
            .for_each(|waits| inner.spawn_detached(waits));
        again(&inner, counts, FLOOD);
    };
    match place {
        Place::Deque => scheduler.spawn_detached(move || begins(0, Some(waits))),
        Place::Backlog => scheduler.spawn_detached(move || begins(300, Some(waits))),
        Place::Outside | Place::Ordered => {
            let nothing = waits.clone();
            scheduler.spawn_detached(move || begins(0, Some(nothing).filter(|_| false)));
            match place {
                Place::Ordered => drop(scheduler.spawn_at(Priority::Normal, waits)),
                _ => scheduler.spawn_detached(waits),
            }
        }
    }
    for _ in 0..FLOOD {
        scheduler.spawn_detached(count());
        drop(scheduler.spawn_at(Priority::Normal, count()));
    }
    opener.send(()).unwrap();
    receiver.recv().unwrap()
}

#[test]
fn no_closure_starves_below_or_beside_others() {
    for place in [Place::Deque, Place::Backlog, Place::Outside, Place::Ordered] {
        let before = runs_before(place);
        assert!(before < 5000, "{place:?}: {before} closures come first");
    }
}

/// A worker that went to sleep while the scheduler stopped once took the wake-up of another one.
#[test]
fn a_scheduler_that_is_dropped_wakes_every_worker() {
    for workers in [2, 3, 4] {
        for round in 0..2000_u32 {
            let scheduler = Scheduler::with_workers(workers);
            let handles: Vec<_> = (0..workers).map(|_| scheduler.spawn(|| ())).collect();
            handles
                .into_iter()
                .for_each(|handle| handle.wait().unwrap());
            // The workers are somewhere between searching and asleep.
            (0..(round % 64) * 20).for_each(|_| std::hint::spin_loop());
            drop(scheduler);
        }
    }
}
