//! What is handed over arrives, and wakes the thread.

#[cfg(not(pepita_loom))]
use super::Refused;
use super::{Door, Pushed, Queue};

#[cfg(not(pepita_loom))]
#[test]
fn the_first_one_wakes_and_those_behind_do_not() {
    let queue = Queue::new(8);
    assert_eq!(queue.push_operation(1), Ok(Pushed::First));
    assert_eq!(queue.push_operation(2), Ok(Pushed::Behind));
    assert_eq!(queue.push(3), Pushed::Behind);
    let mut taken = Vec::new();
    assert_eq!(queue.take(&mut taken), Door::Open);
    assert_eq!(taken, [1, 2, 3]);
    assert_eq!(queue.push(4), Pushed::First);
}

#[cfg(not(pepita_loom))]
#[test]
fn an_operation_above_the_limit_is_refused_until_one_has_ended() {
    let queue = Queue::new(1);
    assert_eq!(queue.push_operation(1), Ok(Pushed::First));
    assert_eq!(queue.push_operation(2), Err(Refused::Full));
    // What is no operation has room.
    assert_eq!(queue.push(3), Pushed::Behind);
    queue.count_end();
    assert_eq!(queue.push_operation(4), Ok(Pushed::Behind));
}

#[cfg(not(pepita_loom))]
#[test]
fn a_closed_queue_keeps_what_it_had_for_the_end() {
    let queue = Queue::new(8);
    assert_eq!(queue.push_operation(1), Ok(Pushed::First));
    queue.close();
    assert_eq!(queue.push_operation(2), Err(Refused::Closed));
    assert_eq!(queue.push(3), Pushed::Behind);
    assert!(queue.take(&mut Vec::new()).is_closed());
    assert_eq!(queue.close_and_take(), [1]);
}

/// In every order that the memory model allows.
#[cfg(pepita_loom)]
mod models {
    use loom::sync::{Arc, Mutex, Notify};
    use loom::thread;

    use super::*;

    /// A thread that sleeps until it is woken gets everything: a wake-up that nobody gives would be a
    /// deadlock, which loom reports.
    fn everything_arrives(producers: usize, each: usize) {
        loom::model(move || {
            let shared = Arc::new((Queue::new(producers * each), Notify::new()));
            let threads: Vec<_> = (0..producers)
                .map(|producer| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        for number in 0..each {
                            match shared.0.push_operation(producer * each + number) {
                                Ok(Pushed::First) => shared.1.notify(),
                                Ok(Pushed::Behind) => {}
                                Err(refused) => panic!("{refused:?}"),
                            }
                        }
                    })
                })
                .collect();
            let (mut seen, mut taken) = (Vec::new(), Vec::new());
            while seen.len() < producers * each {
                shared.1.wait();
                assert_eq!(shared.0.take(&mut taken), Door::Open);
                seen.append(&mut taken);
            }
            for thread in threads {
                thread.join().expect("the thread");
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..producers * each).collect::<Vec<_>>());
        });
    }

    #[test]
    fn loom_two_threads_hand_over_one_each() {
        everything_arrives(2, 1);
    }

    #[test]
    fn loom_a_thread_hands_over_two() {
        everything_arrives(1, 2);
    }

    /// The limit counts what has ended before the one that saw the end asks: it is told through a lock.
    #[test]
    fn loom_who_has_seen_an_end_has_room() {
        loom::model(|| {
            let shared = Arc::new((Queue::new(1), Mutex::new(false)));
            let ring = Arc::clone(&shared);
            assert_eq!(shared.0.push_operation(1), Ok(Pushed::First));
            let thread = thread::spawn(move || {
                ring.0.count_end();
                *ring.1.lock().expect("no panic") = true;
            });
            let is_ended = *shared.1.lock().expect("no panic");
            let second = shared.0.push_operation(2);
            assert!(second.is_ok() || !is_ended);
            thread.join().expect("the thread");
        });
    }

    /// What comes while the queue is closed is refused, or found by who closes it.
    #[test]
    fn loom_nothing_is_lost_at_the_end() {
        loom::model(|| {
            let queue = Arc::new(Queue::new(8));
            let pushing = Arc::clone(&queue);
            let thread = thread::spawn(move || pushing.push_operation(1).is_ok());
            let found = queue.close_and_take();
            let is_taken = thread.join().expect("the thread");
            assert_eq!(found.len(), usize::from(is_taken));
        });
    }
}
