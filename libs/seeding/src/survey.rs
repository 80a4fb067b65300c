//! Single flight across seeds: before it reads an origin, a seed asks the ring's first ranks whether they have it.
//!
//! Owns: the question, its answer, and who gives way when two ask one another at once. Never: waiting long; a seed that does
//! not answer has nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use darner_chassis::grpc::TracedChannel;
use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_proto::v1::seed_client::SeedClient;
use darner_transfer::cluster::{Cluster, SeedAt};

/// Ranks that are asked: the owner and who owned it before a seed came or went.
const RANKS: usize = 3;
/// A seed that is there answers from memory within this.
const WAIT: Duration = Duration::from_millis(300);

/// Asks other seeds.
#[derive(Debug)]
pub(crate) struct Surveyor {
    cluster: Option<Cluster>,
    clients: Mutex<HashMap<String, SeedClient<TracedChannel>>>,
}

impl Surveyor {
    pub(crate) fn new(cluster: Option<Cluster>) -> Self {
        Self { cluster, clients: Mutex::default() }
    }

    /// The first of the ring's first ranks (this node aside) that holds or reads the object.
    pub(crate) async fn ask(&self, key: &ObjectKey, own: &v1::NodeIdentity) -> Option<v1::NodeIdentity> {
        let seeds = self.others(key, own);
        let asked = seeds.into_iter().map(|seed| async move {
            let identity = seed.identity.clone()?;
            let state = tokio::time::timeout(WAIT, self.state_at(&seed, key, own)).await.ok()??;
            let has = matches!(state, v1::SurveyState::Held | v1::SurveyState::Reading);
            has.then_some(identity)
        });
        futures::future::join_all(asked).await.into_iter().flatten().next()
    }

    /// Whether this node ranks before another one for the object; unknown nodes rank last.
    pub(crate) fn is_before(
        &self,
        key: &ObjectKey,
        own: &v1::NodeIdentity,
        other: &v1::NodeIdentity,
    ) -> bool {
        let Some(cluster) = &self.cluster else { return true };
        let ring = cluster.seeds_for(key);
        let rank = |node: &v1::NodeIdentity| {
            ring.iter().position(|seed| seed.grpc_address == node.grpc_address).unwrap_or(usize::MAX)
        };
        (rank(own), &own.id) < (rank(other), &other.id)
    }

    fn others(&self, key: &ObjectKey, own: &v1::NodeIdentity) -> Vec<SeedAt> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let ring = cluster.seeds_for(key).into_iter().take(RANKS);
        ring.filter(|seed| seed.grpc_address != own.grpc_address).collect()
    }

    async fn state_at(
        &self,
        seed: &SeedAt,
        key: &ObjectKey,
        own: &v1::NodeIdentity,
    ) -> Option<v1::SurveyState> {
        let mut client = self.client(&seed.grpc_address)?;
        let question = v1::SurveyRequest { asker: Some(own.clone()), keys: vec![(*key).into()] };
        let answer = client.survey(question).await.ok()?.into_inner();
        answer.states().next()
    }

    fn client(&self, address: &str) -> Option<SeedClient<TracedChannel>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(address) {
            return Some(client.clone());
        }
        let client = SeedClient::new(self.cluster.as_ref()?.seed_channel(address).ok()?);
        clients.insert(address.to_owned(), client.clone());
        Some(client)
    }
}
