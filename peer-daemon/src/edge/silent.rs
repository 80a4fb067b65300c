//! The bound on connections, and who makes room when it is reached: the connection that has said nothing for longest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Silent {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    next: u64,
    /// Connections without a request so far, oldest first.
    silent: BTreeMap<u64, CancellationToken>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Silent>,
    number: u64,
    closing: CancellationToken,
}

impl Silent {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// A place for a new connection. At the bound the oldest silent one is closed for it; `None` when all are in use.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        if state.open >= self.most {
            let (_, oldest) = state.silent.pop_first()?;
            oldest.cancel();
        }
        let number = state.next;
        let closing = CancellationToken::new();
        state.next += 1;
        state.open += 1;
        state.silent.insert(number, closing.clone());
        drop(state);
        Some(Place { of: Arc::clone(self), number, closing })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Cancelled when this connection must make room.
    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The connection sent a request: it is not silent any more.
    pub(super) fn spoke(&self) {
        self.of.state().silent.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.of.state();
        state.silent.remove(&self.number);
        state.open = state.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_connection_makes_room() {
        let silent = Arc::new(Silent::new(2));
        let (first, second) = (silent.enter().unwrap(), silent.enter().unwrap());
        first.spoke();
        let third = silent.enter().unwrap();
        assert!(second.closing().is_cancelled());
        assert!(!first.closing().is_cancelled() && !third.closing().is_cancelled());
    }

    #[test]
    fn connections_in_use_are_not_closed_for_a_new_one() {
        let silent = Arc::new(Silent::new(1));
        let busy = silent.enter().unwrap();
        busy.spoke();
        assert!(silent.enter().is_none());
        drop(busy);
        assert!(silent.enter().is_some());
    }
}
