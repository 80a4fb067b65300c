//! The crate against real sockets: every promise of its header, seen from the upstream's side.

#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::large_stack_arrays,
    clippy::unwrap_used,
    reason = "tests state their sizes in plain numbers and fail by panicking"
)]

mod exchange;
mod guard;
mod reading;
mod server;

use std::sync::Arc;

use bytes::Bytes;
use darner_chassis::clock::Manual;
use darner_chassis::metrics::{Kind, Metrics, Role};
use darner_origin::{Origin, OriginConfig, OriginError, Read, Reading};

/// An origin under test with its clock and its counters.
pub(crate) struct Bench {
    pub(crate) origin: Origin,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<Manual>,
}

impl Bench {
    pub(crate) fn new(upstreams: &[String]) -> Self {
        Self::with(&OriginConfig { upstreams: upstreams.to_vec(), ..OriginConfig::default() })
    }

    pub(crate) fn with(config: &OriginConfig) -> Self {
        let (metrics, clock) = (Metrics::new(), Arc::new(Manual::at(1_000_000)));
        let config = OriginConfig { role: Role::Seed, ..config.clone() };
        let origin = Origin::new(&config, metrics.clone(), clock.clone()).unwrap();
        Self { origin, metrics, clock }
    }

    pub(crate) fn requests(&self, kind: Kind) -> u64 {
        self.metrics.origin_requests_so_far(kind, Role::Seed)
    }

    pub(crate) fn bytes(&self, kind: Kind) -> u64 {
        self.metrics.origin_bytes_so_far(kind, Role::Seed)
    }

    pub(crate) async fn read(&self, url: &str, from: u64) -> Result<Reading, OriginError> {
        self.read_with(url, &credential(), from, None).await
    }

    pub(crate) async fn read_with(
        &self,
        url: &str,
        headers: &[(String, Bytes)],
        from: u64,
        etag: Option<&str>,
    ) -> Result<Reading, OriginError> {
        self.origin.read(Read { url, headers, from, to: None, etag }, Kind::Content).await
    }
}

/// A credential whose value must never be seen in an error.
pub(crate) fn credential() -> Vec<(String, Bytes)> {
    vec![("Authorization".to_owned(), Bytes::from_static(b"Bearer canary"))]
}

/// Everything of a reading, or what had come when it broke off.
pub(crate) async fn all(reading: &mut Reading) -> (Vec<u8>, Option<OriginError>) {
    let mut content = Vec::new();
    loop {
        match reading.next().await {
            Ok(Some(bytes)) => content.extend_from_slice(&bytes),
            Ok(None) => return (content, None),
            Err(error) => return (content, Some(error)),
        }
    }
}
