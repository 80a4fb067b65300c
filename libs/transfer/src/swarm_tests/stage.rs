//! The stage of the swarm tests: a stand-in seed over real gRPC and the real piece link, daemons with real stores,
//! and links with faults.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use darner_chassis::clock::System;
use darner_chassis::metrics::Metrics;
use darner_chassis::sign::{Signer, Verifier};
use darner_chassis::tasks::Tasks;
use darner_lfs::{Layout, ObjectKey, RunningSha256};
use darner_proto::v1::{self, open_reply::Outcome as Reply, seed_server};
use darner_proto::{attestation, grant};
use darner_store::{Partial, Store, StoreConfig};
use futures::StreamExt as _;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, ClusterConfig};
use crate::download::{Download, Downloads, OpenError, Parts, Timing, Wanted};
use crate::link::{Ask, Chunks, Entries, Events, HttpLinks, LinkError, Links, Peer};
use crate::pieces::PieceServer;
use crate::trust::Trust;

/// Bytes of which no two neighbouring pieces are alike.
pub(super) fn content(size: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
}

pub(super) struct Stage {
    pub(super) key: ObjectKey,
    pub(super) content: Vec<u8>,
    pub(super) seed: Arc<Seed>,
    seed_grpc: String,
    verifier: Verifier,
    tasks: Tasks,
    dirs: Mutex<Vec<tempfile::TempDir>>,
}

pub(super) struct Seed {
    pub(super) identity: v1::NodeIdentity,
    pub(super) fed: AtomicU64,
    content: Vec<u8>,
    key: ObjectKey,
    partial: Partial,
    signer: Signer,
    takers: Mutex<Vec<v1::NodeIdentity>>,
    lie: AtomicBool,
    /// It answers as it would have just before the object was confirmed: with this read.
    behind: AtomicU64,
}

pub(super) struct Daemon {
    pub(super) identity: v1::NodeIdentity,
    pub(super) downloads: Downloads,
    pub(super) links: Arc<FaultyLinks>,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    store: Store,
    wanted: Wanted,
}

fn identity(id: &str, role: v1::Role, piece: &str) -> v1::NodeIdentity {
    let (id, piece_address, tenant) = (id.to_owned(), piece.to_owned(), "t".to_owned());
    v1::NodeIdentity { id, role: role.into(), piece_address, tenant, ..Default::default() }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

impl Stage {
    pub(super) async fn new(size: usize) -> Self {
        Self::with_layout(size, Layout::of_size(size as u64)).await
    }

    pub(super) async fn with_layout(size: usize, layout: Layout) -> Self {
        let content = content(size);
        let mut hash = RunningSha256::default();
        hash.update(&content);
        let key = ObjectKey::from(hash.finish());
        let signer = Signer::generate("seed-0").unwrap();
        let verifier = Verifier::new();
        verifier.add("seed-0", signer.public_key());
        let tasks = Tasks::new();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::at(dir.path())).await.unwrap();
        let partial = store.partial(key, layout).await.unwrap();
        let (pieces, piece_address) = listener().await;
        let trust = Trust::new(verifier.clone(), "seed", "t");
        tasks.spawn("pieces", PieceServer::new(store, trust, Arc::new(System)).serve(pieces, tasks.clone()));
        let seed = Arc::new(Seed {
            identity: identity("seed", v1::Role::Seed, &piece_address),
            fed: AtomicU64::new(0),
            content: content.clone(),
            key,
            partial,
            signer,
            takers: Mutex::default(),
            lie: AtomicBool::new(false),
            behind: AtomicU64::new(0),
        });
        let (grpc, seed_grpc) = listener().await;
        let service = seed_server::SeedServer::from_arc(Arc::clone(&seed));
        tasks.spawn("seed", async move {
            let served = tonic::transport::Server::builder().add_service(service);
            served.serve_with_incoming(TcpListenerStream::new(grpc)).await.unwrap();
        });
        Self { key, content, seed, seed_grpc, verifier, tasks, dirs: Mutex::new(vec![dir]) }
    }

    pub(super) fn wanted(&self) -> Wanted {
        let credential = v1::Credential { url: "https://origin/x".to_owned(), ..Default::default() };
        Wanted { key: self.key, size: self.seed.partial.layout().size(), credential, urgent: true }
    }

    pub(super) async fn daemon(&self, id: &str) -> Daemon {
        let timing = Timing {
            stall: Duration::from_millis(700),
            acting_after: Duration::from_millis(500),
            give_up: Duration::from_secs(10),
            linger: Duration::from_millis(50),
            ..Timing::default()
        };
        self.daemon_with(id, timing).await
    }

    /// A daemon that waits for the others as long as it takes: whom it takes from is then no question of time.
    pub(super) async fn patient_daemon(&self, id: &str) -> Daemon {
        let long = Duration::from_mins(2);
        self.daemon_with(
            id,
            Timing { stall: long, grace: long, give_up: long, linger: long, ..Timing::default() },
        )
        .await
    }

    async fn daemon_with(&self, id: &str, timing: Timing) -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::at(dir.path())).await.unwrap();
        self.dirs.lock().unwrap().push(dir);
        let (pieces, piece_address) = listener().await;
        let identity = identity(id, v1::Role::Daemon, &piece_address);
        let (trust, tasks) = (Trust::new(self.verifier.clone(), id, "t"), self.tasks.child());
        let server = PieceServer::new(store.clone(), trust.clone(), Arc::new(System));
        tasks.spawn("pieces", server.serve(pieces, tasks.clone()));
        let config = ClusterConfig {
            identity: identity.clone(),
            schedulers: Vec::new(),
            seed_peers: vec![self.seed_grpc.clone()],
            state_file: None,
            wire: darner_chassis::tls::Wire::clear(),
        };
        let cluster = Cluster::start(config, store.clone(), &tasks);
        let links = Arc::new(FaultyLinks::new(HttpLinks::new(id)));
        let metrics = Metrics::new();
        let parts = Parts {
            store: store.clone(),
            cluster,
            links: links.clone(),
            trust,
            metrics: metrics.clone(),
            clock: Arc::new(System),
            tasks: tasks.clone(),
        };
        let downloads = Downloads::new(parts, timing);
        Daemon { identity, downloads, links, metrics, tasks, store, wanted: self.wanted() }
    }
}

impl Daemon {
    pub(super) async fn open(&self) -> Result<Download, OpenError> {
        self.downloads.open(self.wanted.clone()).await
    }

    pub(super) async fn has(&self) -> bool {
        self.store.get(&self.wanted.key).await.is_some()
    }

    /// Waits for the note that follows the end of a download.
    pub(super) async fn comes_from(&self, upstream: &str) -> bool {
        let told = async {
            while !self.store.has_upstream(&self.wanted.key, upstream) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.is_ok()
    }

    pub(super) async fn kept(&self) -> Vec<u8> {
        let stored = self.store.get(&self.wanted.key).await.expect("the object is kept");
        let mut all = Vec::new();
        while (all.len() as u64) < stored.size() {
            all.extend_from_slice(&stored.read(all.len() as u64, 1 << 20).await.unwrap());
        }
        all
    }
}

impl Seed {
    pub(super) fn introduce(&self, node: &v1::NodeIdentity) {
        self.takers.lock().unwrap().push(node.clone());
    }

    pub(super) fn lie_in_the_last_piece(&self) {
        self.lie.store(true, Ordering::Relaxed);
    }

    /// Its answers are on their way while the object ends: they still speak of this read.
    pub(super) fn answer_behind(&self, reading: u64) {
        self.behind.store(reading, Ordering::Relaxed);
    }

    pub(super) fn feed_all(&self) {
        self.feed_to(self.content.len() as u64);
        self.partial.fix_size(self.content.len() as u64);
        while self.partial.hash_more() {}
        let finished = self.partial.finish_with(crate::statements::kept(&self.partial), &[]);
        assert_eq!(finished.is_ok(), !self.lie.load(Ordering::Relaxed), "{finished:?}");
    }

    pub(super) async fn feed_slowly(&self) {
        let piece = u64::from(self.partial.layout().piece_bytes());
        while self.fed.load(Ordering::Relaxed) < self.content.len() as u64 {
            self.feed_to(self.fed.load(Ordering::Relaxed) + piece);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        self.feed_all();
    }

    /// As an origin flight does: in order, each piece attested as it completes.
    pub(super) fn feed_to(&self, to: u64) {
        let to = to.min(self.content.len() as u64);
        let layout = self.partial.layout().with_size(self.content.len() as u64);
        for piece in 0..layout.piece_count().unwrap() {
            let range = layout.piece_range(piece).unwrap();
            if self.partial.has(piece) || range.end > to {
                continue;
            }
            if self.partial.layout().size().is_none() && range.end == self.content.len() as u64 {
                self.partial.fix_size(range.end);
            }
            let mut bytes = self.content[at(range.start)..at(range.end)].to_vec();
            if self.lie.load(Ordering::Relaxed) && range.end == self.content.len() as u64 {
                bytes[0] ^= 1;
            }
            let mut writer = self.partial.begin(piece, true).unwrap();
            writer.write(&bytes).unwrap();
            let digest = writer.finish(None).unwrap();
            let statement = self.statement(piece, digest.as_bytes());
            assert!(self.partial.attest(piece, &[digest], statement.encode_to_vec().into(), 1, "seed"));
        }
        self.fed.store(to, Ordering::Relaxed);
    }

    fn statement(&self, piece: u32, digest: &[u8]) -> v1::Attestation {
        let mut statement = v1::Attestation {
            key: Some(self.key.into()),
            layout: Some(self.partial.layout().into()),
            first_piece: piece,
            digests: digest.to_vec().into(),
            state: v1::AttestationState::Provisional.into(),
            attester: "seed".to_owned(),
            key_id: "seed-0".to_owned(),
            reading: 1,
            ..Default::default()
        };
        statement.signature = self.signer.sign(&attestation::signed_bytes(&statement)).into();
        statement
    }

    /// A permission for a node, for one read (0: for the confirmed object).
    pub(super) fn grant(&self, taker: &v1::NodeIdentity, reading: u64) -> v1::Grant {
        let mut granted = v1::Grant {
            key: Some(self.key.into()),
            node: taker.id.clone(),
            expires_ms: u64::MAX / 2,
            key_id: "seed-0".to_owned(),
            tenant: taker.tenant.clone(),
            reading,
            ..Default::default()
        };
        granted.signature = self.signer.sign(&grant::signed_bytes(&granted)).into();
        granted
    }

    fn opened(&self, taker: &v1::NodeIdentity) -> v1::Opened {
        let behind = self.behind.load(Ordering::Relaxed);
        let confirmed = self.partial.outcome().is_some() && behind == 0;
        v1::Opened {
            grant: Some(self.grant(taker, if confirmed { 0 } else { behind.max(1) })),
            layout: Some(self.partial.layout().into()),
            complete: confirmed,
            takers: self.takers.lock().unwrap().clone(),
            seed: Some(self.identity.clone()),
            upstream: "https://origin/repo".to_owned(),
            ..Default::default()
        }
    }
}

type Replies = Pin<Box<dyn futures::Stream<Item = Result<v1::OpenReply, Status>> + Send>>;

#[tonic::async_trait]
impl seed_server::Seed for Seed {
    type OpenStream = Replies;

    async fn open(&self, request: Request<v1::OpenRequest>) -> Result<Response<Replies>, Status> {
        let request = request.into_inner();
        let taker = request.taker.unwrap_or_default();
        let reply = |object: v1::OpenObject| {
            Ok(v1::OpenReply { key: object.key, outcome: Some(Reply::Opened(self.opened(&taker))) })
        };
        let replies: Vec<_> = request.objects.into_iter().map(reply).collect();
        Ok(Response::new(futures::stream::iter(replies).boxed()))
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        Err(Status::unimplemented("not on this stage"))
    }

    async fn survey(&self, _: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyReply>, Status> {
        Err(Status::unimplemented("not on this stage"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    FlipByte,
    Freeze,
}

/// Links whose peers misbehave by name.
#[derive(Debug)]
pub(super) struct FaultyLinks {
    inner: HttpLinks,
    faults: Mutex<HashMap<String, Fault>>,
    asked: Arc<Mutex<HashMap<String, u64>>>,
    /// Who is followed since when he had the object.
    watched: Arc<Mutex<HashSet<String>>>,
}

#[derive(Debug)]
struct FaultyPeer {
    name: String,
    inner: Arc<dyn Peer>,
    fault: Option<Fault>,
    asked: Arc<Mutex<HashMap<String, u64>>>,
    watched: Arc<Mutex<HashSet<String>>>,
}

impl FaultyLinks {
    fn new(inner: HttpLinks) -> Self {
        Self { inner, faults: Mutex::default(), asked: Arc::default(), watched: Arc::default() }
    }

    pub(super) fn set(&self, peer: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(peer.to_owned(), fault);
    }

    pub(super) fn watches(&self, peers: &[&str]) -> bool {
        let watched = self.watched.lock().unwrap();
        peers.iter().all(|peer| watched.contains(*peer))
    }

    pub(super) fn asked(&self, peer: &str) -> u64 {
        self.asked.lock().unwrap().get(peer).copied().unwrap_or(0)
    }
}

impl Links for FaultyLinks {
    fn peer(&self, node: &v1::NodeIdentity) -> Arc<dyn Peer> {
        let (name, fault) = (node.id.clone(), self.faults.lock().unwrap().get(&node.id).copied());
        let (inner, asked, watched) = (self.inner.peer(node), self.asked.clone(), self.watched.clone());
        Arc::new(FaultyPeer { name, inner, fault, asked, watched })
    }
}

#[async_trait]
impl Peer for FaultyPeer {
    async fn fetch(&self, ask: Ask) -> Result<Chunks, LinkError> {
        *self.asked.lock().unwrap().entry(self.name.clone()).or_default() += 1;
        match self.fault {
            None => self.inner.fetch(ask).await,
            Some(Fault::Freeze) => std::future::pending().await,
            Some(Fault::FlipByte) => {
                let chunks = self.inner.fetch(ask).await?;
                let mut first = true;
                Ok(Box::pin(chunks.map(move |chunk| {
                    let mut bytes = chunk?.to_vec();
                    if std::mem::take(&mut first) {
                        bytes[0] ^= 1;
                    }
                    Ok(Bytes::from(bytes))
                })))
            }
        }
    }

    async fn watch(&self, key: ObjectKey, grant: Arc<v1::Grant>) -> Result<Events, LinkError> {
        let events = self.inner.watch(key, grant).await?;
        self.watched.lock().unwrap().insert(self.name.clone());
        match self.fault {
            Some(Fault::Freeze) => Ok(Box::pin(events.take(3).chain(futures::stream::pending()))),
            _ => Ok(events),
        }
    }

    async fn bundle(&self, request: v1::BundleRequest) -> Result<Entries, LinkError> {
        self.inner.bundle(request).await
    }
}

/// The status a plain GET without credentials gets.
pub(super) async fn status(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// What the code says, on the test's output: for a look when a test fails.
pub(super) fn log() {
    let subscriber = tracing_subscriber::fmt().with_env_filter("darner=debug").with_test_writer().finish();
    drop(tracing::subscriber::set_global_default(subscriber));
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
