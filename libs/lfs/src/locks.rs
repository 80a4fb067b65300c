//! Git LFS: Lock API JSON.
