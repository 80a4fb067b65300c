//! The acting seed: what a daemon does for the others while no seed can be reached.
//!
//! One daemon per object (rendezvous over the last known daemons) reads the origin; the others ask it over the same
//! `Seed` service a seed serves. It refuses while it can reach a seed itself, so that a node with a broken line to the
//! seeds does not start a second read, while it has only just started and may still be told who the seeds are, and always
//! where the operator says `fallback: fail`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use darner_proto::v1;
use darner_proto::v1::seed_client::SeedClient;
use darner_proto::v1::seed_server::Seed;
use darner_seeding::Seeding;
use darner_transfer::cluster::Cluster;
use darner_transfer::download::Opener;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// A look at the seeds is good for so long.
const LOOK_LASTS: Duration = Duration::from_secs(2);
/// A seed that does not answer an empty question within this time counts as gone.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The replies of a seed.
type Replies = BoxStream<'static, Result<v1::OpenReply, Status>>;

/// A daemon's seat as a seed.
#[derive(Debug, Clone)]
pub struct Acting {
    seeding: Seeding,
    cluster: Cluster,
    allowed: Arc<AtomicBool>,
    looked: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Acting {
    /// Acts with `seeding` as long as `allowed` holds.
    pub fn new(seeding: Seeding, cluster: Cluster, allowed: Arc<AtomicBool>) -> Self {
        Self { seeding, cluster, allowed, looked: Arc::default() }
    }

    fn check_allowed(&self) -> Result<(), Status> {
        if self.allowed.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Status::unavailable("no seed can be reached, and `fallback` forbids this daemon to act as one"))
    }

    /// Whether some seed answers from here.
    async fn reaches_a_seed(&self) -> bool {
        let mut looked = self.looked.lock().await;
        if let Some((at, answer)) = *looked
            && at.elapsed() < LOOK_LASTS
        {
            return answer;
        }
        // Any key will do: all the seeds are asked.
        let seeds = self.cluster.seeds_for(&darner_lfs::Oid::EMPTY.into());
        let mut looks: futures::stream::FuturesUnordered<_> =
            seeds.into_iter().map(|seed| answers(self.cluster.clone(), seed.grpc_address)).collect();
        let mut answer = false;
        while let (false, Some(seen)) = (answer, looks.next().await) {
            answer = seen;
        }
        *looked = Some((Instant::now(), answer));
        answer
    }

    async fn check_needed(&self) -> Result<(), Status> {
        self.check_allowed()?;
        if self.cluster.is_settling() {
            return Err(Status::unavailable("this node has just started and does not know the seeds yet"));
        }
        if self.reaches_a_seed().await {
            return Err(Status::unavailable("a seed can be reached from here: ask it"));
        }
        Ok(())
    }
}

async fn answers(cluster: Cluster, address: String) -> bool {
    let Ok(channel) = cluster.seed_channel(&address) else { return false };
    let question = v1::SurveyRequest { asker: Some(cluster.identity().clone()), keys: Vec::new() };
    let answer = tokio::time::timeout(LOOK_WITHIN, SeedClient::new(channel).survey(question)).await;
    matches!(answer, Ok(Ok(_)))
}

/// This node's own way to itself: it has waited for the seeds already.
#[tonic::async_trait]
impl Opener for Acting {
    async fn open(&self, request: v1::OpenRequest) -> Result<Replies, Status> {
        self.check_allowed()?;
        Opener::open(&self.seeding, request).await
    }
}

/// The others' way to this node.
#[tonic::async_trait]
impl Seed for Acting {
    type OpenStream = <Seeding as Seed>::OpenStream;

    async fn open(&self, request: Request<v1::OpenRequest>) -> Result<Response<Self::OpenStream>, Status> {
        self.check_needed().await?;
        Seed::open(&self.seeding, request).await
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        self.check_needed().await?;
        Seed::probe(&self.seeding, request).await
    }

    async fn survey(&self, request: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyReply>, Status> {
        // Answers truly at any time: what this daemon holds or reads need not be read again.
        Seed::survey(&self.seeding, request).await
    }
}
