//! Schedulers whose order follows from a seed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pepita_sched::scheduler::{
    Scheduler, WorkerId, join, map_reduce, map_reduce_parts, scope, sort_unstable,
};

const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 1000 };

fn seeded(seed: u64) -> Scheduler {
    let builder = Scheduler::builder().workers(7);
    builder.deterministic(seed).start().unwrap()
}

/// What `run` notes, in its order.
fn order(seed: u64, run: impl Fn(&(dyn Fn(usize) + Sync)) + Sync) -> Vec<usize> {
    let seen = Mutex::new(Vec::new());
    let note = |number| seen.lock().unwrap().push(number);
    seeded(seed).install(|| run(&note));
    seen.into_inner().unwrap()
}

fn orders(run: impl Fn(&(dyn Fn(usize) + Sync)) + Sync) -> BTreeSet<Vec<usize>> {
    (0..SEEDS).map(|seed| order(seed, &run)).collect()
}

/// Leaves of joins, jobs of a scope that spawn others, and parts of a loop.
fn everything(note: &(dyn Fn(usize) + Sync)) {
    fn leaves(from: usize, to: usize, note: &(dyn Fn(usize) + Sync)) {
        if to - from == 1 {
            note(from);
        } else {
            let middle = from.midpoint(to);
            join(|| leaves(from, middle, note), || leaves(middle, to, note));
        }
    }
    leaves(0, 16, note);
    scope(|scope| {
        for job in 0..8 {
            scope.spawn(move |scope| {
                note(100 + job);
                scope.spawn(move |_| note(200 + job));
            });
        }
    });
    map_reduce_parts(0..1000, |part| note(1000 + part.start), |(), ()| ());
}

#[test]
fn a_seed_gives_the_same_order_each_time_and_others_give_others() {
    for seed in 0..SEEDS / 10 {
        assert_eq!(order(seed, everything), order(seed, everything));
    }
    assert!(orders(everything).len() as u64 > SEEDS * 9 / 10);
}

#[test]
fn every_choice_that_thieves_leave_comes_with_some_seed() {
    let two = |note: &(dyn Fn(usize) + Sync)| {
        join(|| note(1), || note(2));
    };
    assert_eq!(orders(two), [vec![1, 2], vec![2, 1]].into());
    // The newest or the oldest of those that wait.
    let three = |note: &(dyn Fn(usize) + Sync)| {
        scope(|scope| (1..=3).for_each(|job| scope.spawn(move |_| note(job))));
    };
    let ends = [[3, 2, 1], [3, 1, 2], [1, 3, 2], [1, 2, 3]].map(Vec::from);
    assert_eq!(orders(three), ends.into());
}

#[test]
fn spawned_closures_come_in_the_same_order_each_time() {
    let order = |seed| {
        let scheduler = Arc::new(seeded(seed));
        let seen = Arc::new(Mutex::new(Vec::new()));
        scheduler.install(|| {
            for number in 0..400 {
                let seen = seen.clone();
                scheduler.spawn_detached(move || seen.lock().unwrap().push(number));
            }
        });
        drop(scheduler);
        std::mem::take(&mut *seen.lock().unwrap())
    };
    let all: BTreeSet<Vec<usize>> = (0..20)
        .map(|seed| {
            let seen = order(seed);
            assert_eq!(order(seed), seen);
            assert!((0..400).eq(seen.iter().copied().collect::<BTreeSet<_>>()));
            seen
        })
        .collect();
    assert_eq!(all.len(), 20);
}

#[test]
fn results_are_those_of_every_scheduler_and_come_from_one_worker() {
    fn fib(n: u32) -> u32 {
        assert_eq!(WorkerId::current().map(WorkerId::index), Some(0));
        if n < 2 {
            return n;
        }
        let (a, b) = join(|| fib(n - 1), || fib(n - 2));
        a + b
    }
    for seed in 0..SEEDS / 10 {
        let scheduler = seeded(seed);
        assert_eq!(scheduler.num_workers(), 1);
        assert_eq!(scheduler.install(|| fib(12)), 144);
        let concat = |left: Vec<_>, right: Vec<_>| [left, right].concat();
        for length in [0, 1, 2, 3, 100] {
            let all = scheduler.install(|| map_reduce(0..length, |index| vec![index], concat));
            assert!(all.unwrap_or_default().into_iter().eq(0..length));
        }
        let mut numbers: Vec<u32> = (0..20_000_u32)
            .map(|number| number.wrapping_mul(0x9e37_79b9))
            .collect();
        scheduler.install(|| sort_unstable(&mut numbers));
        assert!(numbers.is_sorted());
    }
}

#[test]
fn panics_go_on_as_on_every_scheduler() {
    /// Counts its drop.
    struct Held<'a>(&'a AtomicUsize);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let thrown = |seed, first: bool, second: bool| {
        let dropped = AtomicUsize::new(0);
        let (a, b) = (Held(&dropped), Held(&dropped));
        let throw = |held: Held<'_>, throws: bool, text: &'static str| {
            drop(held);
            if throws {
                std::panic::resume_unwind(Box::new(text));
            }
        };
        let run = || {
            seeded(seed)
                .install(|| join(|| throw(a, first, "first"), || throw(b, second, "second")))
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        let panic = result.err()?;
        panic.downcast_ref::<&str>().copied()
    };
    for seed in 0..SEEDS / 10 {
        for (first, second, wanted) in [
            (false, false, None),
            (false, true, Some("second")),
            (true, false, Some("first")),
            (true, true, Some("first")),
        ] {
            assert_eq!(thrown(seed, first, second), wanted, "{seed}");
        }
    }
}
