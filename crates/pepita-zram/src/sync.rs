//! Locks and atomics: the standard library's, or loom's where models run.

#[cfg(not(all(test, pepita_loom)))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread::yield_now,
};

#[cfg(all(test, pepita_loom))]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread::yield_now,
};
use std::sync::PoisonError;

/// Locks; who panics with a lock has left nothing half-made.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, as [`lock`] does.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, as [`lock`] does.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// How many there are of something; fewer in models, which have to go through all orders.
pub(crate) const fn sized(usual: usize, in_models: usize) -> usize {
    if cfg!(all(test, pepita_loom)) {
        in_models
    } else {
        usual
    }
}
