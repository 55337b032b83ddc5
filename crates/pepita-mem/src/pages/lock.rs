//! [`Lock`]: one at a time, by the means that the place has.
//!
//! With the standard library it is `std::sync::Mutex`: who waits sleeps. Without, nobody can put a
//! thread to sleep, and it spins.

#[cfg(not(feature = "std"))]
pub(super) use super::spin::Lock;
#[cfg(feature = "std")]
pub(super) use blocking::Lock;

#[cfg(feature = "std")]
mod blocking {
    #[cfg(all(test, pepita_loom))]
    use loom::sync::Mutex;
    #[cfg(not(all(test, pepita_loom)))]
    use std::sync::Mutex;
    use std::sync::PoisonError;

    #[derive(Debug)]
    pub(in super::super) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        /// Runs `work` alone. A panic inside of an earlier one came before anything was changed or not
        /// at all, so it does not bar the way.
        pub(in super::super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}
