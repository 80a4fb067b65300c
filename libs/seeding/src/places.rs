//! How many origin reads run at once: those a client waits for never queue behind those nobody waits for yet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::flight::Flight;

/// Reads a client waits for. Beyond this they would only share the same line.
const URGENT: usize = 64;
/// Reads ahead of need: twice what git-lfs does itself.
const AHEAD: usize = 16;

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    urgent: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self { urgent: Arc::new(Semaphore::new(URGENT)), ahead: Arc::new(Semaphore::new(AHEAD)) }
    }
}

impl Places {
    /// A place for this read; one that becomes urgent while it waits moves to the other queue.
    pub(crate) async fn take(&self, flight: &Flight) -> Option<OwnedSemaphorePermit> {
        let mut changes = flight.subscribe();
        loop {
            changes.borrow_and_update();
            if flight.is_urgent() {
                return Arc::clone(&self.urgent).acquire_owned().await.ok();
            }
            tokio::select! {
                place = Arc::clone(&self.ahead).acquire_owned() => return place.ok(),
                changed = changes.changed() => if changed.is_err() { return None },
            }
        }
    }
}
