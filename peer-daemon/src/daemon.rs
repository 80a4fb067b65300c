//! The wiring of a daemon: which room stands on which, in what order they start and end.
//!
//! Owns: the listeners and the start order. Never: a decision. Everything the control plane offers is optional: a
//! daemon starts and serves with no scheduler, no manager and no seed reachable (I8).

mod followed;
mod house;
mod started;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::{Ended, Started};
use darner_chassis::config::ConfigError;
use darner_chassis::metrics::Role;
use darner_chassis::net;
use darner_chassis::seal::Sealer;
use darner_chassis::sign::Verifier;
use darner_origin::{Origin, OriginConfig};
use darner_store::{Store, StoreConfig};
use darner_transfer::cluster::{Cluster, ClusterConfig};
use darner_transfer::trust::Trust;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::config::seed_words::Rules;
use crate::edge::Certificate;
use crate::node::{Node, NodeError, Reached};
use crate::ticket::Tickets;
use house::{Base, House};
pub use started::{Addresses, StartError};

/// Where a daemon keeps its data when nothing is said.
const DATA: &str = "/var/lib/darner/peer-daemon";
/// How long transfers under way may go on after the word to leave. Clients resume elsewhere what is cut.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Runs a daemon until the drain.
pub async fn run(started: Started<Config>) -> Ended {
    let addresses = start(&started).await?;
    started.ready.write(&[
        ("proxy", addresses.proxy.to_string()),
        ("piece", addresses.piece.to_string()),
        ("grpc", addresses.grpc.to_string()),
    ])?;
    started.drain.wait().await;
    if tokio::time::timeout(LEAVE_WITHIN, started.drain.finished()).await.is_err() {
        tracing::info!("transfers are cut to leave in time");
    }
    Ok(())
}

/// The listeners, bound before anything else so that a busy port is told at once.
struct Listeners {
    git: TcpListener,
    grpc: TcpListener,
    piece: TcpListener,
}

/// Starts a daemon on the tasks of `started`; it serves until they close.
pub async fn start(started: &Started<Config>) -> Result<Addresses, StartError> {
    let config = &started.config.value;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let (origin, rules) = checked(config, started, &clock)?;
    show_forges(started);
    let data = data_of(config)?;
    let listeners = Listeners {
        git: net::bind(&config.git.listen, "git.listen")?,
        grpc: net::bind(&config.grpc.listen, "grpc.listen")?,
        piece: net::bind(&config.piece.listen, "piece.listen")?,
    };
    let addresses = Addresses::of(&listeners.git, &listeners.grpc, &listeners.piece)?;
    let host = &config.shared.host;
    let node = Node::open(&data, host)?;
    let reached = Reached { grpc: addresses.grpc, piece: addresses.piece };
    let identity = node.identity(host, reached);
    let certificate = Certificate::load(&config.git.tls, &data, &followed::names(host, addresses.proxy))?;
    let tickets_path = config.keys.tickets.clone().unwrap_or_else(|| data.join("ticket-keys"));
    let sealer =
        Sealer::open_or_generate(&tickets_path).map_err(|error| StartError::key("keys.tickets", &error))?;
    let seeds = match &config.keys.grants_public {
        Some(path) => {
            Verifier::from_file(path).map_err(|error| StartError::key("keys.grantsPublic", &error))?
        }
        None => Verifier::new(),
    };
    let store = Store::open(store_config(config, &data)).await?;
    let trust = Trust::new(seeds, &identity.id, &identity.tenant);
    trust.learn(&identity);
    let cluster_config = ClusterConfig {
        identity,
        schedulers: config.schedulers.clone(),
        seed_peers: config.seed_peers.clone(),
        state_file: Some(data.join("membership")),
    };
    let cluster = Cluster::start(cluster_config, store.clone(), &started.tasks);
    let base = Base { data, clock, origin, store, trust, cluster, node };
    let house = House::build(started, base);
    house.open_git(started, (listeners.git, certificate), (Tickets::new(sealer, host.tenant.clone()), rules));
    house.open_nodes(started, listeners.grpc, listeners.piece)?;
    house.follow(started);
    tracing::info!(git = %addresses.proxy, piece = %addresses.piece, grpc = %addresses.grpc, "peer daemon listens");
    Ok(addresses)
}

/// Everything that can be wrong in the configuration alone, told at once.
fn checked(
    config: &Config,
    started: &Started<Config>,
    clock: &Arc<dyn Clock>,
) -> Result<(Origin, Rules), StartError> {
    let mut mistakes = Vec::new();
    let origin =
        Origin::new(&origin_config(config, &config.upstreams), started.metrics.clone(), Arc::clone(clock));
    let origin = origin.map_err(|words| mistakes.extend(words.0)).ok();
    let rules = Rules::new(config.proxy.as_ref()).map_err(|words| mistakes.push(words)).ok();
    if config.git.tls.cert.is_some() != config.git.tls.key.is_some() {
        mistakes.push("`git.tls.cert` and `git.tls.key` belong together: set both or none".to_owned());
    }
    if config.proxy.as_ref().is_some_and(|proxy| proxy.security.insecure || proxy.registry_mirror.insecure) {
        tracing::warn!("`insecure: true` is accepted and without effect: origins are always verified");
    }
    match (origin, rules) {
        (Some(origin), Some(rules)) if mistakes.is_empty() => Ok((origin, rules)),
        _ => Err(ConfigError::new(mistakes).into()),
    }
}

/// `/config` shows which forges CONNECT reaches beside the list, where it does.
fn show_forges(started: &Started<Config>) {
    if !started.config.value.connects_to_forges() {
        return;
    }
    let config = started.config.clone();
    started.admin.show_config(Arc::new(move || {
        let mut shown = config.render_redacted();
        if let Some(keys) = shown.as_object_mut() {
            let forges = serde_json::json!({ "value": darner_origin::FORGES, "source": "built in" });
            keys.insert("connectForges".to_owned(), forges);
        }
        shown
    }));
}

/// How upstreams are reached under these entries.
fn origin_config(config: &Config, upstreams: &[String]) -> OriginConfig {
    OriginConfig {
        upstreams: upstreams.to_vec(),
        resolve: config.resolve.clone(),
        upstream_ca: config.upstream_ca.clone(),
        proxy: config.origin.proxy.clone(),
        connect_forges: config.connects_to_forges(),
        role: Role::Daemon,
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

/// The address of a listener.
fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Address)
}

#[cfg(test)]
mod tests;
