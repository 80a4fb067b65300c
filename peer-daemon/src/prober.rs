//! Reads proof windows: through a seed, whose address the origin knows, or from here where no seed answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use darner_chassis::grpc::TracedChannel;
use darner_lfs::ObjectKey;
use darner_origin::{Origin, OriginError};
use darner_proto::v1;
use darner_proto::v1::probe_reply::Outcome;
use darner_proto::v1::seed_client::SeedClient;
use darner_transfer::cluster::Cluster;

use crate::credential;
use crate::proof::Prober;

/// A window is one small request; a seed that takes longer waits for an origin that is silent to others, too.
const WINDOW_WITHIN: Duration = Duration::from_secs(8);

/// How a seed behaved.
#[derive(Debug)]
enum Heard {
    /// It tells what the origin said.
    Said(Result<v1::Window, v1::Refusal>),
    /// It is there, and had nothing to tell in time.
    Silent,
    /// It cannot be reached, or reads no windows.
    Absent,
}

/// The prober of a node.
#[derive(Debug)]
pub struct SeedProber {
    cluster: Cluster,
    origin: Origin,
    alone: Arc<AtomicBool>,
    clients: Mutex<HashMap<String, SeedClient<TracedChannel>>>,
}

impl SeedProber {
    /// Asks the seeds of `cluster`, then (while `alone` holds) the origin itself.
    pub fn new(cluster: Cluster, origin: Origin, alone: Arc<AtomicBool>) -> Self {
        Self { cluster, origin, alone, clients: Mutex::default() }
    }

    fn client(&self, address: &str) -> Option<SeedClient<TracedChannel>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(address) {
            return Some(client.clone());
        }
        let client = SeedClient::new(self.cluster.seed_channel(address).ok()?);
        clients.insert(address.to_owned(), client.clone());
        Some(client)
    }

    async fn at_seed(&self, address: &str, request: v1::ProbeRequest) -> Heard {
        let Some(mut client) = self.client(address) else { return Heard::Absent };
        match tokio::time::timeout(WINDOW_WITHIN, client.probe(request)).await {
            Ok(Ok(reply)) => match reply.into_inner().outcome {
                Some(Outcome::Window(window)) => Heard::Said(Ok(window)),
                Some(Outcome::Refusal(refusal)) => Heard::Said(Err(refusal)),
                None => Heard::Absent,
            },
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), "a seed reads no window");
                Heard::Absent
            }
            Err(_elapsed) => Heard::Silent,
        }
    }
}

#[tonic::async_trait]
impl Prober for SeedProber {
    async fn probe(
        &self,
        key: &ObjectKey,
        credential: &v1::Credential,
        offset: u64,
        length: u32,
    ) -> Result<v1::Window, v1::Refusal> {
        let request = v1::ProbeRequest {
            taker: Some(self.cluster.identity().clone()),
            credential: Some(credential.clone()),
            offset,
            length,
        };
        for seed in self.cluster.seeds_for(key) {
            match self.at_seed(&seed.grpc_address, request.clone()).await {
                Heard::Said(read) => return read,
                // It waits for the origin: another one, or this node, would only wait as well.
                Heard::Silent => return Err(later("no seed could check this credential in time")),
                Heard::Absent => {}
            }
        }
        if !self.alone.load(Ordering::Relaxed) {
            return Err(later("no seed can be reached to check this credential"));
        }
        let headers = credential::headers(credential);
        let window = self
            .origin
            .probe(&credential.url, &headers, offset, length)
            .await
            .map_err(|error| refusal(&error))?;
        Ok(v1::Window { content: window.content, total: window.total, etag: window.etag.unwrap_or_default() })
    }
}

/// Nobody's credential is refused: there was no answer.
pub fn later(words: &str) -> v1::Refusal {
    v1::Refusal { status: 0, message: words.to_owned(), retry_after_s: 5 }
}

/// An origin's error as a refusal of the credential it was asked with.
pub fn refusal(error: &OriginError) -> v1::Refusal {
    let status = match error {
        OriginError::Unreachable { .. } | OriginError::Cut { .. } => 0,
        other => u32::from(other.status()),
    };
    v1::Refusal { status, message: error.to_string(), retry_after_s: error.retry_after_s().unwrap_or(0) }
}
