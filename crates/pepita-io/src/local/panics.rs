//! Pieces of others' code of which none keeps the next from running.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The first panic of several pieces of code.
///
/// Wakers and destructors may panic, and who is told after them waits all the same.
#[derive(Debug, Default)]
#[must_use = "the panic goes on at the end"]
pub(super) struct Panics(Option<Box<dyn Any + Send>>);

impl Panics {
    /// Runs `work`, whatever became of what ran before.
    pub(super) fn catch(&mut self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            match self.0 {
                None => self.0 = Some(panic),
                // It is others' too, and could panic when it is dropped.
                Some(_) => mem::forget(panic),
            }
        }
    }

    /// Panics if one of them has.
    pub(super) fn resume(self) {
        if let Some(panic) = self.0 {
            resume_unwind(panic);
        }
    }
}
