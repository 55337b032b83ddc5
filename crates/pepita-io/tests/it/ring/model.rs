//! The ring against a naive one: two queues that grow.

use std::collections::VecDeque;

use pepita_io::ring::{QueueFull, RingConfig};
use proptest::prelude::*;

use super::ring_for;

#[derive(Debug, Clone)]
enum Step {
    Push,
    Submit,
    SubmitAndWait,
    Pop,
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        2 => Just(Step::Submit),
        1 => Just(Step::SubmitAndWait),
        2 => Just(Step::Pop),
        2 => (0..8_usize).prop_map(Step::Take),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn a_ring_does_what_two_growing_queues_do(steps in steps(), shift in 0..3_u32) {
        let config = RingConfig::new(1 << shift);
        let Some(mut ring) = ring_for("a_ring_does_what_two_growing_queues_do", &config) else {
            return Ok(());
        };
        let capacity = ring.sq_capacity() as usize;
        let (mut pushed, mut submitted) = (VecDeque::new(), VecDeque::new());
        let mut next = 0_u64;
        let mut overflowed = false;
        for step in steps {
            match step {
                Step::Push if pushed.len() == capacity => {
                    prop_assert_eq!(ring.push_nop(next), Err(QueueFull));
                }
                Step::Push => {
                    prop_assert_eq!(ring.push_nop(next), Ok(()));
                    pushed.push_back(next);
                    next += 1;
                }
                Step::Submit | Step::SubmitAndWait => {
                    let want = match step {
                        Step::SubmitAndWait => submitted.len() + pushed.len(),
                        _ => 0,
                    };
                    let want = u32::try_from(want).expect("few").min(ring.cq_capacity());
                    let count = if want > 0 { ring.submit_and_wait(want) } else { ring.submit() };
                    prop_assert_eq!(count.expect("a submission") as usize, pushed.len());
                    submitted.append(&mut pushed);
                    overflowed |= submitted.len() > ring.cq_capacity() as usize;
                }
                Step::Pop => {
                    // A no-op has completed when it was submitted; its completion may wait in the kernel.
                    match ring.pop() {
                        Some(cqe) => prop_assert_eq!(Some(cqe.user_data), submitted.pop_front()),
                        None => prop_assert!(submitted.is_empty() || overflowed),
                    }
                }
                Step::Take(count) => {
                    for cqe in ring.completions().take(count) {
                        prop_assert_eq!(Some(cqe.user_data), submitted.pop_front());
                    }
                }
            }
            prop_assert_eq!(ring.sq_room() as usize, capacity - pushed.len());
        }
        ring.submit().expect("the rest");
        submitted.append(&mut pushed);
        while let Some(want) = submitted.pop_front() {
            ring.submit_and_wait(1).expect("one more");
            prop_assert_eq!(ring.pop().map(|cqe| cqe.user_data), Some(want));
        }
        prop_assert!(ring.pop().is_none());
    }
}
