//! The index of finished objects: one record each, with its piece digests and its attestation.
//!
//! Owns: `<data>/index.redb` and the thread that commits to it. Never: makes a caller wait for a disk; what was noted
//! is answered from memory until it is committed. After a crash: the index holds the last group commit (every 200 ms);
//! an object whose record was not committed is adopted after hashing, a record whose object is gone is dropped. A
//! damaged index file is set aside and rebuilt from the objects in the same way.

mod committer;
mod entry;
mod tables;

pub(crate) use committer::{Index, Write};
pub(crate) use entry::Entry;
