//! A number for each thread, by which threads keep out of each other's cache lines.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sync::sized;

/// Parts of what threads have apart.
pub(crate) const SHARDS: usize = sized(16, 2);

/// Bytes that go from CPU to CPU at once: two lines, since some CPUs fetch them in pairs.
/// Source: Intel 64 and IA-32 Architectures Optimization Reference Manual, "Data Prefetching".
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

thread_local! {
    static NUMBER: Number = Number::take();
}

/// Numbers that no thread has: those that were given back, and all from the last one on.
static NUMBERS: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

fn numbers() -> MutexGuard<'static, (Vec<usize>, usize)> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's number, given back when it ends: few threads at once have small numbers, which differ also in what is
/// left when they are divided.
struct Number(usize);

impl Number {
    fn take() -> Self {
        let (free, next) = &mut *numbers();
        let smallest = (0..free.len()).min_by_key(|at| free[*at]);
        Self(smallest.map_or_else(
            || {
                *next += 1;
                *next - 1
            },
            |at| free.swap_remove(at),
        ))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        numbers().0.push(self.0);
    }
}

/// The number of this thread. While a thread ends, it is another's.
pub(crate) fn number() -> usize {
    // The threads of a model are all the same one of the system's.
    if cfg!(all(test, pepita_loom)) {
        return 0;
    }
    NUMBER.try_with(|number| number.0).unwrap_or(0)
}

/// The part of this thread.
pub(crate) fn shard() -> usize {
    number() % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn threads_that_are_there_at_once_have_different_numbers() {
        let barrier = Barrier::new(8);
        let numbers: HashSet<usize> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let number = number();
                        barrier.wait();
                        number
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(numbers.len(), 8);
    }

    #[test]
    fn the_number_of_a_thread_that_has_ended_is_anothers() {
        let numbers: HashSet<usize> = (0..100)
            .map(|_| thread::spawn(number).join().unwrap())
            .collect();
        assert!(numbers.len() < 100, "other tests have some meanwhile");
    }
}
