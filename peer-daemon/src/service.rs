//! The daemon's own gRPC service, for the command line on its node: status, the story of an object, a download.
//!
//! A download is proved exactly as on the git-facing port. Nothing here shows an address or a header of a credential.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use darner_chassis::metrics::{Metrics, Source};
use darner_lfs::ObjectKey;
use darner_origin::Origin;
use darner_proto::v1::daemon_server::Daemon;
use darner_proto::{convert, v1};
use darner_store::{Outcome, Store};
use darner_transfer::cluster::Cluster;
use darner_transfer::download::{Download, Downloads, OpenError, Wanted};
use darner_transfer::feed::Feed;
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::proof::{Held, Proof, Verdict};
use crate::stories::Stories;

/// What the service tells of.
#[derive(Debug, Clone)]
pub struct Service {
    /// Who is in the cluster.
    pub cluster: Cluster,
    /// Which upstreams are listed.
    pub origin: Origin,
    /// Counters.
    pub metrics: Metrics,
    /// What is kept.
    pub store: Store,
    /// Where it is kept.
    pub root: PathBuf,
    /// What is on its way.
    pub downloads: Downloads,
    /// Who may read.
    pub proof: Arc<Proof>,
    /// What happened.
    pub stories: Arc<Stories>,
    /// The manager's feed.
    pub feed: Feed,
    /// Whether the process is leaving.
    pub drain: darner_chassis::tasks::Drain,
}

type Progress = Pin<Box<dyn Stream<Item = Result<v1::GetProgress, Status>> + Send>>;

#[tonic::async_trait]
impl Daemon for Service {
    type GetStream = Progress;

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let usage = self.store.usage();
        let schedulers = self.cluster.schedulers().into_iter();
        let mut links: Vec<v1::Link> =
            schedulers.map(|(address, connected)| link("scheduler", &address, connected, "")).collect();
        let membership = self.cluster.membership();
        links.extend(
            membership.seeds.iter().map(|seed| link("seed-peer", &seed.grpc_address, true, &seed.id)),
        );
        if let Some(manager) = self.feed.manager() {
            links.push(link("manager", manager, self.feed.connected(), ""));
        }
        Ok(Response::new(v1::StatusReply {
            node: Some(self.cluster.identity().clone()),
            stored_bytes: usage.bytes,
            budget_bytes: usage.budget_bytes,
            objects: usage.objects,
            links,
            downloads: self.downloads.list().iter().map(running).collect(),
            draining: self.drain.is_draining(),
            mtls: self.cluster.wire().words(),
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let key = key(request.into_inner().key.as_ref())?;
        let record = self.store.record(&key);
        let state = match &record {
            Some(record) if record.authoritative => "authoritative",
            Some(record) if record.pinned => "pinned",
            Some(record) if record.complete => "verified",
            Some(_) => "partial",
            None => "absent",
        };
        Ok(Response::new(v1::ExplainReply {
            held: record.as_ref().is_some_and(|record| record.complete),
            state: state.to_owned(),
            size: record.as_ref().and_then(|record| record.layout.size()),
            upstreams: record.map(|record| record.upstreams).unwrap_or_default(),
            told: self.stories.of(&key),
            path: if self.store.contains(&key) { self.path(&key) } else { String::new() },
        }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Progress>, Status> {
        let request = request.into_inner();
        let key = key(request.key.as_ref())?;
        let credential =
            request.credential.ok_or_else(|| Status::invalid_argument("`credential` is missing"))?;
        if let Err(error) = self.origin.check(&credential.url) {
            self.metrics.authorization("not listed");
            return Err(Status::permission_denied(error.to_string()));
        }
        // Nobody outside can say that an upstream's Batch granted: that is proved like everything else.
        let credential = v1::Credential {
            upstream: darner_origin::provenance(&credential.url),
            granted_by_batch: false,
            ..credential
        };
        if let Some(stored) = self.store.get(&key).await {
            return match self.proof.prove(&Held::Stored(stored.clone()), &credential).await {
                Verdict::Proved(_) => Ok(Response::new(once(self.done(&key, stored.size(), Source::Local)))),
                Verdict::Refused(refusal) => Err(denied(&refusal)),
                Verdict::Unprovable => {
                    Err(Status::failed_precondition("only the origin can decide about this object"))
                }
            };
        }
        let wanted = Wanted { key, size: request.size, credential, urgent: true };
        let download = self.downloads.open(wanted).await.map_err(|error| unopened(&error))?;
        Ok(Response::new(self.clone().follow(download)))
    }
}

impl Service {
    /// A report at every growth, and one at the end.
    fn follow(self, download: Download) -> Progress {
        let changes = download.partial().subscribe();
        let state = (self, download, changes, false);
        Box::pin(futures::stream::unfold(state, |(service, download, mut changes, ended)| async move {
            if ended {
                return None;
            }
            changes.borrow_and_update();
            let outcome = download.partial().outcome();
            let size = download.partial().layout().size();
            let report = match outcome {
                Some(Outcome::Finished(stored)) => {
                    service.done(&download.key(), stored.size(), download.taken().source())
                }
                Some(Outcome::Confirmed) => v1::GetProgress {
                    error: "the disk is full: the object was not kept".to_owned(),
                    ..progress(&download, size)
                },
                Some(Outcome::Failed(error)) => v1::GetProgress { error, ..progress(&download, size) },
                None => {
                    let report = progress(&download, size);
                    let gone = changes.changed().await.is_err();
                    return Some((Ok(report), (service, download, changes, gone)));
                }
            };
            Some((Ok(report), (service, download, changes, true)))
        }))
    }

    fn done(&self, key: &ObjectKey, size: u64, source: Source) -> v1::GetProgress {
        v1::GetProgress {
            received: size,
            size: Some(size),
            done: true,
            path: self.path(key),
            source: source.label().to_owned(),
            error: String::new(),
        }
    }

    fn path(&self, key: &ObjectKey) -> String {
        let name = match key {
            ObjectKey::Sha256(oid) => self.root.join("objects").join(oid.path()),
            ObjectKey::Url(url) => {
                self.root.join("urls").join(darner_lfs::Oid::from_bytes(*url.as_bytes()).path())
            }
        };
        name.display().to_string()
    }
}

fn progress(download: &Download, size: Option<u64>) -> v1::GetProgress {
    v1::GetProgress {
        received: received(download),
        size,
        source: download.taken().source().label().to_owned(),
        ..Default::default()
    }
}

fn received(download: &Download) -> u64 {
    let (layout, holding) = (download.partial().layout(), download.partial().holding());
    let bytes = u64::from(holding.count()).saturating_mul(u64::from(layout.piece_bytes()));
    layout.size().map_or(bytes, |size| bytes.min(size))
}

fn running(download: &Download) -> v1::Running {
    v1::Running {
        key: Some(download.key().into()),
        size: download.partial().layout().size(),
        received: received(download),
        trace: download.span().in_scope(darner_chassis::telemetry::current_trace),
    }
}

fn link(kind: &str, address: &str, connected: bool, detail: &str) -> v1::Link {
    v1::Link { kind: kind.to_owned(), address: address.to_owned(), connected, detail: detail.to_owned() }
}

fn once(progress: v1::GetProgress) -> Progress {
    Box::pin(futures::stream::iter([Ok(progress)]))
}

fn key(message: Option<&v1::ObjectKey>) -> Result<ObjectKey, Status> {
    convert::key(message).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn denied(refusal: &v1::Refusal) -> Status {
    match refusal.status {
        404 | 410 => Status::not_found(refusal.message.clone()),
        400..=499 if refusal.status != 429 => Status::permission_denied(refusal.message.clone()),
        _ => Status::unavailable(refusal.message.clone()),
    }
}

fn unopened(error: &OpenError) -> Status {
    match error {
        OpenError::Refused(refusal) => denied(refusal),
        OpenError::NoSeed(_) => Status::unavailable(error.to_string()),
        OpenError::Store(_) => Status::resource_exhausted(error.to_string()),
    }
}
