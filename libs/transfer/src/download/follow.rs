//! Following one parent: its watch stream, turned into events of the conductor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_proto::v1::link_event::Event;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::link::{LinkError, Peer};

/// What a parent told, or that it is gone.
#[derive(Debug)]
pub(super) enum Told {
    Event(Event),
    Gone {
        why: LinkError,
        frozen: bool,
    },
    /// It ended well: it has everything.
    Ended,
}

/// Follows a parent until it ends, breaks or falls silent.
pub(super) async fn follow(
    parent: String,
    peer: Arc<dyn Peer>,
    key: ObjectKey,
    grant: Arc<v1::Grant>,
    ear: Ear,
) {
    let told = match tokio::time::timeout(ear.silence * 2, peer.watch(key, grant)).await {
        Ok(Ok(events)) => hear(&parent, events, &ear).await,
        Ok(Err(why)) => Told::Gone { why, frozen: false },
        Err(_elapsed) => Told::Gone { why: silent(), frozen: true },
    };
    ear.tell(&parent, told).await;
}

async fn hear(parent: &str, mut events: crate::link::Events, ear: &Ear) -> Told {
    loop {
        match tokio::time::timeout(ear.silence, events.next()).await {
            Ok(Some(Ok(event))) => {
                ear.heard.store(ear.now_ms(), Ordering::Relaxed);
                ear.tell(parent, Told::Event(event)).await;
            }
            Ok(Some(Err(why))) => return Told::Gone { why, frozen: false },
            Ok(None) => return Told::Ended,
            Err(_elapsed) => return Told::Gone { why: silent(), frozen: true },
        }
    }
}

fn silent() -> LinkError {
    LinkError::Unreachable("it fell silent".to_owned())
}

/// Where what is heard goes.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    pub(super) events: mpsc::Sender<(String, Told)>,
    /// When the parent was heard last, milliseconds since `epoch`.
    pub(super) heard: Arc<AtomicU64>,
    pub(super) epoch: tokio::time::Instant,
    pub(super) silence: Duration,
}

impl Ear {
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn tell(&self, parent: &str, told: Told) {
        if self.events.send((parent.to_owned(), told)).await.is_err() {
            tracing::trace!(parent, "the download has ended");
        }
    }
}
