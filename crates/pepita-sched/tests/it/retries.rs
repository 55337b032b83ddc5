//! Attempts that follow attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pepita_sched::fault::{Codes, RetryBudget, RetryOn, RetryPolicy};
use pepita_sched::pool::{Pool, PoolBuilder, PoolEventKind};
use pepita_sched::task::{Exit, Stop, Task, TaskBuilder, TaskError, TaskState};

/// A policy that tries at once.
fn policy(attempts: u32) -> RetryPolicy {
    RetryPolicy::builder(attempts, Duration::from_nanos(1))
        .build()
        .unwrap()
}

/// Fails with `code` until the attempt `good`.
fn succeeds_at(good: u32) -> TaskBuilder {
    Task::function(move |context| {
        if context.attempt() < good {
            Err("not yet")
        } else {
            Ok(context.attempt().to_string())
        }
    })
}

fn one_worker() -> PoolBuilder {
    Pool::builder().cpu_workers(1)
}

#[test]
fn a_task_is_tried_until_it_succeeds_and_tells_of_each_failure() {
    let pool = one_worker().build().unwrap();
    let task = succeeds_at(3).retry(policy(5)).build().unwrap();
    let result = pool.submit(task).unwrap().wait().unwrap();
    assert!(result.is_success());
    assert_eq!((result.attempts, result.stdout_string()), (3, "3".into()));
    let errors: Vec<_> = result
        .failed_attempts
        .iter()
        .map(|attempt| &attempt.error)
        .collect();
    assert_eq!(errors, ["exit code 1"; 2]);
    assert_eq!(pool.stats().retries, 2);
}

#[test]
fn a_task_that_keeps_failing_ends_with_its_last_attempt() {
    let pool = one_worker().retry_policy(policy(3)).build().unwrap();
    let result = pool
        .submit(succeeds_at(9).build().unwrap())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!((result.exit, result.attempts), (Exit::Code(1), 3));
    assert_eq!(result.stderr_string(), "not yet");
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.retries, stats.succeeded), (1, 2, 0));
}

#[test]
fn the_policy_of_a_task_comes_before_that_of_its_pool() {
    let pool = one_worker().retry_policy(policy(3)).build().unwrap();
    let task = succeeds_at(9)
        .retry(RetryPolicy::no_retry())
        .build()
        .unwrap();
    assert_eq!(pool.submit(task).unwrap().wait().unwrap().attempts, 1);
}

#[test]
fn only_the_failures_that_the_policy_names_are_tried_again() {
    let pool = one_worker().build().unwrap();
    let temporary = RetryOn::nothing().exits(Codes::only([75]));
    let policy = RetryPolicy::builder(4, Duration::from_nanos(1)).retry_on(temporary);
    let policy = policy.build().unwrap();
    let attempts = |code: &str| {
        let task = Task::binary("sh").args(["-c", code]).retry(policy.clone());
        pool.submit(task.build().unwrap())
            .unwrap()
            .wait()
            .unwrap()
            .attempts
    };
    assert_eq!((attempts("exit 75"), attempts("exit 1")), (4, 1));
}

#[test]
fn a_panic_and_a_timeout_are_failures_like_others() {
    let pool = one_worker().build().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    let task = Task::function(move |_| -> () {
        count.fetch_add(1, Ordering::SeqCst);
        panic!("no luck");
    });
    let outcome = pool
        .submit(task.retry(policy(3)).build().unwrap())
        .unwrap()
        .wait();
    assert!(matches!(outcome, Err(TaskError::Panicked { message }) if message == "no luck"));
    assert_eq!(calls.load(Ordering::SeqCst), 3);

    let task = Task::binary("sleep")
        .arg("1000")
        .timeout(Duration::from_millis(20))
        .retry(policy(2));
    let result = pool.submit(task.build().unwrap()).unwrap().wait().unwrap();
    assert_eq!((result.stopped, result.attempts), (Some(Stop::Timeout), 2));
    assert_eq!(result.failed_attempts[0].error, "timed out");
    assert_eq!(pool.stats().timed_out, 1);
}

#[test]
fn a_missing_program_is_not_tried_again_by_the_usual_policy() {
    let pool = one_worker().retry_policy(policy(5)).build().unwrap();
    let events = pool.subscribe();
    let task = Task::binary("/no/such/program").build().unwrap();
    assert!(matches!(
        pool.submit(task).unwrap().wait(),
        Err(TaskError::Spawn(_))
    ));
    drop(pool);
    let starts = events.filter(|event| matches!(event.kind, PoolEventKind::Started { .. }));
    assert_eq!(starts.count(), 1);
}

#[test]
fn a_worker_is_free_while_a_task_waits_for_its_next_attempt() {
    let pool = one_worker().build().unwrap();
    let hour = RetryPolicy::builder(2, Duration::from_secs(3600))
        .jitter(pepita_sched::fault::Jitter::None)
        .build()
        .unwrap();
    let events = pool.subscribe();
    let waiting = pool
        .submit(succeeds_at(9).retry(hour).build().unwrap())
        .unwrap();
    let mut events =
        events.skip_while(|event| !matches!(event.kind, PoolEventKind::Retrying { .. }));
    events.next().unwrap();
    let other = pool
        .submit(Task::function(|_| ()).build().unwrap())
        .unwrap();
    assert!(other.wait().unwrap().is_success());
    assert_eq!(waiting.state(), TaskState::Waiting);
    // A cancellation does not wait for the hour, and keeps what the attempt said.
    waiting.cancel();
    let result = waiting.wait().unwrap();
    assert_eq!(
        (result.stopped, result.exit),
        (Some(Stop::Cancelled), Exit::Code(1))
    );
    assert_eq!(result.failed_attempts.len(), 1);
}

#[test]
fn an_empty_budget_ends_retries() {
    let budget = RetryBudget::builder(0.0)
        .min_retries_per_sec(0)
        .build()
        .unwrap();
    let pool = one_worker()
        .retry_policy(policy(5))
        .retry_budget(Arc::new(budget))
        .build()
        .unwrap();
    let result = pool
        .submit(succeeds_at(9).build().unwrap())
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(result.attempts, 1);
}
