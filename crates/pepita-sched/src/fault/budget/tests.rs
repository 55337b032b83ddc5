//! The budget against a list of every deposit and withdrawal ever made.

use super::*;
use crate::fault::ManualClock;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

fn budget(ratio: f64, reserve_per_sec: u32, clock: &ManualClock) -> RetryBudget {
    RetryBudget::builder(ratio)
        .ttl(Duration::from_secs(10))
        .min_retries_per_sec(reserve_per_sec)
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn withdraw_all(budget: &RetryBudget) -> usize {
    std::iter::repeat_with(|| budget.try_withdraw())
        .take_while(|granted| *granted)
        .count()
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Deposit,
    Withdraw,
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Deposit),
        4 => Just(Step::Withdraw),
        1 => (0_u32..25_000).prop_map(Step::Wait),
        2 => (0_u32..1500).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// The published rule, recomputed from the whole history at every step: a retry is granted
    /// exactly when the window can pay for it, so the budget is never overspent nor withheld.
    #[test]
    fn a_retry_is_granted_exactly_when_the_window_can_pay_for_it(
        ratio_percent in 0_u32..=300, reserve_per_sec in 0_u32..3, steps in steps(),
    ) {
        let clock = ManualClock::new();
        let budget = budget(f64::from(ratio_percent) / 100.0, reserve_per_sec, &clock);
        // In hundredths of a retry: (second in which it was made, deposits, withdrawals).
        let mut history: VecDeque<(u64, u32, u32)> = VecDeque::new();
        for step in steps {
            let second = clock.now().as_secs();
            while history.front().is_some_and(|(made, ..)| made + 10 <= second) {
                history.pop_front();
            }
            let paid: u32 = history.iter().map(|(_, paid, _)| paid).sum();
            let spent: u32 = history.iter().map(|(.., spent)| spent).sum();
            let allowance = 1000 * reserve_per_sec + paid;
            prop_assert_eq!(budget.available(), u64::from(allowance.saturating_sub(spent) / 100));
            match step {
                Step::Deposit => {
                    budget.deposit();
                    history.push_back((second, ratio_percent, 0));
                }
                Step::Withdraw => {
                    let granted = budget.try_withdraw();
                    prop_assert_eq!(granted, spent + 100 <= allowance);
                    if granted {
                        history.push_back((second, 0, 100));
                    }
                }
                Step::Wait(ms) => clock.advance(Duration::from_millis(ms.into())),
            }
        }
    }
}

#[test]
fn the_reserve_is_there_from_the_start_and_comes_back_after_the_ttl() {
    let clock = ManualClock::new();
    let budget = budget(0.0, 2, &clock);
    assert_eq!(withdraw_all(&budget), 20);
    clock.advance(Duration::from_millis(9999));
    assert_eq!(withdraw_all(&budget), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(withdraw_all(&budget), 20);
}

#[test]
fn deposits_are_forgotten_after_the_ttl() {
    let clock = ManualClock::new();
    let budget = budget(1.0, 0, &clock);
    budget.deposit();
    assert_eq!(budget.available(), 1);
    clock.advance(Duration::from_secs(10));
    assert_eq!(budget.available(), 0);
    assert!(!budget.try_withdraw());
}

#[test]
fn a_budget_of_nothing_grants_nothing() {
    let budget = budget(0.0, 0, &ManualClock::new());
    budget.deposit();
    assert!(!budget.try_withdraw());
}

#[test]
fn a_clock_that_starts_late_or_jumps_far_changes_nothing_but_the_window() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(u64::from(u32::MAX)));
    let budget = budget(1.0, 1, &clock);
    assert_eq!(withdraw_all(&budget), 10);
    clock.advance(Duration::MAX);
    assert_eq!(withdraw_all(&budget), 10);
}

#[test]
fn threads_that_share_a_budget_spend_it_exactly_once() {
    const THREADS: u64 = 4;
    let budget = budget(0.5, 3, &ManualClock::new());
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..1000 {
                    budget.deposit();
                    if budget.try_withdraw() {
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let rest = withdraw_all(&budget) as u64;
    let paid = THREADS * 1000 / 2;
    assert_eq!(granted.into_inner() + rest, 30 + paid);
}

#[track_caller]
fn refused(builder: RetryBudgetBuilder, want: &str) {
    assert_eq!(builder.build().unwrap_err().to_string(), want);
}

#[test]
fn bad_settings_are_refused_with_value_and_limit() {
    let ratio = RetryBudget::builder;
    refused(ratio(-0.1), "ratio -0.1 is not between 0 and 1000");
    refused(ratio(f64::NAN), "ratio NaN is not between 0 and 1000");
    refused(
        ratio(0.2).ttl(Duration::from_millis(999)),
        "ttl 999ms is not between 1s and 86400s",
    );
    refused(
        ratio(0.2).min_retries_per_sec(10_001),
        "min_retries_per_sec 10001 is above 10000",
    );
}
