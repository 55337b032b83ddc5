//! [`Turns`]: threads that take a few tags and free them, over and over.

use std::fmt;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::sets::Tags;
use crate::case::Contender;
use crate::timing::per_second;

/// Tags that a thread has out at a time.
const HELD: usize = 4;

/// What a case does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) threads: u16,
    pub(super) depth: u16,
    /// Whether all tags are out but those that the threads need, which are spread evenly.
    pub(super) is_full: bool,
    pub(super) turns: usize,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.threads == 1 {
            "one thread takes"
        } else {
            "two threads take"
        };
        let depth = self.depth;
        write!(
            f,
            "{who} {HELD} of {depth} tags and free them, over and over"
        )?;
        if self.is_full {
            write!(f, "; all others are out")?;
        }
        Ok(())
    }
}

impl Load {
    fn needed(self) -> usize {
        usize::from(self.threads) * HELD
    }
}

/// One set under a load.
pub(super) struct Turns<T> {
    tags: T,
    load: Load,
}

impl<T: Tags> Turns<T> {
    pub(super) fn new(load: Load) -> Result<Self> {
        let tags = T::with(load.depth)?;
        if load.is_full {
            let mut hint = tags.hint(0);
            let all = take_all(&tags);
            for tag in all.iter().step_by(all.len() / load.needed()) {
                tags.free(*tag, &mut hint);
            }
        }
        Ok(Self { tags, load })
    }

    /// Runs the threads. `taken` is told of each tag before its thread uses it, `freed` when it is about to
    /// be freed.
    fn run(&self, taken: impl Fn(u32) + Sync, freed: impl Fn(u32) + Sync) {
        thread::scope(|scope| {
            for thread in 0..self.load.threads {
                let (taken, freed) = (&taken, &freed);
                scope.spawn(move || {
                    let mut hint = self.tags.hint(u32::from(thread));
                    for _ in 0..self.load.turns {
                        let held: [u32; HELD] = std::array::from_fn(|_| {
                            let tag = take(&self.tags, &mut hint);
                            taken(tag);
                            tag
                        });
                        for tag in held {
                            freed(tag);
                            self.tags.free(tag, &mut hint);
                        }
                    }
                });
            }
        });
    }
}

/// A tag. There always is one; who does not see it, because others take and free meanwhile, looks again.
fn take<T: Tags>(tags: &T, hint: &mut T::Hint) -> u32 {
    loop {
        if let Some(tag) = tags.alloc(hint) {
            return tag;
        }
        spin_loop();
    }
}

/// All tags that are free, in ascending order.
fn take_all<T: Tags>(tags: &T) -> Vec<u32> {
    let mut hint = tags.hint(0);
    let mut all: Vec<u32> = std::iter::from_fn(|| tags.alloc(&mut hint)).collect();
    all.sort_unstable();
    all
}

impl<T: Tags> Contender for Turns<T> {
    /// Fails where a tag has two holders; says which are free afterwards.
    fn answer(&mut self) -> Result<String> {
        let held: Vec<AtomicBool> = (0..self.load.depth)
            .map(|_| AtomicBool::new(false))
            .collect();
        let is_doubled = AtomicBool::new(false);
        let swap = |tag: u32, is_held: bool| {
            let place = usize::try_from(tag).ok().and_then(|tag| held.get(tag));
            let was_held = place.map(|place| place.swap(is_held, Ordering::Relaxed));
            if was_held != Some(!is_held) {
                is_doubled.store(true, Ordering::Relaxed);
            }
        };
        self.run(|tag| swap(tag, true), |tag| swap(tag, false));
        let is_right = !is_doubled.into_inner();
        is_right.then_some(()).context("a tag had two holders")?;

        let free = take_all(&self.tags);
        let mut hint = self.tags.hint(0);
        for tag in &free {
            self.tags.free(*tag, &mut hint);
        }
        Ok(format!("free: {free:?}"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.load.needed() * self.load.turns;
        per_second(count, || {
            self.run(|_| (), |_| ());
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::sets::{Bitmap, LockedList, Queue};

    /// Gives each tag out over and over.
    struct Doubled;

    impl Tags for Doubled {
        type Hint = ();

        fn with(_: u16) -> Result<Self> {
            Ok(Self)
        }

        fn hint(&self, _: u32) {}

        fn alloc(&self, (): &mut ()) -> Option<u32> {
            Some(7)
        }

        fn free(&self, _: u32, (): &mut ()) {}
    }

    fn load(is_full: bool) -> Load {
        Load {
            threads: 2,
            depth: 64,
            is_full,
            turns: 1000,
        }
    }

    #[test]
    fn all_sets_have_the_same_tags_free_after_their_turns() {
        for (is_full, step) in [(false, 1), (true, 8)] {
            let load = load(is_full);
            let free: Vec<u32> = (0..64).step_by(step).collect();
            let want = format!("free: {free:?}");
            let mut contenders: [Box<dyn Contender>; 3] = [
                Box::new(Turns::<Bitmap>::new(load).unwrap()),
                Box::new(Turns::<LockedList>::new(load).unwrap()),
                Box::new(Turns::<Queue>::new(load).unwrap()),
            ];
            for contender in &mut contenders {
                assert_eq!(contender.answer().unwrap(), want);
            }
        }
    }

    #[test]
    fn a_tag_with_two_holders_is_found() {
        let error = Turns::<Doubled>::new(load(false))
            .unwrap()
            .answer()
            .unwrap_err();
        assert_eq!(error.to_string(), "a tag had two holders");
    }
}
