//! Locks that outlive a panic of another holder.
//!
//! Owns: nothing. Never: hides a lock that is held too long. After a crash: nothing is locked. A poisoned lock is
//! taken all the same: every critical section of this crate leaves its value usable at each step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
