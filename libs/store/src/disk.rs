//! The file system under the store.
//!
//! Owns: where things lie, the fast read, the lock file, what is free. Never: knows what an object is for. After a
//! crash: a path says what a file is, so that the next process finds its way without the index.

pub(crate) mod lock;
pub(crate) mod places;
pub(crate) mod read;
pub(crate) mod space;
pub(crate) mod stamp;
