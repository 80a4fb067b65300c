//! What the origin was asked: by kind, by object and by the process that asked. Promise I3 is read off here, so
//! a request is counted when it arrives and its bytes when they are handed to the connection, never by intention.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes of an object, or a refusal to give them by a switch.
    Content,
    /// A ranged read of at most 4 KiB: somebody shows that they may read.
    Probe,
    /// An LFS Batch.
    Batch,
    /// Anything under `/locks`.
    Lock,
    /// A `PUT` of an object, or its `verify`.
    Upload,
    /// A redirect given instead of bytes.
    Redirect,
    /// Git's own smart HTTP.
    Git,
    /// A data request whose signature, expiry, method or token was not good.
    Refused,
}

/// Requests and bytes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that arrived.
    pub requests: u64,
    /// Body bytes handed out (or, for uploads, taken in).
    pub bytes: u64,
}

/// Tallies by kind.
pub type ByKind = BTreeMap<Kind, Tally>;

/// Everything counted since the last reset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All requests.
    pub kinds: ByKind,
    /// By object id, or by path for plain files.
    pub objects: BTreeMap<String, ByKind>,
    /// By asking process: `name/pid`, or `unknown`.
    pub askers: BTreeMap<String, ByKind>,
    /// Connections accepted.
    pub connections: u64,
}

impl Counts {
    /// The tally of one kind.
    pub fn of(&self, kind: Kind) -> Tally {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// The tally of one kind for one object.
    pub fn object(&self, name: &str, kind: Kind) -> Tally {
        self.objects.get(name).and_then(|kinds| kinds.get(&kind)).copied().unwrap_or_default()
    }

    /// The tally of one kind over all askers whose process name is `name`.
    pub fn asker(&self, name: &str, kind: Kind) -> Tally {
        let mut sum = Tally::default();
        for (asker, kinds) in &self.askers {
            if asker.split('/').next() == Some(name) {
                let tally = kinds.get(&kind).copied().unwrap_or_default();
                sum.requests += tally.requests;
                sum.bytes += tally.bytes;
            }
        }
        sum
    }
}

/// What one request is counted under.
#[derive(Debug, Clone)]
pub struct Label {
    /// What it was for.
    pub kind: Kind,
    /// The object or file, when it names one.
    pub object: Option<String>,
    /// Who asked.
    pub asker: String,
}

/// The living counters.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    /// One more connection.
    pub fn connection(&self) {
        self.with(|counts| counts.connections += 1);
    }

    /// One more request.
    pub fn request(&self, label: &Label) {
        self.add(label, 1, 0);
    }

    /// More bytes of a request counted before.
    pub fn bytes(&self, label: &Label, bytes: u64) {
        self.add(label, 0, bytes);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    /// Begins again at nothing.
    pub fn reset(&self) {
        self.with(|counts| *counts = Counts::default());
    }

    fn add(&self, label: &Label, requests: u64, bytes: u64) {
        self.with(|counts| {
            let mut tallies = vec![counts.kinds.entry(label.kind).or_default()];
            if let Some(object) = &label.object {
                tallies
                    .push(counts.objects.entry(object.clone()).or_default().entry(label.kind).or_default());
            }
            tallies
                .push(counts.askers.entry(label.asker.clone()).or_default().entry(label.kind).or_default());
            for tally in tallies {
                tally.requests += requests;
                tally.bytes += bytes;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_kind_object_and_asker() {
        let counters = Counters::default();
        let label =
            Label { kind: Kind::Content, object: Some("a".to_owned()), asker: "seed-peer/7".to_owned() };
        counters.request(&label);
        counters.bytes(&label, 10);
        counters.request(&Label { asker: "peer-daemon/8".to_owned(), kind: Kind::Probe, ..label });
        let counts = counters.snapshot();
        assert_eq!(counts.of(Kind::Content), Tally { requests: 1, bytes: 10 });
        assert_eq!(counts.object("a", Kind::Probe).requests, 1);
        assert_eq!(counts.asker("seed-peer", Kind::Content).bytes, 10);
        assert_eq!(counts.asker("peer-daemon", Kind::Content).requests, 0);
        counters.reset();
        assert_eq!(counters.snapshot().of(Kind::Content).requests, 0);
    }
}
