//! Small objects that were served from this node's own disk, told together: one report per upstream and interval.
//!
//! Owns: what is added up until the next report. Never: more than a bounded number of upstreams; what does not find
//! room is lost like any other report of a download. Pure. The node's totals do not come from here.

use std::collections::HashMap;

use darner_proto::v1;

/// Upstreams that can be told of at once.
const UPSTREAMS: usize = 64;
/// A download up to this length is small.
const SMALL_BYTES: u64 = 64 << 10;

/// Small local hits since the last report, by upstream.
#[derive(Debug, Default)]
pub(super) struct Rollup {
    by_upstream: HashMap<String, v1::Download>,
}

/// Whether a download is told together with others of its kind.
pub(super) fn is_small_hit(download: &v1::Download) -> bool {
    download.source == "local"
        && download.state == "done"
        && download.received <= SMALL_BYTES
        && download.bytes_by_parent.is_empty()
}

impl Rollup {
    /// Adds one; false where it found no room.
    pub(super) fn add(&mut self, download: v1::Download) -> bool {
        if let Some(sum) = self.by_upstream.get_mut(&download.upstream) {
            sum.requests = sum.requests.saturating_add(1);
            sum.received = sum.received.saturating_add(download.received);
            sum.ended_ms = sum.ended_ms.max(download.ended_ms);
            if sum.key != download.key {
                // Of many objects none has the length of all.
                sum.size = None;
            }
            return true;
        }
        let has_room = self.by_upstream.len() < UPSTREAMS;
        if has_room {
            let first = v1::Download { requests: 1, ..download };
            self.by_upstream.insert(first.upstream.clone(), first);
        }
        has_room
    }

    /// What is to be told now.
    pub(super) fn take(&mut self) -> Vec<v1::Download> {
        std::mem::take(&mut self.by_upstream).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::{ObjectKey, Oid};

    fn hit(n: u8, upstream: &str) -> v1::Download {
        v1::Download {
            task: format!("t{n}"),
            key: Some(ObjectKey::from(Oid::from_bytes([n; 32])).into()),
            size: Some(10),
            received: 10,
            ended_ms: u64::from(n),
            state: "done".to_owned(),
            source: "local".to_owned(),
            upstream: upstream.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn one_hit_is_told_as_it_was() {
        let mut rollup = Rollup::default();
        assert!(rollup.add(hit(1, "u")));
        assert_eq!(rollup.take(), [v1::Download { requests: 1, ..hit(1, "u") }]);
        assert!(rollup.take().is_empty());
    }

    #[test]
    fn many_hits_of_an_upstream_are_one_report_and_none_is_lost() {
        let mut rollup = Rollup::default();
        for n in 0..100 {
            assert!(rollup.add(hit(n, "u")) && rollup.add(hit(n, "v")));
        }
        let told = rollup.take();
        assert_eq!(told.len(), 2);
        for sum in told {
            assert_eq!((sum.requests, sum.received, sum.ended_ms, sum.size), (100, 1000, 99, None));
            assert_eq!(sum.task, "t0");
        }
    }

    #[test]
    fn the_same_object_over_and_over_keeps_its_length() {
        let mut rollup = Rollup::default();
        assert!(rollup.add(hit(1, "u")) && rollup.add(hit(1, "u")));
        assert_eq!(rollup.take()[0].size, Some(10));
    }

    #[test]
    fn upstreams_are_bounded() {
        let mut rollup = Rollup::default();
        let kept = (0..1000).filter(|n| rollup.add(hit(1, &n.to_string()))).count();
        assert_eq!((kept, rollup.take().len()), (UPSTREAMS, UPSTREAMS));
    }

    #[test]
    fn only_small_local_hits_that_ended_well_are_told_together() {
        assert!(is_small_hit(&hit(1, "u")));
        let mut others = vec![hit(1, "u"); 4];
        others[0].source = "peer".to_owned();
        others[1].state = "failed".to_owned();
        others[2].received = SMALL_BYTES + 1;
        others[3].bytes_by_parent.insert("p".to_owned(), 1);
        assert!(!others.iter().any(is_small_hit));
    }
}
