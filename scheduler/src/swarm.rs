//! The swarm model: who holds what, who wants what, and who should give it to whom.
//!
//! Pure: `apply(event, now)` changes the model and returns what is to be said to whom. No socket, clock or randomness;
//! the same events give the same orders, which is what makes the simulation test replayable.
//! Never: bytes of objects, anything on disk. A restarted scheduler rebuilds all of this from the nodes' streams.
//! Stays true: parents are of the child's tenant, never the child itself, at most [`MAX_PARENTS`]; a live holder is
//! always among them; every collection here has a bound in [`Limits`].

mod blame;
mod choice;
mod model;
mod nodes;
mod objects;
mod replan;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use darner_lfs::ObjectKey;
use darner_proto::v1;

pub use choice::{MAX_PARENTS, TARGET_PARENTS};
pub use model::{NodeSummary, Summary};
use nodes::{NodeNo, Nodes};
use objects::{ObjectNo, Objects};
use replan::Replan;
use tenants::Tenants;

/// One stream of one node. The edge numbers them; numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node opened its stream.
    Joined {
        /// The new stream.
        session: Session,
        /// Who it is.
        node: Arc<v1::NodeIdentity>,
    },
    /// The stream ended.
    Left {
        /// The stream.
        session: Session,
    },
    /// What a node holds, or what changed of it.
    Holds {
        /// The stream.
        session: Session,
        /// The news.
        news: Holdings,
    },
    /// A node is about to download these.
    Wants {
        /// The stream.
        session: Session,
        /// Keys, and sizes where they are known.
        wants: Vec<(ObjectKey, Option<u64>)>,
    },
    /// Downloads ended or were given up.
    Forgets {
        /// The stream.
        session: Session,
        /// The keys.
        keys: Vec<ObjectKey>,
    },
    /// A parent did not do what it should.
    Trouble {
        /// The child's stream.
        session: Session,
        /// What happened.
        trouble: Trouble,
    },
    /// How busy a node is.
    Load {
        /// The stream.
        session: Session,
        /// Its own numbers.
        load: v1::Load,
    },
    /// Time passed: what was put off is said now.
    Tick,
}

/// News of a node's holdings.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Part of the whole list: what no part names is gone.
    pub full: bool,
    /// More parts of the whole list follow.
    pub more: bool,
    /// Objects that are there, and whether all of each is.
    pub added: Vec<(ObjectKey, bool)>,
    /// Objects that are gone.
    pub removed: Vec<ObjectKey>,
}

/// A parent did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The object.
    pub key: ObjectKey,
    /// Node id of the parent.
    pub parent: String,
    /// What it did.
    pub kind: Complaint,
}

/// What a child says of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// No byte came for a stall interval.
    Stalled,
    /// A piece was not what was attested.
    Corrupt,
    /// It could not be dialled.
    Unreachable,
    /// It would not give the object.
    Refused,
}

/// What is to be said to whom.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// New orders, each replacing the earlier one of its key.
    Orders {
        /// To whom.
        session: Session,
        /// The epoch they were decided in.
        epoch: u64,
        /// One per key.
        orders: Vec<Order>,
    },
    /// The members changed.
    Membership {
        /// To whom.
        session: Session,
        /// All of them.
        members: Arc<v1::Membership>,
    },
    /// The stream is to be closed.
    Close {
        /// Which.
        session: Session,
        /// Why.
        reason: Closed,
    },
}

/// Why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The node opened another stream.
    Replaced,
    /// No room for another node.
    Full,
}

/// Take `key` from these.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The object.
    pub key: ObjectKey,
    /// From whom, best first.
    pub parents: Vec<v1::Parent>,
}

/// The bounds of the model. Beyond them news are dropped (and counted): nodes then go by their seeds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nodes with a stream.
    pub nodes: usize,
    /// (node, object) pairs known as held; about 20 bytes each.
    pub holdings: usize,
    /// (node, object) pairs wanted; about 200 bytes each.
    pub wants: usize,
    /// Wants of one node.
    pub wants_per_node: usize,
    /// Distinct objects; about 200 bytes each.
    pub objects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 20_000,
            holdings: 10_000_000,
            wants: 1_000_000,
            wants_per_node: 131_072,
            objects: 2_000_000,
        }
    }
}

/// The model.
#[derive(Debug)]
pub struct Swarm {
    limits: Limits,
    nodes: Nodes,
    objects: Objects,
    tenants: Tenants,
    wants: BTreeMap<(ObjectNo, NodeNo), Want>,
    /// Wants without an ordinary parent: looked at again as time passes.
    starving: BTreeSet<(ObjectNo, NodeNo)>,
    replan: Replan,
    epoch: u64,
    /// News dropped because a limit was reached.
    dropped: u64,
}

/// One node wants one object.
#[derive(Debug, Default)]
struct Want {
    size: Option<u64>,
    parents: Vec<choice::Chosen>,
    /// Parents that refused or stalled on this very object, until when.
    refused: Vec<(NodeNo, u64)>,
}

impl Want {
    fn ordinary(&self) -> usize {
        self.parents.iter().filter(|parent| !parent.last_resort).count()
    }

    fn refuses(&self, node: NodeNo, now_ms: u64) -> bool {
        self.refused.iter().any(|(refused, until)| *refused == node && now_ms < *until)
    }
}

impl Swarm {
    /// An empty swarm whose epochs are beyond `last_epoch` and, the clock going forward, beyond all of earlier runs.
    pub fn new(limits: Limits, last_epoch: u64, now_ms: u64) -> Self {
        Self {
            limits,
            nodes: Nodes::default(),
            objects: Objects::default(),
            tenants: Tenants::default(),
            wants: BTreeMap::new(),
            starving: BTreeSet::new(),
            replan: Replan::default(),
            epoch: now_ms.max(last_epoch.saturating_add(1)),
            dropped: 0,
        }
    }

    /// The epoch of what is said now.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Something happened at `now_ms`; what is to be said follows, in order.
    pub fn apply(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        match event {
            Event::Joined { session, node } => self.joined(session, node, now_ms),
            Event::Left { session } => {
                self.left(session);
                Vec::new()
            }
            Event::Holds { session, news } => {
                self.holds(session, news);
                Vec::new()
            }
            Event::Wants { session, wants } => self.wanted(session, &wants, now_ms),
            Event::Forgets { session, keys } => {
                self.forgotten(session, &keys);
                Vec::new()
            }
            Event::Trouble { session, trouble } => self.trouble(session, &trouble, now_ms),
            Event::Load { session, load } => {
                if let Some(node) = self.nodes.of_session_mut(session) {
                    node.load = load;
                }
                Vec::new()
            }
            Event::Tick => self.tick(now_ms),
        }
    }
}
