//! What a node tells the manager it holds, and how it honours a purge.
//!
//! Owns: the report of the whole inventory at the start of a stream and of what changed since. Never: a copy of the
//! inventory; only the keys that changed in the last interval are remembered, and past a bound the whole is told anew.

use std::collections::BTreeSet;

use darner_lfs::ObjectKey;
use darner_proto::{convert, v1};
use darner_store::{Change, Record, Store};
use tokio::sync::broadcast::{self, error::TryRecvError};

/// Objects per message: some 100 KB.
const PER_REPORT: usize = 1000;
/// Changed keys remembered between two reports.
const MOST_CHANGED: usize = 10_000;

/// The changes of one store since the last report on one stream.
pub(super) struct Holdings {
    store: Store,
    changes: broadcast::Receiver<Change>,
    whole: bool,
}

impl Holdings {
    /// A stream begins: the first report is the whole inventory.
    pub(super) fn new(store: Store) -> Self {
        Self { changes: store.changes(), store, whole: true }
    }

    /// What to send now, in order.
    pub(super) fn reports(&mut self) -> Vec<v1::HoldingsReport> {
        let mut changed = BTreeSet::new();
        loop {
            match self.changes.try_recv() {
                Ok(Change::Added(key) | Change::Removed(key)) => {
                    changed.insert(key);
                    self.whole |= changed.len() > MOST_CHANGED;
                    if self.whole {
                        changed.clear();
                    }
                }
                Err(TryRecvError::Lagged(_)) => self.whole = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if std::mem::take(&mut self.whole) {
            let keys = self.store.inventory().into_iter().map(|item| item.key);
            return in_messages(true, keys, |key| self.store.record(key));
        }
        in_messages(false, changed.into_iter(), |key| self.store.record(key))
    }
}

fn in_messages(
    full: bool,
    keys: impl Iterator<Item = ObjectKey>,
    record: impl Fn(&ObjectKey) -> Option<Record>,
) -> Vec<v1::HoldingsReport> {
    let mut reports = Vec::new();
    let mut report = v1::HoldingsReport { full, ..Default::default() };
    for key in keys {
        match record(&key) {
            Some(record) => report.added.push(held(record)),
            None => report.removed.push(key.into()),
        }
        if report.added.len() + report.removed.len() >= PER_REPORT {
            reports.push(std::mem::take(&mut report));
        }
    }
    if report != v1::HoldingsReport::default() {
        reports.push(report);
    }
    reports
}

fn held(record: Record) -> v1::HeldObject {
    let state = match (record.complete, record.authoritative, record.pinned) {
        (false, ..) => "partial",
        (true, true, _) => "authoritative",
        (true, false, true) => "pinned",
        (true, false, false) => "verified",
    };
    v1::HeldObject {
        key: Some(record.key.into()),
        size: record.layout.size().unwrap_or_default(),
        state: state.to_owned(),
        upstreams: record.upstreams,
        used_ms: record.used_ms,
    }
}

/// What a tombstone took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// One object.
    Object(ObjectKey),
    /// Every object that came through some upstream.
    Upstream,
}

/// Purge what a tombstone names. One that names nothing is ignored: it was made by a newer manager.
pub(super) async fn purge(store: &Store, tombstone: &v1::Tombstone) -> Option<Purged> {
    match &tombstone.what {
        Some(v1::tombstone::What::Key(key)) => match convert::key(Some(key)) {
            Ok(key) => {
                store.purge(&key).await;
                return Some(Purged::Object(key));
            }
            Err(error) => tracing::warn!(sequence = tombstone.sequence, %error, "a tombstone is malformed"),
        },
        Some(v1::tombstone::What::Upstream(prefix)) => {
            let objects = store.purge_upstream(prefix).await;
            tracing::info!(sequence = tombstone.sequence, objects, "an upstream was purged");
            return Some(Purged::Upstream);
        }
        None => tracing::warn!(sequence = tombstone.sequence, "a tombstone names nothing"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::{Layout, Oid};

    fn key(number: u16) -> ObjectKey {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        ObjectKey::Sha256(Oid::from_bytes(bytes))
    }

    fn record(key: ObjectKey) -> Record {
        Record {
            key,
            layout: Layout::of_size(5),
            complete: true,
            pinned: false,
            authoritative: false,
            upstreams: vec!["https://h/o/r".to_owned()],
            used_ms: 9,
            media: darner_store::Media::default(),
        }
    }

    #[test]
    fn an_empty_store_is_told_too() {
        let reports = in_messages(true, std::iter::empty(), |_| None);
        assert_eq!(reports.len(), 1);
        assert!(reports[0].full);
        assert!(in_messages(false, std::iter::empty(), |_| None).is_empty());
    }

    #[test]
    fn only_the_first_message_of_a_long_inventory_says_full() {
        let reports = in_messages(true, (0..2500).map(key), |key| Some(record(*key)));
        let told: Vec<_> = reports.iter().map(|report| (report.full, report.added.len())).collect();
        assert_eq!(told, [(true, 1000), (false, 1000), (false, 500)]);
    }

    #[test]
    fn what_has_no_record_any_more_is_removed() {
        let reports = in_messages(false, [key(1), key(2)].into_iter(), |&asked| {
            (asked == key(2)).then(|| record(asked))
        });
        assert_eq!(reports[0].removed, [key(1).into()]);
        assert_eq!(reports[0].added[0].key, Some(key(2).into()));
    }

    #[test]
    fn the_state_says_the_strongest_word() {
        let mut one = record(key(1));
        assert_eq!(held(one.clone()).state, "verified");
        one.pinned = true;
        assert_eq!(held(one.clone()).state, "pinned");
        one.authoritative = true;
        assert_eq!(held(one.clone()).state, "authoritative");
        one.complete = false;
        assert_eq!(held(one).state, "partial");
    }
}
