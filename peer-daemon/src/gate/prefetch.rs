//! Fetching ahead of the GETs a Batch announces, within a window per caller and upstream.
//!
//! A Batch of ten terabytes must not make anybody read ten terabytes for a client that goes away: what lies beyond
//! the window is left to the GETs, and what has begun ends when the client's connection does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use darner_chassis::telemetry;
use darner_transfer::download::Wanted;

use super::Gate;
use crate::edge::Caller;
use crate::ticket::Ticket;

/// Bytes one caller may have fetched ahead from one upstream.
const WINDOW_BYTES: u64 = 2 << 30;
/// What an object costs beside its bytes: bounds the number of small ones to about 32,000.
const OBJECT_BYTES: u64 = 64 << 10;

/// A caller at an upstream.
type Name = (IpAddr, String);

/// What is being fetched ahead, by caller and upstream.
#[derive(Debug, Default)]
pub(super) struct Windows {
    open: Arc<Mutex<HashMap<Name, u64>>>,
}

/// A part of a window, given back when dropped.
#[derive(Debug)]
struct Taken {
    open: Arc<Mutex<HashMap<Name, u64>>>,
    name: Name,
    bytes: u64,
}

impl Windows {
    /// The objects (by their lengths) that still fit, from the front.
    fn take(&self, name: Name, sizes: impl Iterator<Item = u64>) -> (usize, Taken) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let used = open.entry(name.clone()).or_default();
        let (mut count, mut bytes) = (0, 0u64);
        for size in sizes {
            let more = bytes.saturating_add(size).saturating_add(OBJECT_BYTES);
            if used.saturating_add(more) > WINDOW_BYTES {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        *used = used.saturating_add(bytes);
        (count, Taken { open: Arc::clone(&self.open), name, bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = open.get_mut(&self.name) {
            *used = used.saturating_sub(self.bytes);
            if *used == 0 {
                open.remove(&self.name);
            }
        }
    }
}

impl Gate {
    pub(super) fn prefetch(&self, caller: &Arc<Caller>, authorization: Option<&str>, tickets: &[Ticket]) {
        let Some(first) = tickets.first().filter(|_| !self.switches.no_prefetch.load(Ordering::Relaxed))
        else {
            return;
        };
        // The credential tells apart callers that share an address; only its digest is kept.
        let who = darner_lfs::PieceDigest::of(authorization.unwrap_or_default().as_bytes());
        let name = (caller.peer.ip(), format!("{} {who:?}", first.upstream));
        let (count, taken) = self.inner.windows.take(name, tickets.iter().map(|ticket| ticket.size));
        let wanted: Vec<Wanted> = tickets
            .iter()
            .take(count)
            .map(|ticket| Wanted {
                key: ticket.oid.into(),
                size: Some(ticket.size),
                credential: ticket.credential(),
                urgent: false,
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        // A trace of its own: it outlives the Batch.
        let span = tracing::info_span!(parent: None, "prefetch", objects = wanted.len());
        if let Some(batch) = telemetry::current_traceparent() {
            telemetry::link(&span, &batch);
        }
        let prefetch = span.in_scope(|| self.downloads.prefetch(wanted));
        let (gone, mut running) = (caller.gone.clone(), prefetch);
        self.tasks.spawn("prefetch", async move {
            gone.run_until_cancelled(running.finished()).await;
            drop((running, taken));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(upstream: &str) -> Name {
        (IpAddr::from([127, 0, 0, 1]), upstream.to_owned())
    }

    #[test]
    fn a_window_holds_what_fits_and_no_more() {
        let windows = Windows::default();
        let sizes = [1 << 30, 1 << 30, 5];
        let (count, taken) = windows.take(name("a"), sizes.into_iter());
        assert_eq!(count, 1);
        assert_eq!(windows.take(name("a"), [1 << 30].into_iter()).0, 0);
        assert_eq!(windows.take(name("b"), [1 << 30].into_iter()).0, 1);
        drop(taken);
        assert_eq!(windows.take(name("a"), [1 << 30].into_iter()).0, 1);
    }

    #[test]
    fn an_object_larger_than_the_window_is_left_to_its_get() {
        let windows = Windows::default();
        assert_eq!(windows.take(name("a"), [u64::MAX, 5].into_iter()).0, 0);
    }

    #[test]
    fn many_small_objects_are_bounded_too() {
        let windows = Windows::default();
        let (count, _taken) = windows.take(name("a"), std::iter::repeat_n(1, 100_000));
        assert!((1_000..40_000).contains(&count));
    }

    #[test]
    fn windows_that_are_given_back_leave_nothing() {
        let windows = Windows::default();
        drop(windows.take(name("a"), [5].into_iter()));
        assert!(windows.open.lock().unwrap().is_empty());
    }
}
