//! Seeding against real upstreams: what they are asked, who is granted what, what is kept.

#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests state their sizes in plain numbers and fail by panicking"
)]

mod faults;
mod proof;
mod ring;
mod small;
mod upstream;

use std::sync::Arc;

use bytes::Bytes;
use darner_chassis::clock::{Seeded, System};
use darner_chassis::metrics::{Kind, Metrics, Role};
use darner_chassis::sign::{Signer, Verifier};
use darner_chassis::tasks::Tasks;
use darner_lfs::{ObjectKey, Oid};
use darner_origin::{Origin, OriginConfig};
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;
use darner_seeding::{Parts, Seeding};
use darner_store::{Store, StoreConfig, Stored};
use darner_transfer::download::Opener as _;
use darner_transfer::trust::Trust;
use futures::StreamExt as _;
use sha2::Digest as _;

use upstream::Upstream;

/// Unpredictable-looking content of this many bytes.
pub(crate) fn content(bytes: usize) -> Arc<Vec<u8>> {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Arc::new(std::iter::repeat_with(next).take(bytes).collect())
}

pub(crate) fn key_of(content: &[u8]) -> ObjectKey {
    Oid::from_bytes(sha2::Sha256::digest(content).into()).into()
}

pub(crate) fn credential(url: &str) -> v1::Credential {
    v1::Credential { url: url.to_owned(), ..Default::default() }
}

/// A credential whose upstream granted the object in a Batch.
pub(crate) fn granted(url: &str, upstream: &str) -> v1::Credential {
    v1::Credential { upstream: upstream.to_owned(), granted_by_batch: true, ..credential(url) }
}

/// One seed and its counters.
pub(crate) struct Bench {
    pub(crate) seeding: Seeding,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) trust: Trust,
    pub(crate) tasks: Tasks,
    pub(crate) directory: Arc<tempfile::TempDir>,
    upstreams: Vec<String>,
}

impl Bench {
    pub(crate) async fn new(upstreams: &[&Upstream]) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::within(upstreams.iter().map(|upstream| upstream.entry()).collect(), directory, None).await
    }

    pub(crate) async fn within(
        upstreams: Vec<String>,
        directory: Arc<tempfile::TempDir>,
        budget_bytes: Option<u64>,
    ) -> Self {
        let config = StoreConfig { budget_bytes, ..StoreConfig::at(directory.path()) };
        let store = Store::open(config).await.unwrap();
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let config =
            OriginConfig { upstreams: upstreams.clone(), role: Role::Seed, ..OriginConfig::default() };
        let origin = Origin::new(&config, metrics.clone(), Arc::new(System)).unwrap();
        let signer = Arc::new(Signer::generate("seeds").unwrap());
        let verifier = Verifier::new();
        verifier.add(signer.kid(), signer.public_key());
        let seeding = Seeding::new(Parts {
            identity: v1::NodeIdentity {
                id: "seed-0".to_owned(),
                tenant: "t".to_owned(),
                ..Default::default()
            },
            store: store.clone(),
            origin,
            signer,
            cluster: None,
            downloads: None,
            metrics: metrics.clone(),
            clock: Arc::new(System),
            random: Arc::new(Seeded::new(7)),
            tasks: tasks.clone(),
        });
        let trust = Trust::new(verifier, "holder", "t");
        Self { seeding, store, metrics, trust, tasks, directory, upstreams }
    }

    /// The same seed after its process died: same directory, nothing else.
    pub(crate) async fn restarted(self) -> Self {
        self.tasks.close().await;
        let Self { seeding, store, directory, upstreams, .. } = self;
        store.flush().await;
        drop((seeding, store));
        Self::within(upstreams, directory, None).await
    }

    pub(crate) async fn open(&self, key: ObjectKey, credential: v1::Credential) -> Outcome {
        self.open_as("daemon-1", key, credential).await
    }

    pub(crate) async fn open_as(&self, taker: &str, key: ObjectKey, credential: v1::Credential) -> Outcome {
        self.ask(taker, key, credential, 0).await
    }

    /// Opened by a taker that wants up to so many bytes of content with the reply.
    pub(crate) async fn open_with(&self, key: ObjectKey, credential: v1::Credential, bytes: u32) -> Outcome {
        self.ask("daemon-1", key, credential, bytes).await
    }

    async fn ask(&self, taker: &str, key: ObjectKey, credential: v1::Credential, bytes: u32) -> Outcome {
        let taker = v1::NodeIdentity {
            id: taker.to_owned(),
            tenant: "t".to_owned(),
            piece_address: "127.0.0.1:1".to_owned(),
            ..Default::default()
        };
        let object = v1::OpenObject {
            key: Some(key.into()),
            size: None,
            credential: Some(credential),
            urgent: true,
            begun: false,
            trace: String::new(),
        };
        let request = v1::OpenRequest { taker: Some(taker), objects: vec![object], content_bytes: bytes };
        let mut replies = self.seeding.open(request).await.unwrap();
        replies.next().await.unwrap().unwrap().outcome.unwrap()
    }

    /// Waits until the object is in the store.
    pub(crate) async fn kept(&self, key: ObjectKey) -> Stored {
        loop {
            if let Some(stored) = self.store.get(&key).await {
                return stored;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until no origin is read any more.
    pub(crate) async fn quiet(&self) {
        while self.seeding.reads() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn requests(&self, kind: Kind) -> u64 {
        self.metrics.origin_requests_so_far(kind, Role::Seed)
    }

    pub(crate) fn bytes(&self, kind: Kind) -> u64 {
        self.metrics.origin_bytes_so_far(kind, Role::Seed)
    }
}

pub(crate) fn opened(outcome: Outcome) -> v1::Opened {
    match outcome {
        Outcome::Opened(opened) => opened,
        other => panic!("not opened: {other:?}"),
    }
}

pub(crate) fn refusal(outcome: Outcome) -> v1::Refusal {
    match outcome {
        Outcome::Refusal(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) async fn all_of(stored: &Stored) -> Vec<u8> {
    let mut content = Vec::new();
    while (content.len() as u64) < stored.size() {
        let bytes: Bytes = stored.read(content.len() as u64, 1 << 20).await.unwrap();
        content.extend_from_slice(&bytes);
    }
    content
}
