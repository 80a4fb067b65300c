//! What a daemon and a seed have in common: who they are, what they stand on, and what they tell and hear.
//!
//! Owns: the identity kept in the data directory, the configuration blocks both have, the order in which the store, the
//! trust and the cluster come to stand, the reports to the control plane, the honouring of purges and the slow re-read
//! of the disk. Never: a decision about an object; a start that waits for a scheduler or a manager, which may all be
//! absent (I8).
//! Called by: the wiring of a service. After a crash: id and keys are the ones kept in the data directory.

mod budget;
pub mod config;
mod error;
mod identity;
mod joining;
mod membership;
mod report;
mod scrubbing;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::System;
use darner_chassis::command::Started;
use darner_chassis::metrics::Role;
use darner_chassis::net;
use darner_chassis::settings::Shared;
use darner_chassis::sign::Verifier;
use darner_chassis::tasks::{Drain, Tasks};
use darner_chassis::tls::Wire;
use darner_proto::v1;
use darner_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cluster::{Cluster, ClusterConfig};
use crate::download;
use crate::feed::{Feed, Purged};
use crate::link::HttpLinks;
use crate::trust::Trust;

pub use error::StartError;
pub use identity::{Reached, identity, kept_id};
pub use joining::check_caller;

/// How long transfers under way may go on after the word to leave. What is cut is resumed elsewhere.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// The kinds of node that hold objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A peer daemon.
    Daemon,
    /// A seed peer.
    Seed,
}

impl Kind {
    /// The name of the service.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Daemon => "peer-daemon",
            Self::Seed => "seed-peer",
        }
    }

    /// What the others take it for.
    const fn role(self) -> v1::Role {
        match self {
            Self::Daemon => v1::Role::Daemon,
            Self::Seed => v1::Role::Seed,
        }
    }

    /// On whose account its reads of an origin go.
    const fn reads_as(self) -> Role {
        match self {
            Self::Daemon => Role::Daemon,
            Self::Seed => Role::Seed,
        }
    }

    /// The data directory as configured, or the service's own; made where it is missing.
    pub fn data(self, shared: &Shared) -> Result<PathBuf, StartError> {
        let said = &shared.data;
        let own = || Path::new("/var/lib/darner").join(self.component());
        let data = if said.as_os_str().is_empty() { own() } else { said.clone() };
        std::fs::create_dir_all(&data).map_err(|source| StartError::data(&data, source))?;
        Ok(data)
    }
}

/// What a node stands on.
#[derive(Debug)]
pub struct Ground {
    /// Which kind it is.
    pub kind: Kind,
    /// Its data directory, there already.
    pub data: PathBuf,
    /// How it introduces itself.
    pub identity: v1::NodeIdentity,
    /// Whose signatures it honours.
    pub honoured: Verifier,
    /// `host:port` of every scheduler.
    pub schedulers: Vec<String>,
    /// `host:port` of seeds that are known without a scheduler.
    pub seed_peers: Vec<String>,
    /// What may be kept on disk.
    pub storage: config::Storage,
    /// How the others are spoken to.
    pub wire: Wire,
}

/// A node that stands: its store is open, its cluster is being joined.
#[derive(Debug, Clone)]
pub struct Node {
    /// Which kind it is.
    pub kind: Kind,
    /// Its data directory.
    pub data: PathBuf,
    /// What it holds.
    pub store: Store,
    /// Whose word counts.
    pub trust: Trust,
    /// Who else there is.
    pub cluster: Cluster,
}

impl Node {
    /// Opens the store and joins the cluster on `tasks`. Waits for the disk only.
    pub async fn stand(ground: Ground, tasks: &Tasks) -> Result<Self, StartError> {
        let Ground { kind, data, identity, honoured, schedulers, seed_peers, storage, wire } = ground;
        let store = Store::open(storage.store(&data)).await?;
        let trust = Trust::new(honoured, &identity.id, &identity.tenant);
        let state_file = Some(data.join("membership"));
        let joining = ClusterConfig { identity, schedulers, seed_peers, state_file, wire };
        let cluster = Cluster::start(joining, store.clone(), tasks);
        Ok(Self { kind, data, store, trust, cluster })
    }

    /// What downloads need of this node.
    pub fn parts<C>(&self, started: &Started<C>) -> download::Parts {
        download::Parts {
            store: self.store.clone(),
            cluster: self.cluster.clone(),
            links: Arc::new(HttpLinks::over(self.cluster.wire(), &self.cluster.identity().id)),
            trust: self.trust.clone(),
            metrics: started.metrics.clone(),
            clock: Arc::new(System),
            tasks: started.tasks.clone(),
        }
    }

    /// Starts what a node does unasked: it keeps to the operator's budget, honours purges (`forget` is told what was purged, once it is gone), tells the
    /// schedulers how busy it is (`downloads` counts), and reads what is stored again.
    pub fn keep<D, F>(&self, feed: Feed, tasks: &Tasks, downloads: D, forget: F)
    where
        D: Fn() -> usize + Send + 'static,
        F: Fn(&Purged) + Send + 'static,
    {
        tasks.spawn("zone", follow_zone(feed.zone(), self.cluster.clone()));
        tasks.spawn("feed budget", budget::follow(feed.config(), self.store.clone()));
        tasks.spawn("feed purges", feed.purge(self.store.clone(), forget));
        tasks.spawn("load", report::load(self.cluster.clone(), self.store.clone(), downloads));
        tasks.spawn("scrub", scrubbing::scrub(self.store.clone()));
    }
}

/// Stands where the cluster says, as long as the node's own file names no zone.
async fn follow_zone(mut zone: watch::Receiver<String>, cluster: Cluster) {
    loop {
        let now = zone.borrow_and_update().clone();
        if !now.is_empty() {
            cluster.place(&now);
        }
        if zone.changed().await.is_err() {
            return;
        }
    }
}

/// Listens where the configuration key `key` says.
pub fn bind(listen: &str, key: &str) -> Result<TcpListener, StartError> {
    Ok(net::bind(listen, key)?)
}

/// The address of a listener.
pub fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Address)
}

/// The public keys in the file that `keys.grantsPublic` names; absent: none.
pub fn honoured(grants_public: Option<&Path>) -> Result<Verifier, StartError> {
    match grants_public {
        Some(path) => Verifier::from_file(path).map_err(|error| StartError::key("keys.grantsPublic", &error)),
        None => Ok(Verifier::new()),
    }
}

/// Waits for the word to leave, and then for what is under way, but not for ever.
pub async fn leave(drain: &Drain) {
    drain.wait().await;
    if tokio::time::timeout(LEAVE_WITHIN, drain.finished()).await.is_err() {
        tracing::info!("transfers are cut to leave in time");
    }
}

#[cfg(test)]
mod tests;
