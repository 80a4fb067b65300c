//! The nodes that have a stream: who they are, what they hold and want, what was said against them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use darner_proto::v1;

use super::Session;
use super::objects::ObjectNo;
use super::tenants::PlaceNo;

/// A node for as long as its stream lasts. Numbers are never used twice, so a stale one finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeNo(pub(super) u64);

#[derive(Debug)]
pub(super) struct Node {
    pub(super) session: Session,
    pub(super) identity: Arc<v1::NodeIdentity>,
    pub(super) place: PlaceNo,
    pub(super) seed: bool,
    /// A stable number made of the id, from which choices are spread.
    pub(super) spread: u64,
    /// What it holds; the value is the round of the whole list in which it was named last.
    pub(super) held: BTreeMap<ObjectNo, u32>,
    pub(super) round: u32,
    /// A whole list is under way.
    pub(super) listing: bool,
    pub(super) wants: BTreeSet<ObjectNo>,
    /// How many wants have this node as an ordinary parent.
    pub(super) children: u32,
    pub(super) load: v1::Load,
    /// Parents this node complained about, until when, and whether they gave it corrupt bytes.
    pub(super) aside: BTreeMap<NodeNo, Aside>,
    /// Children that complained about this node, and when.
    pub(super) complaints: BTreeMap<NodeNo, u64>,
    /// Set aside for everybody until then.
    pub(super) aside_until: u64,
    pub(super) joined_ms: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    pub(super) until: u64,
    pub(super) corrupt: bool,
}

impl Node {
    pub(super) fn new(
        session: Session,
        identity: Arc<v1::NodeIdentity>,
        place: PlaceNo,
        now_ms: u64,
    ) -> Self {
        Self {
            session,
            place,
            seed: identity.role() == v1::Role::Seed,
            spread: spread(identity.id.as_bytes()),
            held: BTreeMap::new(),
            round: 0,
            listing: false,
            wants: BTreeSet::new(),
            children: 0,
            load: v1::Load::default(),
            aside: BTreeMap::new(),
            complaints: BTreeMap::new(),
            aside_until: 0,
            joined_ms: now_ms,
            identity,
        }
    }

    pub(super) fn set_aside(&self, parent: NodeNo, now_ms: u64) -> bool {
        self.aside.get(&parent).is_some_and(|aside| now_ms < aside.until)
    }

    pub(super) fn called_corrupt(&self, parent: NodeNo, now_ms: u64) -> bool {
        self.aside.get(&parent).is_some_and(|aside| aside.corrupt && now_ms < aside.until)
    }
}

/// All of them, by number, by stream and by name.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_number: BTreeMap<NodeNo, Node>,
    by_session: BTreeMap<Session, NodeNo>,
    /// By tenant and id: a node cannot push out one of another tenant.
    by_name: BTreeMap<(String, String), NodeNo>,
    last: u64,
}

impl Nodes {
    pub(super) fn add(&mut self, node: Node) -> NodeNo {
        self.last += 1;
        let number = NodeNo(self.last);
        self.by_session.insert(node.session, number);
        self.by_name.insert(name(&node.identity), number);
        self.by_number.insert(number, node);
        number
    }

    pub(super) fn remove(&mut self, number: NodeNo) -> Option<Node> {
        let node = self.by_number.remove(&number)?;
        self.by_session.remove(&node.session);
        self.by_name.remove(&name(&node.identity));
        Some(node)
    }

    pub(super) fn get(&self, number: NodeNo) -> Option<&Node> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: NodeNo) -> Option<&mut Node> {
        self.by_number.get_mut(&number)
    }

    pub(super) fn number(&self, session: Session) -> Option<NodeNo> {
        self.by_session.get(&session).copied()
    }

    pub(super) fn of_session_mut(&mut self, session: Session) -> Option<&mut Node> {
        self.by_number.get_mut(self.by_session.get(&session)?)
    }

    pub(super) fn named(&self, tenant: &str, id: &str) -> Option<NodeNo> {
        self.by_name.get(&(tenant.to_owned(), id.to_owned())).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeNo, &Node)> {
        self.by_number.iter().map(|(number, node)| (*number, node))
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }
}

fn name(identity: &v1::NodeIdentity) -> (String, String) {
    (identity.tenant.clone(), identity.id.clone())
}

/// FNV-1a, then mixed: stable over versions and machines, unlike the standard hasher.
pub(super) fn spread(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// The finaliser of `SplitMix64`: every bit of the input moves half of the output.
pub(super) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
