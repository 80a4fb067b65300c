//! The memory that objects take while the disk is full: windows of those being read, and whole ones that linger.
//!
//! Owns: the account of all windows, and the confirmed objects that stay for their takers. Never: waits. A read always gets
//! its least window, and who lingers longest gives way first: at most `MOST_BYTES` and one least window per running read.
//! Lock order: a leaf; what gives way is dropped outside of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use darner_lfs::Layout;
use darner_store::Partial;

/// Bytes of one object that are kept while the disk is full.
pub(crate) const WINDOW_BYTES: u64 = 256 << 20;
/// What a read gets however little is left: a few pieces ahead of its slowest taker.
const LEAST_BYTES: u64 = 16 << 20;
/// All windows together.
const MOST_BYTES: u64 = 1 << 30;

/// The account. `T` is what lingers.
#[derive(Debug)]
pub(crate) struct Memory<T = Partial>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    taken: u64,
    next: u64,
    lingering: VecDeque<(u64, u64, T)>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { taken: 0, next: 0, lingering: VecDeque::new() })))
    }
}

/// Memory taken by one read, given back when dropped.
#[derive(Debug)]
pub(crate) struct Window<T = Partial> {
    memory: Arc<Mutex<State<T>>>,
    bytes: u64,
}

impl<T> Memory<T> {
    /// A window for an object of this layout: all of it where that is little, else what is left.
    pub(crate) fn take(&self, layout: Layout) -> Window<T> {
        // One piece more: a window counts whole pieces, also the short last one.
        let all = layout.size().map(|size| size.saturating_add(u64::from(layout.piece_bytes())));
        let wanted = all.unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
        let least = wanted.min(LEAST_BYTES);
        let mut state = state(&self.0);
        let mut gone = Vec::new();
        while MOST_BYTES.saturating_sub(state.taken) < least {
            let Some((_, bytes, oldest)) = state.lingering.pop_front() else { break };
            state.taken = state.taken.saturating_sub(bytes);
            gone.push(oldest);
        }
        let bytes = wanted.min(MOST_BYTES.saturating_sub(state.taken)).max(least);
        state.taken = state.taken.saturating_add(bytes);
        drop(state);
        drop(gone);
        Window { memory: Arc::clone(&self.0), bytes }
    }

    /// Keeps a confirmed object until `leave`, or until its memory is needed; the number it is known by.
    pub(crate) fn linger(&self, mut window: Window<T>, object: T) -> u64 {
        let mut state = state(&self.0);
        let number = state.next;
        state.next += 1;
        // From here on the account knows it by its number.
        let bytes = std::mem::take(&mut window.bytes);
        state.lingering.push_back((number, bytes, object));
        number
    }

    /// It lingered long enough.
    pub(crate) fn leave(&self, number: u64) {
        let mut state = state(&self.0);
        let place = state.lingering.iter().position(|(known, ..)| *known == number);
        let gone = place.and_then(|place| state.lingering.remove(place));
        if let Some((_, bytes, _)) = &gone {
            state.taken = state.taken.saturating_sub(*bytes);
        }
        drop(state);
        drop(gone);
    }
}

impl<T> Window<T> {
    /// How much of the object is kept.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<T> Drop for Window<T> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = state(&self.memory);
            state.taken = state.taken.saturating_sub(self.bytes);
        }
    }
}

fn state<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory<&'static str> {
        Memory::default()
    }

    fn taken(memory: &Memory<&'static str>) -> u64 {
        state(&memory.0).taken
    }

    #[test]
    fn a_window_is_what_is_left_and_never_less_than_the_least() {
        let memory = memory();
        let big = Layout::of_size(10 << 30);
        let windows: Vec<_> = (0..6).map(|_| memory.take(big)).collect();
        let bytes: Vec<u64> = windows.iter().map(Window::bytes).collect();
        let (full, least) = (WINDOW_BYTES, LEAST_BYTES);
        assert_eq!(bytes, [full, full, full, full, least, least]);
        drop(windows);
        assert_eq!(taken(&memory), 0);
    }

    #[test]
    fn a_small_object_takes_no_more_than_it_needs() {
        let memory = memory();
        let window = memory.take(Layout::of_size(1_000));
        assert!((1_000..LEAST_BYTES).contains(&window.bytes()), "{}", window.bytes());
    }

    #[test]
    fn who_lingers_longest_gives_way_when_memory_is_needed_and_nobody_before() {
        let memory = memory();
        let big = Layout::of_size(10 << 30);
        for name in ["a", "b", "c", "d"] {
            memory.linger(memory.take(big), name);
        }
        assert_eq!(taken(&memory), MOST_BYTES);
        let new = memory.take(big);
        let left: Vec<&str> = state(&memory.0).lingering.iter().map(|(_, _, name)| *name).collect();
        assert_eq!(left, ["b", "c", "d"]);
        assert_eq!((new.bytes(), taken(&memory)), (WINDOW_BYTES, MOST_BYTES));
    }

    #[test]
    fn who_leaves_gives_its_memory_back_once() {
        let memory = memory();
        let number = memory.linger(memory.take(Layout::of_size(1_000)), "a");
        assert!(taken(&memory) > 0);
        memory.leave(number);
        memory.leave(number);
        assert_eq!(taken(&memory), 0);
    }
}
