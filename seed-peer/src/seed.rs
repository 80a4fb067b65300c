//! The wiring of a seed: which room stands on which, in what order they start and end.
//!
//! Owns: the listeners and the start order. Never: a decision. A seed starts and serves with no scheduler and no manager
//! reachable (I8).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::{Ended, Started};
use darner_chassis::config::ConfigError;
use darner_chassis::grpc;
use darner_chassis::metrics::Role;
use darner_chassis::net::{self, BindError};
use darner_origin::{Origin, OriginConfig};
use darner_proto::v1::seed_server::SeedServer;
use darner_seeding::{Parts, Seeding};
use darner_store::{Store, StoreConfig, StoreError};
use darner_transfer::cluster::{Cluster, ClusterConfig};
use darner_transfer::download::{self, Downloads, Timing};
use darner_transfer::link::HttpLinks;
use darner_transfer::pieces::PieceServer;
use darner_transfer::trust::Trust;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::config::Config;
use crate::follow;
use crate::node::{self, NodeError, Reached};

/// Where a seed keeps its data when nothing is said.
const DATA: &str = "/var/lib/darner/seed-peer";
/// How long transfers under way may go on after the word to leave. Takers go on with another seed.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Why a seed does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener does not know its address.
    #[error("listening address: {0}")]
    Address(std::io::Error),
    /// The data directory or a key.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The store.
    #[error("`data`: {0}")]
    Store(#[from] StoreError),
}

/// Runs a seed until the drain.
pub async fn run(started: Started<Config>) -> Ended {
    let reached = start(&started).await?;
    started.ready.write(&[("grpc", reached.grpc.to_string()), ("piece", reached.piece.to_string())])?;
    started.drain.wait().await;
    if tokio::time::timeout(LEAVE_WITHIN, started.drain.finished()).await.is_err() {
        tracing::info!("transfers are cut to leave in time");
    }
    Ok(())
}

/// Starts a seed on the tasks of `started`; it serves until they close.
pub async fn start(started: &Started<Config>) -> Result<Reached, StartError> {
    let config = &started.config.value;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let origin = Origin::new(&origin_config(config), started.metrics.clone(), Arc::clone(&clock))
        .map_err(|words| ConfigError::new(words.0))?;
    let data = data_of(config)?;
    // Bound before anything else, so that a busy port is told at once.
    let grpc = net::bind(&config.grpc.listen, "grpc.listen")?;
    let piece = net::bind(&config.piece.listen, "piece.listen")?;
    let reached = Reached { grpc: address(&grpc)?, piece: address(&piece)? };
    let (signer, verifier) = node::keys(&data, &config.keys)?;
    let identity = node::identity(&data, &config.shared.host, reached, &signer)?;
    let store = Store::open(store_config(config, &data)).await?;
    let cluster = Cluster::start(
        ClusterConfig {
            identity: identity.clone(),
            schedulers: config.schedulers.clone(),
            seed_peers: Vec::new(),
            state_file: Some(data.join("membership")),
        },
        store.clone(),
        &started.tasks,
    );
    let trust = Trust::new(verifier, &identity.id, &identity.tenant);
    let gathering = download::Parts {
        store: store.clone(),
        cluster: cluster.clone(),
        links: Arc::new(HttpLinks::new(&identity.id)),
        trust: trust.clone(),
        metrics: started.metrics.clone(),
        clock: Arc::clone(&clock),
        tasks: started.tasks.clone(),
    };
    let seeding = Seeding::new(Parts {
        identity,
        store: store.clone(),
        origin,
        signer: Arc::new(signer),
        cluster: Some(cluster.clone()),
        downloads: Some(Downloads::new(gathering, Timing::default())),
        metrics: started.metrics.clone(),
        clock: Arc::clone(&clock),
        random: Arc::new(System),
        tasks: started.tasks.clone(),
    });
    serve(started, Doors { grpc, piece, trust }, &seeding, &store);
    follow::start(started, &data, &cluster, &store);
    tracing::info!(grpc = %reached.grpc, piece = %reached.piece, "seed peer listens");
    Ok(reached)
}

/// What is listened on, and whose grants open it.
struct Doors {
    grpc: TcpListener,
    piece: TcpListener,
    trust: Trust,
}

fn serve(started: &Started<Config>, doors: Doors, seeding: &Seeding, store: &Store) {
    let tasks = &started.tasks;
    let pieces =
        PieceServer::new(store.clone(), doors.trust, Arc::new(System)).with_referrals(seeding.referrals());
    tasks.spawn("piece port", pieces.serve(doors.piece, tasks.clone()));
    let routes = Routes::new(SeedServer::new(seeding.clone()));
    grpc::serve(doors.grpc, routes, None, tasks, &started.drain);
}

fn origin_config(config: &Config) -> OriginConfig {
    OriginConfig {
        upstreams: config.upstreams.clone(),
        resolve: config.resolve.clone(),
        upstream_ca: config.upstream_ca.clone(),
        proxy: config.origin.proxy.clone(),
        connect_forges: config.forges,
        role: Role::Seed,
    }
}

fn data_of(config: &Config) -> Result<PathBuf, StartError> {
    let said = &config.shared.data;
    let data = if said.as_os_str().is_empty() { Path::new(DATA) } else { said.as_path() }.to_owned();
    std::fs::create_dir_all(&data).map_err(|source| NodeError::Data { path: data.clone(), source })?;
    Ok(data)
}

fn store_config(config: &Config, data: &Path) -> StoreConfig {
    StoreConfig {
        budget_bytes: config.storage.budget.map(|budget| budget.0),
        budget_inodes: config.storage.inodes,
        free_floor_bytes: config.storage.reserve.0,
        ..StoreConfig::at(data)
    }
}

fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Address)
}
