//! The way to a seed that opens an object: the ring's owner first, then its successors, then one acting seed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use darner_chassis::grpc::TracedChannel;
use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::v1::seed_client::SeedClient;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{Timing, Wanted};
use crate::cluster::{Cluster, SeedAt};
use crate::node::Kind;

/// Between two rounds over the seeds while none answers.
const AGAIN: Duration = Duration::from_millis(300);
/// After this long without an answer a seed is asked whether it is there at all.
const QUIET: Duration = Duration::from_millis(1500);
/// A seed that is there answers that within this time.
const ALIVE: Duration = Duration::from_secs(1);
/// How long a seed is let think: it answers at the latest when the origin's headers have come.
const ANSWER: Duration = Duration::from_secs(30);

/// Why an object cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The origin refused this caller, or is busy.
    #[error("the origin answered {}: {}", .0.status, .0.message)]
    Refused(v1::Refusal),
    /// No seed answers and nobody may act as one.
    #[error("no seed can be reached: {0}")]
    NoSeed(String),
    /// The store of this node cannot take it.
    #[error(transparent)]
    Store(Arc<darner_store::StoreError>),
}

impl OpenError {
    /// For a trace: what went wrong, in a word or two.
    const fn verdict(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::NoSeed(_) => "no seed",
            Self::Store(_) => "store",
        }
    }
}

/// A seed as its callers see it: over gRPC, or in this process while it acts as one.
#[async_trait]
pub trait Opener: Send + Sync + fmt::Debug {
    /// Opens objects; a reply for each, as each is decided.
    async fn open(
        &self,
        request: v1::OpenRequest,
    ) -> Result<BoxStream<'static, Result<v1::OpenReply, tonic::Status>>, tonic::Status>;

    /// Whether it answers at all: a seed that waits for a slow origin does, a frozen one does not.
    async fn is_alive(&self) -> bool {
        true
    }
}

/// The way to the seeds.
#[derive(Debug)]
pub(super) struct Door {
    cluster: Cluster,
    timing: Timing,
    acting: OnceLock<Arc<dyn Opener>>,
    openers: Mutex<HashMap<(Kind, String), Arc<dyn Opener>>>,
    seedless: Mutex<Option<Seedless>>,
}

/// A stretch of time in which no seed answered anybody here: it is waited out once, not once per object.
#[derive(Debug, Clone, Copy)]
struct Seedless {
    since: Instant,
    last: Instant,
}

#[derive(Debug)]
struct GrpcOpener(SeedClient<TracedChannel>);

/// An address that cannot be dialled at all.
#[derive(Debug)]
struct Nowhere(String);

#[async_trait]
impl Opener for GrpcOpener {
    async fn open(
        &self,
        request: v1::OpenRequest,
    ) -> Result<BoxStream<'static, Result<v1::OpenReply, tonic::Status>>, tonic::Status> {
        let replies = self.0.clone().open(request).await?;
        Ok(replies.into_inner().boxed())
    }

    async fn is_alive(&self) -> bool {
        let mut client = self.0.clone();
        let question = client.survey(v1::SurveyRequest::default());
        // Any answer will do, a refusal too.
        tokio::time::timeout(ALIVE, question)
            .await
            .is_ok_and(|answer| answer.map_or_else(|status| is_answer(&status), |_| true))
    }
}

/// Whether a status came from the seed itself, rather than from a broken line to it.
fn is_answer(status: &tonic::Status) -> bool {
    !matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled)
}

#[async_trait]
impl Opener for Nowhere {
    async fn open(
        &self,
        _request: v1::OpenRequest,
    ) -> Result<BoxStream<'static, Result<v1::OpenReply, tonic::Status>>, tonic::Status> {
        Err(tonic::Status::unavailable(self.0.clone()))
    }
}

/// What one seed said.
enum Said {
    Opened(Box<v1::Opened>),
    Refused(v1::Refusal),
    Elsewhere(Box<v1::NodeIdentity>),
    Unreachable(String),
}

impl Door {
    pub(super) fn new(cluster: Cluster, timing: Timing) -> Self {
        Self {
            cluster,
            timing,
            acting: OnceLock::new(),
            openers: Mutex::default(),
            seedless: Mutex::default(),
        }
    }

    pub(super) fn set_acting(&self, opener: Arc<dyn Opener>) {
        if self.acting.set(opener).is_err() {
            tracing::debug!("the acting seed of this node was set before");
        }
    }

    /// The seed at an address.
    pub(super) fn at(&self, address: &str) -> Arc<dyn Opener> {
        self.opener(Kind::Seed, address)
    }

    fn opener(&self, kind: Kind, address: &str) -> Arc<dyn Opener> {
        let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || -> Arc<dyn Opener> {
            let channel = match kind {
                Kind::Seed => self.cluster.seed_channel(address),
                Kind::Daemon => self.cluster.acting_channel(address),
            };
            match channel {
                Ok(channel) => Arc::new(GrpcOpener(SeedClient::new(channel))),
                Err(error) => Arc::new(Nowhere(error.to_string())),
            }
        };
        Arc::clone(openers.entry((kind, address.to_owned())).or_insert_with(make))
    }

    /// Opens one object; `begun` when pieces of it are here already.
    pub(super) async fn open(&self, wanted: &Wanted, begun: bool) -> Result<v1::Opened, OpenError> {
        let mut request = self.request(std::slice::from_ref(wanted));
        for object in &mut request.objects {
            object.begun = begun;
        }
        let span = tracing::info_span!("authorise", verdict = tracing::field::Empty);
        let opened = self.open_somewhere(&request, wanted).instrument(span.clone()).await;
        span.record("verdict", opened.as_ref().map_or_else(OpenError::verdict, |_| "opened"));
        opened
    }

    async fn open_somewhere(
        &self,
        request: &v1::OpenRequest,
        wanted: &Wanted,
    ) -> Result<v1::Opened, OpenError> {
        loop {
            let round = Instant::now();
            let mut words = "none is known".to_owned();
            for seed in self.cluster.seeds_for(&wanted.key) {
                let said = self.ask(&seed, request, &wanted.key).await;
                if !matches!(said, Said::Unreachable(_)) {
                    *self.seedless() = None;
                }
                match said {
                    Said::Opened(opened) => return Ok(*opened),
                    Said::Refused(refusal) => return Err(OpenError::Refused(refusal)),
                    Said::Elsewhere(_) => "the seeds point at each other".clone_into(&mut words),
                    Said::Unreachable(why) => words = why,
                }
            }
            let is_long = self.seedless_since(round) >= self.timing.acting_after;
            if self.is_alone() || is_long && !self.cluster.is_settling() {
                return self.open_acting(request, &wanted.key, words).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether nobody was ever named who could bring a seed: then there is nothing to wait for.
    fn is_alone(&self) -> bool {
        let any = darner_lfs::Oid::EMPTY.into();
        self.cluster.schedulers().is_empty() && self.cluster.seeds_for(&any).is_empty()
    }

    /// For how long no seed has answered; called after a round, begun at `round`, in which none did.
    fn seedless_since(&self, round: Instant) -> Duration {
        let now = Instant::now();
        let mut seedless = self.seedless();
        // A stretch nobody looked at for long may have been broken unseen.
        let known =
            seedless.filter(|known| round.saturating_duration_since(known.last) < self.timing.acting_after);
        let since = known.map_or(round, |known| known.since);
        *seedless = Some(Seedless { since, last: now });
        now - since
    }

    fn seedless(&self) -> std::sync::MutexGuard<'_, Option<Seedless>> {
        self.seedless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One acting seed per object: the first daemon by rendezvous that answers, this one included.
    async fn open_acting(
        &self,
        request: &v1::OpenRequest,
        key: &ObjectKey,
        words: String,
    ) -> Result<v1::Opened, OpenError> {
        let Some(own) = self.acting.get() else { return Err(OpenError::NoSeed(words)) };
        let daemons = self.cluster.daemons_for(key);
        let candidates = daemons.iter().map(|daemon| {
            if daemon.id == self.cluster.identity().id {
                Arc::clone(own)
            } else {
                self.opener(Kind::Daemon, &daemon.grpc_address)
            }
        });
        let mut last = words;
        for opener in candidates.chain([Arc::clone(own)]) {
            match self.hear(opener.as_ref(), request, key).await {
                Said::Opened(opened) => return Ok(*opened),
                Said::Refused(refusal) => return Err(OpenError::Refused(refusal)),
                Said::Elsewhere(_) => {}
                Said::Unreachable(why) => last = why,
            }
        }
        Err(OpenError::NoSeed(last))
    }

    async fn ask(&self, seed: &SeedAt, request: &v1::OpenRequest, key: &ObjectKey) -> Said {
        let said = self.hear(self.at(&seed.grpc_address).as_ref(), request, key).await;
        match said {
            Said::Elsewhere(other) => self.hear(self.at(&other.grpc_address).as_ref(), request, key).await,
            said => said,
        }
    }

    async fn hear(&self, opener: &dyn Opener, request: &v1::OpenRequest, key: &ObjectKey) -> Said {
        let replies = async {
            let mut replies = opener.open(request.clone()).await?;
            match replies.next().await {
                Some(reply) => reply,
                None => Err(tonic::Status::unavailable("the seed ended without an answer")),
            }
        };
        tokio::pin!(replies);
        let until = Instant::now() + ANSWER;
        loop {
            match tokio::time::timeout(QUIET, &mut replies).await {
                Ok(Ok(reply)) => return said(reply),
                Ok(Err(status)) => {
                    tracing::debug!(%key, code = ?status.code(), words = status.message(), "a seed did not open");
                    return Said::Unreachable(status.message().to_owned());
                }
                Err(_elapsed) if Instant::now() >= until => {
                    return Said::Unreachable(format!("no answer within {ANSWER:?}"));
                }
                Err(_elapsed) if !opener.is_alive().await => {
                    return Said::Unreachable("it does not answer".to_owned());
                }
                Err(_elapsed) => {}
            }
        }
    }

    /// The request for some objects, in this node's name. The reads it begins are told into the span it is made in.
    pub(super) fn request(&self, wanted: &[Wanted]) -> v1::OpenRequest {
        let trace = telemetry::current_traceparent().unwrap_or_default();
        let object = |wanted: &Wanted| v1::OpenObject {
            key: Some(wanted.key.into()),
            size: wanted.size,
            credential: Some(wanted.credential.clone()),
            urgent: wanted.urgent,
            begun: false,
            trace: trace.clone(),
        };
        v1::OpenRequest {
            taker: Some(self.cluster.introduction()),
            objects: wanted.iter().map(object).collect(),
            content_bytes: 0,
        }
    }
}

fn said(reply: v1::OpenReply) -> Said {
    match reply.outcome {
        Some(Outcome::Opened(opened)) => Said::Opened(Box::new(opened)),
        Some(Outcome::Refusal(refusal)) => Said::Refused(refusal),
        Some(Outcome::Elsewhere(other)) => Said::Elsewhere(Box::new(other)),
        None => Said::Unreachable("the seed's answer is empty".to_owned()),
    }
}
