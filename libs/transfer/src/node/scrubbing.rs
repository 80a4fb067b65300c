//! Reading what is stored again, slowly, so that what the disk changed is found before anybody asks for it.
//!
//! Owns: when and how fast. Never: what becomes of a damaged object (the store sets it aside). After a crash: the hour
//! begins anew.

use std::time::Duration;

use darner_store::Store;

/// A start is busy enough.
const FIRST_AFTER: Duration = Duration::from_hours(1);
/// Between the end of one round and the next.
const EVERY: Duration = Duration::from_hours(24);
/// About a twentieth of what a slow disk reads in order; 700 GB in a day.
const BYTES_PER_SECOND: u64 = 8 << 20;

/// Reads everything once a day until dropped.
pub(super) async fn scrub(store: Store) {
    let mut pause = FIRST_AFTER;
    loop {
        tokio::time::sleep(pause).await;
        let report = store.scrub(BYTES_PER_SECOND).await;
        let damaged = report.damaged.len();
        tracing::info!(
            objects = report.objects,
            bytes = report.bytes,
            damaged,
            "what is stored was read again"
        );
        pause = EVERY;
    }
}
