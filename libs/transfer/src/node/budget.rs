//! The operator's storage budget, on a running store.
//!
//! Owns: the task that sets it, beginning with the last one kept on disk. Never: more than the node's own configuration
//! allows; what is in use is evicted once it is free.

use std::sync::Arc;
use std::time::Duration;

use darner_store::Store;
use tokio::sync::watch;

use crate::feed::ConfigVersion;

/// Between two tries to evict what was in use.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Keep the store within what is wanted, for as long as the feed lives.
pub(super) async fn follow(mut pushed: watch::Receiver<Arc<ConfigVersion>>, store: Store) {
    loop {
        let config = pushed.borrow_and_update().clone();
        let is_within = store.limit(move |own| config.wanted.budget_bytes(own)).await;
        let changed = async {
            if is_within {
                pushed.changed().await
            } else {
                tokio::time::timeout(AGAIN_AFTER, pushed.changed()).await.unwrap_or(Ok(()))
            }
        };
        if changed.await.is_err() {
            return;
        }
    }
}
