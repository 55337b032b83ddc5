#![expect(unsafe_code, reason = "gives out what it holds without keeping count")]
//! [`Exclusive`]: what the functions of one module change, without a flag that says so.
//!
//! A `RefCell` writes and reads its flag at each borrow. Borrows that follow each other closely, as those of
//! a batch of operations do, then wait for each other's flag: about ten cycles each, which was most of what
//! an operation cost.

use std::cell::UnsafeCell;
use std::fmt;

/// A value that short pieces of code change, one after the other.
pub(super) struct Exclusive<T> {
    #[cfg(debug_assertions)]
    is_borrowed: std::cell::Cell<bool>,
    value: UnsafeCell<T>,
}

impl<T> Exclusive<T> {
    pub(super) const fn new(value: T) -> Self {
        Self {
            #[cfg(debug_assertions)]
            is_borrowed: std::cell::Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Lets `work` at the value.
    ///
    /// # Safety
    /// * leaf: `work` does not lead back here. It runs no code of others: no waker, no destructor of what an
    ///   operation keeps, nothing that a caller passed in. (Builds with debug assertions check it.)
    #[inline(always)]
    pub(super) unsafe fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.is_borrowed.replace(true), "a piece of work led back");
        // SAFETY: leaf, and the cell is not `Sync`: there is no other reference.
        let result = work(unsafe { &mut *self.value.get() });
        #[cfg(debug_assertions)]
        self.is_borrowed.set(false);
        result
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive").finish_non_exhaustive()
    }
}
