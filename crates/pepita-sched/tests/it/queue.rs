//! The bound on closures that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use pepita_sched::scheduler::{JoinHandle, Scheduler};

fn bounded(workers: usize, capacity: usize) -> Scheduler {
    let builder = Scheduler::builder().workers(workers);
    builder.queue_capacity(capacity).start().unwrap()
}

/// Occupies one worker; it has begun when this returns, and ends when the sender is dropped.
fn occupy(scheduler: &Scheduler) -> (Sender<()>, JoinHandle<()>) {
    let (begun, has_begun) = channel();
    let (sender, receiver): (Sender<()>, Receiver<()>) = channel();
    let closure = scheduler.spawn(move || {
        begun.send(()).unwrap();
        // An error: the sender is gone.
        receiver.recv().unwrap_err();
    });
    has_begun.recv().unwrap();
    (sender, closure)
}

#[test]
fn a_full_queue_gives_the_closure_back_until_a_worker_has_begun_one() {
    let scheduler = bounded(1, 2);
    let (occupied, closure) = occupy(&scheduler);
    let waiting: Vec<_> = (0..2)
        .map(|number| scheduler.try_spawn(move || number).unwrap())
        .collect();
    let full = scheduler.try_spawn(|| 7).unwrap_err();
    assert_eq!(full.to_string(), "the queue is full: 2 closures wait");
    assert_eq!(((full.closure)(), full.capacity), (7, 2));
    // Who cancels makes no room: the closure lies there still.
    assert!(waiting[0].cancel());
    assert!(scheduler.try_spawn(|| ()).is_err());
    drop(occupied);
    closure.wait().unwrap();
    let mut results = waiting.into_iter().map(JoinHandle::wait);
    assert!(results.next().unwrap().is_err());
    assert_eq!(results.next(), Some(Ok(1)));
    assert_eq!(scheduler.spawn(|| 3).wait(), Ok(3));
}

#[test]
fn who_spawns_into_a_full_queue_waits_for_room() {
    const WORKERS: usize = 2;
    const CAPACITY: usize = 3;
    let scheduler = bounded(WORKERS, CAPACITY);
    let begun = Arc::new(AtomicUsize::new(0));
    for spawned in 1..=2000 {
        let begun_there = begun.clone();
        let count = move || {
            begun_there.fetch_add(1, Ordering::SeqCst);
        };
        match spawned % 3 {
            0 => scheduler.spawn_detached(count),
            1 => drop(scheduler.spawn(count)),
            _ => drop(scheduler.spawn_at(pepita_sched::task::Priority::High, count)),
        }
        // Each worker may have left the queue with one that it has not counted yet.
        let waiting = spawned - begun.load(Ordering::SeqCst);
        assert!(waiting <= CAPACITY + WORKERS, "{waiting}");
    }
    drop(scheduler);
    assert_eq!(begun.load(Ordering::SeqCst), 2000);
}

#[test]
fn a_worker_never_waits_to_spawn() {
    let scheduler = Arc::new(bounded(1, 1));
    let inside = Arc::downgrade(&scheduler);
    let outer = scheduler.spawn(move || {
        let scheduler = inside.upgrade().unwrap();
        let closures: Vec<_> = (0..100)
            .map(|number| scheduler.spawn(move || number))
            .collect();
        assert!(scheduler.try_spawn(|| ()).is_ok());
        closures
            .into_iter()
            .map(|closure| closure.wait().unwrap())
            .sum::<u32>()
    });
    assert_eq!(outer.wait(), Ok(4950));
}

#[test]
fn a_queue_without_a_bound_takes_every_closure() {
    let scheduler = Scheduler::with_workers(1);
    let (occupied, _closure) = occupy(&scheduler);
    let closures: Vec<_> = (0..1000)
        .map(|number| scheduler.try_spawn(move || number).unwrap())
        .collect();
    drop(occupied);
    let sum: u32 = closures
        .into_iter()
        .map(|closure| closure.wait().unwrap())
        .sum();
    assert_eq!(sum, 499_500);
}
