//! Tasks that wait for tasks, and code that runs in unexpected places.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pepita_sched::fault::RetryPolicy;
use pepita_sched::pool::{Pool, PoolEventKind, Shutdown};
use pepita_sched::scheduler::Scheduler;
use pepita_sched::task::{Task, TaskBuilder, TaskError};

use crate::support::sh;

fn pool(workers: usize) -> Arc<Pool> {
    Arc::new(Pool::builder().cpu_workers(workers).build().unwrap())
}

fn run(pool: &Pool, task: TaskBuilder) -> String {
    let result = pool.submit(task.build().unwrap()).unwrap().wait().unwrap();
    assert!(result.is_success(), "{result:?}");
    result.stdout_string()
}

#[test]
fn a_task_may_wait_for_one_that_is_retried_on_a_pool_of_one_worker() {
    let pool = pool(1);
    let inner = pool.clone();
    let retry = RetryPolicy::builder(3, Duration::from_millis(2))
        .build()
        .unwrap();
    let task = Task::function(move |_| {
        let flaky = Task::function(|context| {
            match context.attempt() {
                3 => Ok("third"),
                _ => Err("not yet"),
            }
            .map(str::to_owned)
        });
        run(&inner, flaky.retry(retry.clone()))
    });
    assert_eq!(run(&pool, task), "third");
}

#[test]
fn a_task_may_map_over_tasks_on_a_pool_of_one_worker() {
    let pool = pool(1);
    let inner = pool.clone();
    let task = Task::function(move |_| {
        let tasks = (0..50).map(|n| Task::function(move |_| n.to_string()).build().unwrap());
        let outputs = inner
            .map(tasks)
            .map(|outcome| outcome.unwrap().stdout_string());
        outputs.collect::<Vec<_>>().join(" ")
    });
    let want: Vec<String> = (0..50).map(|n: u32| n.to_string()).collect();
    assert_eq!(run(&pool, task), want.join(" "));
}

#[test]
fn a_task_is_run_on_the_workers_of_its_own_pool_alone() {
    let (outer, inner) = (pool(4), pool(1));
    let at_once = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let waits = (0..8).map(|_| {
        let (inner, at_once, most) = (inner.clone(), at_once.clone(), most.clone());
        let waiting = move |_: &_| {
            let (at_once, most) = (at_once.clone(), most.clone());
            run(
                &inner,
                Task::function(move |_| {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }),
            )
        };
        Task::function(waiting).build().unwrap()
    });
    assert_eq!(outer.map(waits).filter(Result::is_ok).count(), 8);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn an_abort_reaches_a_task_that_waited_for_another() {
    let pool = pool(1);
    let inner = pool.clone();
    let (sender, reached) = std::sync::mpsc::channel();
    let task = Task::function(move |context| {
        run(&inner, Task::function(|_| ()));
        sender.send(()).unwrap();
        while !context.should_stop() {
            std::thread::yield_now();
        }
    });
    let handle = pool.submit(task.build().unwrap()).unwrap();
    reached.recv().unwrap();
    pool.shutdown(Shutdown::Abort);
    assert!(handle.wait().unwrap().stopped.is_some());
}

#[test]
fn a_pool_may_be_shut_down_in_a_callback_of_a_cancelled_task() {
    let pool = pool(1);
    let running = pool.submit(sh("exec sleep 1000").build().unwrap()).unwrap();
    let queued = Task::function(|_| ()).build().unwrap();
    let inner = pool.clone();
    let queued = pool.submit_then(queued, move |outcome| {
        assert!(matches!(outcome, Err(TaskError::Cancelled)));
        inner.shutdown(Shutdown::Abort);
    });
    queued.unwrap().cancel();
    assert!(!running.wait().is_ok_and(|result| result.is_success()));
}

#[test]
fn what_panics_once_more_when_it_is_dropped_is_still_an_outcome() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let pool = pool(1);
    let task = Task::function(|_| -> () { std::panic::panic_any(Bomb) });
    let outcome = pool.submit(task.build().unwrap()).unwrap().wait();
    assert!(matches!(outcome, Err(TaskError::Panicked { .. })));
    // A result that nobody takes is dropped on the worker.
    let scheduler = Scheduler::with_workers(1);
    drop(scheduler.spawn(|| Bomb));
    assert_eq!(scheduler.spawn(|| 1).wait(), Ok(1));
}

#[test]
fn a_scheduler_that_its_own_task_drops_still_retries() {
    let scheduler = Scheduler::with_workers(1);
    let retry = RetryPolicy::builder(2, Duration::from_millis(2))
        .build()
        .unwrap();
    let flaky = Task::function(|context| {
        if context.attempt() == 1 {
            Err("no")
        } else {
            Ok(())
        }
    });
    let (opener, gate) = std::sync::mpsc::channel::<Scheduler>();
    let gate = Mutex::new(gate);
    let drops = scheduler.spawn(move || drop(gate.lock().unwrap().recv().unwrap()));
    let handle = scheduler.submit(flaky.retry(retry).build().unwrap());
    opener.send(scheduler).unwrap();
    drops.wait().unwrap();
    assert_eq!(handle.wait().unwrap().attempts, 2);
}

#[test]
fn a_task_that_submits_itself_again_does_not_keep_others_from_running() {
    let scheduler = Arc::new(Scheduler::with_workers(1));
    let stop = Arc::new(AtomicU32::new(0));
    fn again(scheduler: &Arc<Scheduler>, stop: &Arc<AtomicU32>) {
        if stop.load(Ordering::SeqCst) == 0 {
            let (inner, flag) = (scheduler.clone(), stop.clone());
            drop(scheduler.spawn(move || again(&inner, &flag)));
        }
    }
    again(&scheduler, &stop);
    let flag = stop.clone();
    scheduler
        .spawn(move || flag.store(1, Ordering::SeqCst))
        .wait()
        .unwrap();
}

#[test]
fn a_queue_without_bounds_can_be_mapped_over() {
    let pool = Pool::builder()
        .cpu_workers(1)
        .queue_capacity(usize::MAX >> 1)
        .build()
        .unwrap();
    let tasks = (0..10).map(|_| Task::function(|_| ()).build().unwrap());
    assert_eq!(pool.map(tasks).count(), 10);
}

#[test]
fn the_last_event_tells_how_many_attempts_were_made() {
    let pool = pool(1);
    let events = pool.subscribe();
    let retry = RetryPolicy::builder(3, Duration::from_nanos(1))
        .build()
        .unwrap();
    let task = Task::function(|_| -> () { panic!("no") })
        .retry(retry)
        .build()
        .unwrap();
    assert!(pool.submit(task).unwrap().wait().is_err());
    drop(pool);
    let last = events.last().unwrap().kind;
    assert!(
        matches!(last, PoolEventKind::Finished { attempts: 3, .. }),
        "{last:?}"
    );
}
