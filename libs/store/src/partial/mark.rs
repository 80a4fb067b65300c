//! Where the readers of a memory-backed partial are.
//!
//! Owns: one mark per reader, gone when it is dropped. Never: lets go of what the slowest reader still needs.

use super::Partial;
use crate::guard::lock;

/// One reader's place.
#[derive(Debug)]
pub struct ReaderMark {
    partial: Partial,
    id: u64,
}

impl ReaderMark {
    pub(super) fn new(partial: Partial) -> Self {
        let mut marks = lock(partial.growing.marks());
        let id = marks.next;
        marks.next += 1;
        marks.places.insert(id, 0);
        drop(marks);
        Self { partial, id }
    }

    /// The reader is here now.
    pub fn at(&self, offset: u64) {
        if !self.partial.is_volatile() {
            return;
        }
        let mut marks = lock(self.partial.growing.marks());
        marks.places.insert(self.id, offset);
        let slowest = marks.places.values().copied().min().unwrap_or(offset);
        drop(marks);
        self.partial.forget_before(slowest);
    }
}

impl Drop for ReaderMark {
    fn drop(&mut self) {
        lock(self.partial.growing.marks()).places.remove(&self.id);
    }
}

/// The places of all readers.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    next: u64,
    places: std::collections::BTreeMap<u64, u64>,
}
