//! The pool: queue, handles, order, shutdown, events.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pepita_sched::pool::{
    Pool, PoolBuildError, PoolEvent, PoolEventKind, Shutdown, SubmitError, TrySubmitError,
};
use pepita_sched::task::{Stop, Task, TaskError, TaskState};

use crate::support::{Gate, sh};

fn number(n: u32) -> Task {
    Task::function(move |_| n.to_string()).build().unwrap()
}

/// The starts of attempts from now on.
fn starts(pool: &Pool) -> impl Iterator<Item = PoolEvent> {
    let is_start = |event: &PoolEvent| matches!(event.kind, PoolEventKind::Started { .. });
    pool.subscribe().filter(is_start)
}

/// Polls a future on this thread, parked in between: an async runtime at its smallest.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_full_queue_gives_the_task_back_and_takes_it_when_there_is_room() {
    let gate = Gate::new();
    let pool = Pool::builder()
        .cpu_workers(1)
        .queue_capacity(2)
        .build()
        .unwrap();
    let mut starts = starts(&pool);
    let running = pool.submit(gate.task().build().unwrap()).unwrap();
    starts.next().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|n| pool.try_submit(number(n)).unwrap())
        .collect();
    assert_eq!(pool.pending_tasks(), 2);
    let Err(TrySubmitError::Full { task, capacity: 2 }) = pool.try_submit(number(7)) else {
        panic!("the queue took three tasks");
    };
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.submit(*task).unwrap().wait().unwrap());
        gate.open();
        assert_eq!(blocked.join().unwrap().stdout_string(), "7");
    });
    assert!(running.wait().unwrap().is_success());
    assert!(
        waiting
            .into_iter()
            .all(|handle| handle.wait().unwrap().is_success())
    );
}

#[test]
fn a_handle_can_be_awaited() {
    let pool = Pool::builder().cpu_workers(2).build().unwrap();
    let outputs = block_on(async {
        let first = pool.submit(sh("echo one").build().unwrap()).unwrap();
        let second = pool.submit(number(2)).unwrap();
        [
            first.await.unwrap().stdout_string(),
            second.await.unwrap().stdout_string(),
        ]
    });
    assert_eq!(outputs, ["one\n", "2"]);
}

#[test]
fn a_handle_that_is_waited_for_too_briefly_comes_back() {
    let gate = Gate::new();
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let handle = pool.submit(gate.task().build().unwrap()).unwrap();
    let handle = handle.wait_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(!handle.is_finished());
    gate.open();
    assert!(
        handle
            .wait_timeout(Duration::from_secs(1000))
            .unwrap()
            .unwrap()
            .is_success()
    );
}

#[test]
fn a_queued_task_is_cancelled_at_once_and_never_runs() {
    let gate = Gate::new();
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let running = pool.submit(gate.task().build().unwrap()).unwrap();
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let task = Task::function(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let queued = pool.submit(task.build().unwrap()).unwrap();
    queued.cancel();
    assert_eq!(queued.state(), TaskState::Done);
    assert!(matches!(queued.wait(), Err(TaskError::Cancelled)));
    gate.open();
    assert!(running.wait().unwrap().is_success());
    pool.shutdown(Shutdown::Drain);
    assert_eq!((ran.load(Ordering::SeqCst), pool.stats().cancelled), (0, 1));
}

#[test]
fn a_running_process_is_cancelled() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let mut starts = starts(&pool);
    let handle = pool.submit(sh("exec sleep 1000").build().unwrap()).unwrap();
    starts.next().unwrap();
    let canceller = handle.canceller();
    canceller.cancel();
    let result = handle.wait().unwrap();
    assert_eq!(result.stopped, Some(Stop::Cancelled));
}

#[test]
fn a_running_function_is_asked_to_stop() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let mut starts = starts(&pool);
    let task = Task::function(|context| {
        while !context.should_stop() {
            std::thread::yield_now();
        }
    });
    let handle = pool.submit(task.build().unwrap()).unwrap();
    starts.next().unwrap();
    handle.cancel();
    assert_eq!(handle.wait().unwrap().stopped, Some(Stop::Cancelled));
    let task = Task::function(|context| while !context.should_stop() {});
    let handle = pool
        .submit(task.timeout(Duration::from_millis(5)).build().unwrap())
        .unwrap();
    assert_eq!(handle.wait().unwrap().stopped, Some(Stop::Timeout));
}

#[test]
fn map_keeps_the_order_and_as_completed_gives_each_once() {
    let pool = Pool::builder()
        .cpu_workers(2)
        .queue_capacity(3)
        .build()
        .unwrap();
    let outputs: Vec<_> = pool
        .map((0..500).map(number))
        .map(|r| r.unwrap().stdout_string())
        .collect();
    assert_eq!(outputs, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    let mut completed: Vec<u32> = pool
        .map((0..500).map(number))
        .as_completed()
        .map(|(id, outcome)| {
            let result = outcome.unwrap();
            assert_eq!(result.id, id);
            result.stdout_string().parse().unwrap()
        })
        .collect();
    completed.sort_unstable();
    assert_eq!(completed, (0..500).collect::<Vec<_>>());
}

#[test]
fn as_completed_does_not_wait_for_a_slow_task() {
    let gate = Gate::new();
    let pool = Pool::builder().cpu_workers(2).build().unwrap();
    let tasks = [gate.task().build().unwrap(), number(1)];
    let slow = tasks[0].id();
    let mut completed = pool.map(tasks).as_completed();
    assert_ne!(completed.next().unwrap().0, slow);
    gate.open();
    assert_eq!(completed.next().unwrap().0, slow);
    assert!(completed.next().is_none());
}

#[test]
fn map_takes_no_more_from_its_source_than_it_can_hold() {
    let taken = Arc::new(AtomicU32::new(0));
    let count = taken.clone();
    let endless = std::iter::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        number(0)
    });
    let pool = Pool::builder()
        .cpu_workers(1)
        .queue_capacity(4)
        .build()
        .unwrap();
    assert_eq!(
        pool.map(endless).take(100).filter(Result::is_ok).count(),
        100
    );
    assert!(taken.load(Ordering::SeqCst) <= 100 + 2 * 4 + 2, "{taken:?}");
}

#[test]
fn a_drain_runs_what_was_submitted_and_an_abort_refuses_it() {
    for (how, runs) in [(Shutdown::Drain, true), (Shutdown::Abort, false)] {
        let pool = Pool::builder().cpu_workers(1).build().unwrap();
        let mut starts = starts(&pool);
        let running = pool.submit(sh("exec sleep 0.2").build().unwrap()).unwrap();
        let queued = pool.submit(number(1)).unwrap();
        starts.next().unwrap();
        pool.shutdown(how);
        assert!(matches!(pool.submit(number(2)), Err(SubmitError::ShutDown)));
        let running = running.wait().unwrap();
        assert_eq!(running.is_success(), runs);
        assert_eq!(running.stopped.is_some(), !runs);
        match queued.wait() {
            Ok(result) => assert!(runs && result.is_success()),
            Err(TaskError::ShutDown) => assert!(!runs),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(pool.stats().active, 0);
    }
}

#[test]
fn an_abort_ends_a_drain_that_takes_too_long() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let mut starts = starts(&pool);
    let handle = pool.submit(sh("exec sleep 1000").build().unwrap()).unwrap();
    starts.next().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| pool.shutdown(Shutdown::Drain));
        pool.shutdown(Shutdown::Abort);
    });
    assert_eq!(handle.wait().unwrap().stopped, Some(Stop::Cancelled));
}

#[test]
fn a_panic_in_a_task_hurts_nothing_else() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    for _ in 0..10 {
        let task = Task::function(|_| -> () { panic!("{}", "with words") })
            .build()
            .unwrap();
        let outcome = pool.submit(task).unwrap().wait();
        assert!(matches!(outcome, Err(TaskError::Panicked { message }) if message == "with words"));
    }
    assert!(pool.submit(number(1)).unwrap().wait().unwrap().is_success());
    assert_eq!((pool.stats().errors, pool.stats().succeeded), (10, 1));
}

#[test]
fn a_task_may_wait_for_another_on_a_pool_of_one_worker() {
    let pool = Arc::new(Pool::builder().cpu_workers(1).build().unwrap());
    let inner = pool.clone();
    let task = Task::function(move |_| {
        inner
            .submit(number(42))
            .unwrap()
            .wait()
            .map(|r| r.stdout_string())
    });
    let outer = pool.submit(task.build().unwrap()).unwrap();
    assert_eq!(outer.wait().unwrap().stdout_string(), "42");
}

#[test]
fn events_tell_the_way_of_a_task() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let events = pool.subscribe();
    let handle = pool.submit(number(1)).unwrap();
    let id = handle.id();
    assert!(handle.wait().unwrap().is_success());
    drop(pool);
    assert_eq!(events.lost(), 0);
    let seen: Vec<_> = events
        .inspect(|event| assert_eq!(event.id, id))
        .map(|event| event.kind)
        .collect();
    assert!(
        matches!(
            &seen[..],
            [
                PoolEventKind::Queued,
                PoolEventKind::Started { attempt: 1, worker: 0, executor },
                PoolEventKind::Finished { attempts: 1, stopped: None, .. },
            ] if &**executor == "cpu"
        ),
        "{seen:?}"
    );
}

#[test]
fn a_callback_gets_the_outcome_instead_of_the_handle() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let handle = pool
        .submit_then(number(3), move |outcome| sender.send(outcome).unwrap())
        .unwrap();
    assert_eq!(receiver.recv().unwrap().unwrap().stdout_string(), "3");
    assert!(matches!(handle.wait(), Err(TaskError::Delivered)));
}

#[test]
fn every_task_has_one_outcome_whatever_is_cancelled() {
    let pool = Pool::builder()
        .cpu_workers(2)
        .queue_capacity(64)
        .build()
        .unwrap();
    let ran = Arc::new(AtomicU32::new(0));
    let outcomes = Arc::new(AtomicU32::new(0));
    for n in 0..20_000_u32 {
        let (count, ended) = (ran.clone(), outcomes.clone());
        let task = Task::function(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let done = move |_| {
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let handle = pool.submit_then(task.build().unwrap(), done).unwrap();
        if n % 3 == 0 {
            handle.cancel();
        }
    }
    pool.shutdown(Shutdown::Drain);
    let stats = pool.stats();
    assert_eq!(outcomes.load(Ordering::Relaxed), 20_000);
    assert_eq!(stats.completed(), 20_000);
    assert!(u64::from(ran.load(Ordering::Relaxed)) >= stats.succeeded);
    assert_eq!(stats.active, 0);
}

#[test]
fn low_priority_work_goes_on_under_a_stream_of_high_priority_work() {
    use pepita_sched::task::Priority;
    let pool = Arc::new(Pool::builder().cpu_workers(1).build().unwrap());
    // Each high one submits the next, so that one always waits, until the low one has run.
    fn feed(pool: &Arc<Pool>, stop: &Arc<AtomicU32>) {
        if stop.load(Ordering::SeqCst) == 0 {
            let (inner, flag) = (pool.clone(), stop.clone());
            let task = Task::function(move |_| feed(&inner, &flag)).priority(Priority::High);
            drop(pool.submit(task.build().unwrap()).unwrap());
        }
    }
    let stop = Arc::new(AtomicU32::new(0));
    (0..4).for_each(|_| feed(&pool, &stop));
    let flag = stop.clone();
    let low = Task::function(move |_| flag.store(1, Ordering::SeqCst)).priority(Priority::Low);
    assert!(
        pool.submit(low.build().unwrap())
            .unwrap()
            .wait()
            .unwrap()
            .is_success()
    );
    pool.shutdown(Shutdown::Drain);
}

#[test]
fn a_pool_that_could_run_nothing_is_not_built() {
    use pepita_sched::pool::PoolBuilder;
    let check = |builder: PoolBuilder, want: &str| {
        let error: PoolBuildError = builder.build().unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    };
    check(Pool::builder().cpu_workers(0), "no other executor");
    check(Pool::builder().queue_capacity(0), "capacity of 0");
    check(
        Pool::builder().default_timeout(Duration::ZERO),
        "default timeout is zero",
    );
}

#[test]
fn the_default_timeout_holds_for_tasks_that_have_none() {
    let pool = Pool::builder()
        .cpu_workers(1)
        .default_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let result = pool
        .submit(sh("exec sleep 1000").build().unwrap())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(result.stopped, Some(Stop::Timeout));
    let own = sh("exec sleep 0.1")
        .timeout(Duration::from_secs(1000))
        .build()
        .unwrap();
    assert!(pool.submit(own).unwrap().wait().unwrap().is_success());
}

#[test]
fn a_pool_may_be_shut_down_and_dropped_by_its_own_task() {
    let pool = Arc::new(Pool::builder().cpu_workers(1).build().unwrap());
    let (opener, gate) = std::sync::mpsc::channel();
    let (inner, gate) = (
        std::sync::Mutex::new(Some(pool.clone())),
        std::sync::Mutex::new(gate),
    );
    let task = Task::function(move |_| {
        let pool: Arc<Pool> = inner.lock().unwrap().take().unwrap();
        gate.lock().unwrap().recv().unwrap();
        pool.shutdown(Shutdown::Drain);
        assert_eq!(Arc::strong_count(&pool), 1);
    });
    let first = pool.submit(task.build().unwrap()).unwrap();
    let second = pool.submit(number(2)).unwrap();
    drop(pool);
    opener.send(()).unwrap();
    assert!(first.wait().unwrap().is_success());
    assert_eq!(second.wait().unwrap().stdout_string(), "2");
}

#[test]
fn a_handle_that_is_kept_keeps_no_pool() {
    #[derive(Debug)]
    struct Lent(#[expect(dead_code, reason = "its count is what the test looks at")] Arc<()>);
    impl pepita_sched::executor::Executor for Lent {
        fn name(&self) -> &str {
            "lent"
        }
        fn backend(&self) -> pepita_sched::executor::Backend {
            pepita_sched::executor::Backend::Cpu
        }
        fn slots(&self) -> usize {
            1
        }
        fn supports(&self, _: &Task) -> Result<(), pepita_sched::task::Unsupported> {
            Ok(())
        }
        fn execute(
            &self,
            task: &Task,
            _: &pepita_sched::executor::TaskContext,
        ) -> Result<pepita_sched::task::ExecutionResult, TaskError> {
            let exit = pepita_sched::task::Exit::Code(0);
            Ok(pepita_sched::task::ExecutionResult::new(
                task.id(),
                self.backend(),
                exit,
            ))
        }
    }
    let count = Arc::new(());
    let pool = Pool::builder()
        .executor(Lent(count.clone()))
        .build()
        .unwrap();
    let handle = pool.submit(number(1)).unwrap();
    drop(pool);
    assert_eq!(Arc::strong_count(&count), 1);
    assert!(handle.wait().unwrap().is_success());
}

#[test]
fn a_kill_ends_a_process_that_has_its_grace_already() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    let stream = pepita_sched::task::Output::stream(move |_| sender.send(()).unwrap());
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done";
    let task = sh(script).stdout(stream).grace(Duration::from_secs(1000));
    let handle = pool.submit(task.build().unwrap()).unwrap();
    said.recv().unwrap();
    handle.cancel();
    said.recv().unwrap();
    handle.kill();
    let result = handle.wait().unwrap();
    assert_eq!(result.exit, pepita_sched::task::Exit::Signal(9));
    assert_eq!(result.stopped, Some(Stop::Cancelled));
}

#[test]
fn a_subscriber_that_takes_nothing_loses_events_and_holds_nothing_up() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let events = pool.subscribe();
    let tasks = (0..30_000).map(|_| Task::function(|_| ()).build().unwrap());
    assert_eq!(pool.map(tasks).count(), 30_000);
    drop(pool);
    // Three events a task, of which 65,536 wait.
    assert_eq!(events.lost(), 90_000 - 65_536);
    assert_eq!(events.count(), 65_536);
}
