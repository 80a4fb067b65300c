//! The wiring of a daemon: which room stands on which, in what order they start and end.
//!
//! Owns: the listeners and the start order. Never: a decision. Everything the control plane offers is optional: a
//! daemon starts and serves with no scheduler, no manager and no seed reachable (I8).

mod followed;
mod house;
mod started;

use std::path::PathBuf;
use std::sync::Arc;

use darner_chassis::clock::{Clock, System};
use darner_chassis::command::{Ended, Started};
use darner_chassis::config::ConfigError;
use darner_chassis::metrics::Role;
use darner_chassis::seal::Sealer;
use darner_chassis::sign::Verifier;
use darner_chassis::tls::Wire;
use darner_origin::{Origin, OriginConfig};
use darner_proto::v1;
use darner_transfer::node::{self, Ground, Kind, Node, Reached};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::config::seed_words::Rules;
use crate::edge::Certificate;
use crate::keys;
use crate::ticket::Tickets;
use house::{Base, House};
pub use started::{Addresses, StartError};

/// Runs a daemon until the drain.
pub async fn run(started: Started<Config>) -> Ended {
    let addresses = start(&started).await?;
    started.ready.write(&[
        ("proxy", addresses.proxy.to_string()),
        ("piece", addresses.piece.to_string()),
        ("grpc", addresses.grpc.to_string()),
    ])?;
    node::leave(&started.drain).await;
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
    let data = Kind::Daemon.data(&config.shared)?;
    let listeners = Listeners {
        git: node::bind(&config.git.listen, "git.listen")?,
        grpc: node::bind(&config.grpc.listen, "grpc.listen")?,
        piece: node::bind(&config.piece.listen, "piece.listen")?,
    };
    let addresses = Addresses::of(&listeners.git, &listeners.grpc, &listeners.piece)?;
    let host = &config.shared.host;
    let id = node::kept_id(Kind::Daemon, &data, &config.shared)?;
    let wire = Kind::Daemon
        .wire(&config.shared, (&id, &data), config.manager.as_deref(), &started.tasks)
        .await
        .map_err(StartError::from)?;
    let signer = keys::own(&data, &id)?;
    let reached = Reached { grpc: addresses.grpc, piece: addresses.piece };
    let identity = node::identity(Kind::Daemon, id, host, reached, signer.public_key());
    let certificate = Certificate::load(&config.git.tls, &data, &followed::names(host, addresses.proxy))?;
    let tickets_path = config.keys.tickets.clone().unwrap_or_else(|| data.join("ticket-keys"));
    let sealer = Sealer::open_or_generate(&tickets_path)
        .map_err(|error| node::StartError::key("keys.tickets", &error))?;
    let honoured = node::honoured(config.keys.grants_public.as_deref())?;
    let node = Node::stand(ground(config, data, (identity, wire), honoured), &started.tasks).await?;
    node.trust.learn(node.cluster.identity());
    let house = House::build(started, Base { clock, origin, node, signer });
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
    let origin = Origin::new(&origin_config(config), started.metrics.clone(), Arc::clone(clock));
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
        _ => Err(node::StartError::from(ConfigError::new(mistakes)).into()),
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

/// How upstreams are reached.
fn origin_config(config: &Config) -> OriginConfig {
    OriginConfig {
        upstreams: config.upstreams.clone(),
        resolve: config.resolve.clone(),
        upstream_ca: config.upstream_ca.clone(),
        proxy: config.origin.proxy.clone(),
        connect_forges: config.connects_to_forges(),
        role: Role::Daemon,
    }
}

/// What the daemon stands on.
fn ground(
    config: &Config,
    data: PathBuf,
    (identity, wire): (v1::NodeIdentity, Wire),
    honoured: Verifier,
) -> Ground {
    Ground {
        kind: Kind::Daemon,
        data,
        identity,
        honoured,
        schedulers: config.schedulers.clone(),
        seed_peers: config.seed_peers.clone(),
        storage: config.storage.clone(),
        wire,
    }
}

#[cfg(test)]
mod tests;
