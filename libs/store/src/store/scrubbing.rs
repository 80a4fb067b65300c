//! Reading everything once in a while.
//!
//! Owns: the walk and its pace. Never: reads faster than told. After a crash: the next scrub starts over.

use std::sync::Arc;
use std::time::Duration;

use darner_lfs::ObjectKey;

use super::room::{Looked, Room};
use crate::error::ReadError;
use crate::guard::lock;
use crate::record::ScrubReport;
use crate::shelves::What;

impl Room {
    /// Reads every finished object at this pace; damaged ones are quarantined on the way.
    pub(super) async fn scrub(self: &Arc<Self>, bytes_per_second: u64) -> ScrubReport {
        let mut report = ScrubReport::default();
        for key in self.finished_keys() {
            let Looked::Here(stored) = self.look(&key) else {
                report.damaged.push(key);
                continue;
            };
            report.objects += 1;
            for piece in 0..stored.layout().piece_count().unwrap_or_default() {
                match stored.recheck(piece).await {
                    Ok(()) => {}
                    Err(ReadError::Damaged { .. }) => {
                        report.damaged.push(key);
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, %key, "an object could not be scrubbed");
                        break;
                    }
                }
                let bytes = stored.layout().piece_range(piece).map_or(0, |range| range.end - range.start);
                report.bytes += bytes;
                tokio::time::sleep(pause(bytes, bytes_per_second)).await;
            }
        }
        report
    }

    fn finished_keys(&self) -> Vec<ObjectKey> {
        let shelves = lock(&self.shelves);
        let finished = shelves.iter().filter(|(_, held)| matches!(held.what, What::Finished(_)));
        finished.map(|(key, _)| *key).collect()
    }
}

/// How long reading this much may take.
fn pause(bytes: u64, bytes_per_second: u64) -> Duration {
    match bytes_per_second {
        0 => Duration::ZERO,
        pace => Duration::from_micros(bytes.saturating_mul(1_000_000) / pace),
    }
}
