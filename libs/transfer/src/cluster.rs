//! Who is in the cluster and who should give us what: the node's streams to the schedulers.
//!
//! Owns: one long-lived stream per scheduler, the wants of this node and the newest orders for them, the membership
//! (seed ring and a sample of the daemons), its copy on disk. Never: bytes of objects, dialling a peer, deciding what
//! is fetched. Everything here may be absent: with no scheduler reachable the last membership (or the static seeds)
//! keeps answering, and orders simply do not come.
//! After a crash: the membership on disk is the last one that was seen; wants are gone with the downloads behind them.
//! Lock order: `views` and `ledger` are never held together, nor over an await.

mod disk;
mod inventory;
mod ledger;
mod outbox;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod views;

use std::path::PathBuf;
use std::sync::Arc;

use darner_chassis::grpc::{GrpcError, TracedChannel};
use darner_chassis::identity::Role;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{Expected, Wire};
use darner_lfs::{ObjectKey, rendezvous};
use darner_proto::v1;
use tokio::sync::watch;

pub use inventory::{Announced, Inventory};
use shared::Shared;

/// Parents to take one object from, best first; replaced as a whole by every order.
pub type Parents = Arc<Vec<v1::Parent>>;

/// What a node says of itself and where it finds the others.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// This node, as it introduces itself.
    pub identity: v1::NodeIdentity,
    /// `host:port` of every scheduler. None: the node works with its seeds alone.
    pub schedulers: Vec<String>,
    /// `host:port` of the gRPC service of seeds, used while no membership names any.
    pub seed_peers: Vec<String>,
    /// Where the last membership is kept. None: it is not.
    pub state_file: Option<PathBuf>,
    /// How the others are spoken to.
    pub wire: Wire,
}

/// The members this node knows of, its own tenant's only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Membership {
    /// The newest epoch of any scheduler.
    pub epoch: u64,
    /// The seed ring, by node id.
    pub seeds: Vec<v1::NodeIdentity>,
    /// A bounded sample of the daemons, the same on every node, by node id.
    pub daemons: Vec<v1::NodeIdentity>,
}

/// A seed and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedAt {
    /// `host:port` of its gRPC service.
    pub grpc_address: String,
    /// Absent for a static address that nobody has introduced yet.
    pub identity: Option<v1::NodeIdentity>,
}

/// The node's view of the cluster. Cheap to clone; the streams end with the tasks they were started on.
#[derive(Debug, Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

impl Cluster {
    /// Reads the last membership from disk and starts one stream per scheduler on `tasks`. Never waits for any of them.
    pub fn start(config: ClusterConfig, inventory: impl Inventory, tasks: &Tasks) -> Self {
        let shared = Shared::new(config);
        let inventory: Arc<dyn Inventory> = Arc::new(inventory);
        stream::start(&shared, &inventory, tasks);
        Self { shared }
    }

    /// This node, as it introduces itself.
    pub fn identity(&self) -> &v1::NodeIdentity {
        self.shared.identity()
    }

    /// This node as it introduces itself now: the zone may have become known since it started.
    pub fn introduction(&self) -> v1::NodeIdentity {
        self.shared.introduction()
    }

    /// Whether this node stands in that zone.
    pub fn is_in(&self, zone: &str) -> bool {
        *self.shared.zone.borrow() == zone
    }

    /// The cluster knows the node's zone. What the node's own file says counts more.
    pub fn place(&self, zone: &str) {
        if self.identity().zone.is_empty() {
            self.shared.place(zone);
        }
    }

    /// How the others are spoken to.
    pub fn wire(&self) -> &Wire {
        self.shared.wire()
    }

    /// A channel to the seed that answers at `HOST:PORT`: credentials travel on it, so that nobody but a seed may.
    pub fn seed_channel(&self, address: &str) -> Result<TracedChannel, GrpcError> {
        self.wire().channel(address, Expected::roles(&[Role::SeedPeer]))
    }

    /// A channel to a daemon that acts as a seed at `HOST:PORT`.
    pub fn acting_channel(&self, address: &str) -> Result<TracedChannel, GrpcError> {
        self.wire().channel(address, Expected::roles(&[Role::PeerDaemon]))
    }

    /// The members known now.
    pub fn membership(&self) -> Arc<Membership> {
        self.shared.membership().borrow().clone()
    }

    /// The members, followed: changes with every news.
    pub fn watch_membership(&self) -> watch::Receiver<Arc<Membership>> {
        self.shared.membership().subscribe()
    }

    /// The seeds in the order in which they own `key`: the ring of the membership, else the static addresses.
    pub fn seeds_for(&self, key: &ObjectKey) -> Vec<SeedAt> {
        let membership = self.membership();
        let seeds: Vec<SeedAt> = if membership.seeds.is_empty() {
            let at = |address: &String| SeedAt { grpc_address: address.clone(), identity: None };
            self.shared.seed_peers().iter().map(at).collect()
        } else {
            let at = |seed: &v1::NodeIdentity| SeedAt {
                grpc_address: seed.grpc_address.clone(),
                identity: Some(seed.clone()),
            };
            membership.seeds.iter().map(at).collect()
        };
        rendezvous::rank(key, &seeds, |seed| &seed.grpc_address).into_iter().cloned().collect()
    }

    /// The daemons (this node included, when it is one) in the order in which they act as seed for `key`.
    pub fn daemons_for(&self, key: &ObjectKey) -> Vec<v1::NodeIdentity> {
        let membership = self.membership();
        let own = self.identity();
        let mut daemons: Vec<&v1::NodeIdentity> =
            membership.daemons.iter().filter(|daemon| daemon.id != own.id).collect();
        if own.role() == v1::Role::Daemon {
            daemons.push(own);
        }
        rendezvous::rank(key, &daemons, |daemon| &daemon.grpc_address)
            .into_iter()
            .map(|daemon| (*daemon).clone())
            .collect()
    }

    /// Tells the schedulers what this node is about to download, a whole Batch at once.
    pub fn want(&self, wants: Vec<(ObjectKey, Option<u64>)>) {
        self.shared.want(wants);
    }

    /// The same for one object whose download is in a trace: the scheduler's decision then is, too.
    pub fn want_traced(&self, key: ObjectKey, size: Option<u64>, trace: Option<String>) {
        self.shared.want_traced(key, size, trace);
    }

    /// The orders for `key`: empty until one comes. Kept until [`Cluster::forget`].
    pub fn orders(&self, key: &ObjectKey) -> watch::Receiver<Parents> {
        self.shared.orders(key)
    }

    /// The download ended or was given up: no more orders for it.
    pub fn forget(&self, key: &ObjectKey) {
        self.shared.forget(key);
    }

    /// A parent did not do what it should; new orders follow.
    pub fn trouble(&self, key: &ObjectKey, parent_id: &str, kind: v1::TroubleKind) {
        self.shared.trouble(key, parent_id, kind);
    }

    /// How busy this node is, for the schedulers' choice. Only the last one counts.
    pub fn load(&self, load: v1::Load) {
        self.shared.load(&load);
    }

    /// Whether a scheduler has told this node who the members are, or there is none to ask.
    pub fn is_joined(&self) -> bool {
        self.shared.is_joined()
    }

    /// Whether this node has only just started and may still be told who the seeds are: what it knows of them proves
    /// nothing yet. Ends by itself, with every scheduler silent, too.
    pub fn is_settling(&self) -> bool {
        self.shared.is_settling()
    }

    /// How many schedulers have welcomed this node.
    pub fn connected(&self) -> usize {
        self.schedulers().iter().filter(|(_, connected)| *connected).count()
    }

    /// Every scheduler's address and whether its stream stands.
    pub fn schedulers(&self) -> Vec<(String, bool)> {
        self.shared.schedulers()
    }
}
