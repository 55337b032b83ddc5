//! Histories: whatever is spawned, cancelled, thrown and shut down, every closure has one end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pepita_sched::pool::Shutdown;
use pepita_sched::scheduler::{JoinError, JoinHandle, Scheduler, scope};
use pepita_sched::task::Priority;
use proptest::prelude::*;

fn add_to(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// What is done with one closure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Spawn(Priority),
    Detach,
    Cancel,
    DropHandle,
    Panic,
    /// Spawns as many from inside, and waits for them.
    Inside(usize),
    /// A scope with as many jobs.
    Scope(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![
        Just(Priority::Low),
        Just(Priority::Normal),
        Just(Priority::High)
    ];
    prop_oneof![
        priority.prop_map(Step::Spawn),
        Just(Step::Detach),
        Just(Step::Cancel),
        Just(Step::DropHandle),
        Just(Step::Panic),
        (1..20_usize).prop_map(Step::Inside),
        (1..20_usize).prop_map(Step::Scope),
    ]
}

/// How often a closure was run, and how often dropped; the second happens after a run too.
#[derive(Debug, Default)]
struct Counts {
    ran: AtomicUsize,
    dropped: AtomicUsize,
}

/// Captured by a closure.
struct Ends(Arc<Counts>);

impl Ends {
    fn run(&self) {
        self.0.ran.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was spawned: its counts, its handle if that was kept, whether its cancellation was heard.
struct Spawned {
    counts: Arc<Counts>,
    handle: Option<JoinHandle<()>>,
    is_cancelled: bool,
}

fn begin(scheduler: &Arc<Scheduler>, step: Step) -> Spawned {
    let counts = Arc::new(Counts::default());
    let ends = Ends(counts.clone());
    let mut is_cancelled = false;
    let handle = match step {
        Step::Spawn(priority) => Some(scheduler.spawn_at(priority, move || ends.run())),
        Step::Detach => {
            scheduler.spawn_detached(move || ends.run());
            None
        }
        Step::Cancel => {
            let handle = scheduler.spawn(move || ends.run());
            is_cancelled = handle.cancel();
            Some(handle)
        }
        Step::DropHandle => {
            drop(scheduler.spawn(move || ends.run()));
            None
        }
        Step::Panic => Some(scheduler.spawn(move || {
            ends.run();
            panic!("as it should")
        })),
        Step::Inside(count) => {
            // Weak, so that the last owner is the test.
            let inner = Arc::downgrade(scheduler);
            Some(scheduler.spawn(move || {
                let inner = inner.upgrade();
                let ran = Arc::new(AtomicUsize::new(0));
                let spawn = |_| {
                    let ran = ran.clone();
                    let add = move || add_to(&ran);
                    inner.as_ref().map(|inner| inner.spawn(add))
                };
                let handles: Vec<_> = (0..count).filter_map(spawn).collect();
                let spawned = handles.len();
                handles
                    .into_iter()
                    .for_each(|handle| handle.wait().unwrap());
                assert_eq!(ran.load(Ordering::Relaxed), spawned);
                ends.run();
            }))
        }
        Step::Scope(count) => Some(scheduler.spawn(move || {
            let ran = AtomicUsize::new(0);
            scope(|scope| {
                (0..count).for_each(|_| scope.spawn(|_| add_to(&ran)));
            });
            assert_eq!(ran.into_inner(), count);
            ends.run();
        })),
    };
    Spawned {
        counts,
        handle,
        is_cancelled,
    }
}

fn check(workers: usize, steps: &[Step], end: Option<Shutdown>) {
    let scheduler = Arc::new(Scheduler::with_workers(workers));
    let all: Vec<Spawned> = steps.iter().map(|step| begin(&scheduler, *step)).collect();
    let mut shared = scheduler;
    let scheduler = loop {
        match Arc::try_unwrap(shared) {
            Ok(scheduler) => break scheduler,
            // A closure inside has it for a moment.
            Err(again) => shared = again,
        }
        std::thread::yield_now();
    };
    match end {
        Some(how) => scheduler.shutdown(how),
        None => drop(scheduler),
    }
    for (step, spawned) in steps.iter().zip(all) {
        let outcome = spawned.handle.map(JoinHandle::wait);
        let ran = spawned.counts.ran.load(Ordering::Relaxed);
        match outcome {
            Some(Ok(())) => assert_eq!((ran, spawned.is_cancelled), (1, false), "{step:?}"),
            Some(Err(JoinError::Panicked { message })) => {
                assert_eq!((*step, ran), (Step::Panic, 1), "{message}");
            }
            Some(Err(JoinError::Cancelled)) => {
                assert_eq!((ran, spawned.is_cancelled), (0, true), "{step:?}");
            }
            Some(Err(error)) => {
                assert_eq!((ran, end), (0, Some(Shutdown::Abort)), "{step:?}: {error}");
            }
            None if end == Some(Shutdown::Abort) => assert!(ran <= 1, "{step:?}"),
            None => assert_eq!(ran, 1, "{step:?}"),
        }
        let dropped = spawned.counts.dropped.load(Ordering::Relaxed);
        assert_eq!(dropped, 1, "{step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn every_closure_has_one_end_whatever_is_stolen_cancelled_thrown_or_shut_down(
        workers in 1..6_usize,
        steps in prop::collection::vec(step(), 0..60),
        end in prop_oneof![Just(None), Just(Some(Shutdown::Drain)), Just(Some(Shutdown::Abort))],
    ) {
        check(workers, &steps, end);
    }
}
