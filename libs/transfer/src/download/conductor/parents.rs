//! The parents of one download: how they come, what they tell, how they go.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use darner_lfs::{Holding, PieceDigest};
use darner_proto::convert;
use darner_proto::v1::{self, link_event::Event};
use prost::Message as _;
use tracing::Instrument as _;

use super::Conductor;
use crate::download::follow::{Ear, Told, follow};
use crate::link::{LinkError, Peer};
use crate::plan::Supply;
use crate::trust::Untrusted;

/// One parent.
pub(super) struct Parent {
    pub(super) peer: Arc<dyn Peer>,
    pub(super) grant: Arc<v1::Grant>,
    pub(super) seed: bool,
    pub(super) zone: String,
    /// Present while the parent is followed.
    pub(super) ear: Option<Ear>,
    pub(super) span: tracing::Span,
}

impl Conductor {
    /// The seed that opened and whom it knows to take the object.
    pub(super) fn introduce(&mut self, opened: &v1::Opened) {
        if let Some(seed) = &opened.seed {
            self.meet(seed, opened.complete, false);
        }
        for taker in &opened.takers {
            self.meet(taker, false, false);
        }
    }

    /// The scheduler's newest order.
    pub(super) fn reorder(&mut self) {
        let parents = self.orders.borrow_and_update().clone();
        for parent in parents.iter() {
            if let Some(node) = &parent.node {
                self.meet(node, parent.complete, parent.last_resort);
            }
        }
    }

    fn meet(&mut self, node: &v1::NodeIdentity, complete: bool, last_resort: bool) {
        let own = self.downloads.inner.parts.cluster.identity();
        if node.id == own.id || node.tenant != own.tenant || node.piece_address.is_empty() {
            return;
        }
        let supply = if node.role() == v1::Role::Seed { Supply::Seed } else { Supply::Peer };
        let alone = self.is_alone();
        let known = self.parents.contains_key(&node.id);
        if alone && !known && !complete && supply == Supply::Peer {
            // A single piece is either there or not: only who has it is worth asking.
            return;
        }
        let view = self.plan.offer(&node.id, supply, last_resort);
        if complete || (alone && supply == Supply::Seed && !known) {
            view.complete = true;
        }
        if !known {
            self.downloads.inner.parts.trust.learn(node);
            self.follow(node, supply == Supply::Seed);
        }
    }

    fn follow(&mut self, node: &v1::NodeIdentity, seed: bool) {
        let Some(grant) = self.running.opened().grant.clone().map(Arc::new) else { return };
        let parts = &self.downloads.inner.parts;
        let peer = parts.links.peer(node);
        let span = tracing::info_span!("parent", node = %node.id, seed, bytes = tracing::field::Empty);
        let ear = (!self.is_alone()).then(|| Ear {
            events: self.ears.clone(),
            heard: Arc::new(AtomicU64::new(self.now_ms())),
            epoch: self.epoch,
            silence: self.downloads.inner.timing.stall,
        });
        if let Some(ear) = ear.clone() {
            let following = follow(node.id.clone(), Arc::clone(&peer), self.key, Arc::clone(&grant), ear);
            self.followers.spawn(following.instrument(span.clone()));
        }
        let zone = node.zone.clone();
        self.parents.insert(node.id.clone(), Parent { peer, grant, seed, zone, ear, span });
    }

    pub(super) fn hear(&mut self, id: &str, told: Told) {
        if !self.parents.contains_key(id) {
            return;
        }
        match told {
            Told::Event(event) => self.heard(id, event),
            Told::Ended => {}
            Told::Gone { why, frozen } => {
                tracing::debug!(key = %self.key, parent = id, %why, "a parent is gone");
                let kind = match (&why, frozen) {
                    (_, true) => v1::TroubleKind::Stalled,
                    (LinkError::Refused(_), _) => v1::TroubleKind::Refused,
                    _ => v1::TroubleKind::Unreachable,
                };
                if !matches!(why, LinkError::Absent) {
                    self.trouble(id, kind);
                }
                self.drop_parent(id);
            }
        }
    }

    fn drop_parent(&mut self, id: &str) {
        self.parents.remove(id);
        self.plan.withdraw(id);
    }

    fn heard(&mut self, id: &str, event: Event) {
        match event {
            Event::Held(held) => self.holds(id, &held),
            Event::Arrived(arrived) => {
                if let Some(view) = self.plan.parent(id) {
                    for piece in &arrived.pieces {
                        view.holding.insert(*piece);
                    }
                    view.under_way = arrived.under_way.iter().copied().filter(|p| *p < MAX_PIECES).collect();
                }
                self.grow(arrived.pieces.iter().chain(&arrived.under_way).copied().max());
            }
            Event::Attestation(attestation) => self.attested(id, &attestation),
            Event::Referral(referral) => {
                for node in referral.nodes.iter().take(MAX_REFERRED) {
                    self.meet(node, false, false);
                }
            }
            Event::Withdrawn(withdrawn) => {
                tracing::debug!(key = %self.key, parent = id, reason = withdrawn.reason, "withdrawn");
                self.drop_parent(id);
            }
            Event::Layout(layout) => {
                if let Ok(layout) = convert::layout(Some(&layout))
                    && let Some(size) = layout.size()
                {
                    self.running.partial.fix_size(size);
                }
            }
        }
    }

    fn holds(&mut self, id: &str, held: &v1::Held) {
        let Ok((key, layout, holding)) = convert::holding(held) else { return self.drop_parent(id) };
        let ours = self.running.partial.layout();
        let same_cut = layout.piece_bytes() == ours.piece_bytes();
        let same_size = layout.size().is_none() || ours.size().is_none() || layout.size() == ours.size();
        if key != self.key || !same_cut || !same_size {
            tracing::debug!(key = %self.key, parent = id, "a parent cuts the object differently");
            return self.drop_parent(id);
        }
        if let (Some(size), None) = (layout.size(), ours.size()) {
            self.running.partial.fix_size(size);
        }
        let top = highest(&holding);
        if let Some(view) = self.plan.parent(id) {
            view.complete = held.complete;
            view.holding = holding;
        }
        self.grow(top);
    }

    /// While the length is unknown, the plan grows with what parents speak of.
    fn grow(&mut self, top: Option<u32>) {
        if self.running.partial.layout().size().is_none()
            && let Some(top) = top.filter(|top| *top < MAX_PIECES)
        {
            self.plan.resize(self.plan.count().max(top + 1));
        }
    }

    fn attested(&mut self, id: &str, message: &v1::Attestation) {
        let attested = match self.downloads.inner.parts.trust.attestation(message) {
            Ok(attested) if attested.key == self.key => attested,
            Ok(_) => return,
            Err(Untrusted::SetAside(_)) => return self.drop_parent(id),
            Err(error) => {
                tracing::debug!(key = %self.key, parent = id, %error, "an attestation does not count");
                return;
            }
        };
        if attested.state == v1::AttestationState::Revoked {
            return self.revoked(&attested.attester, attested.reading);
        }
        let partial = &self.running.partial;
        let known: Vec<PieceDigest> = attested.digests;
        let statement = message.encode_to_vec().into();
        if !partial.attest(attested.first, &known, statement, attested.reading, &attested.attester) {
            tracing::debug!(key = %self.key, parent = id, "a statement of another reading is left aside");
        }
    }

    /// The attester takes its list back: what was built on it goes, here and wherever we are watched.
    fn revoked(&mut self, attester: &str, reading: u64) {
        if self.running.partial.reading().is_some_and(|(ours, by)| ours == reading && by == attester) {
            tracing::warn!(key = %self.key, attester, "an attestation was revoked; the object is begun anew");
            self.begin_anew("its attestation was revoked");
        }
    }

    pub(super) fn begin_anew(&mut self, why: &str) {
        self.running.partial.reset(why);
        self.fetches.abort_all();
        self.followers.abort_all();
        let ids: Vec<String> = self.parents.keys().cloned().collect();
        for id in ids {
            self.drop_parent(&id);
        }
        for piece in 0..self.plan.count() {
            self.plan.lost(piece);
        }
    }
}

/// No object has more pieces than this (4 MiB each: 64 TiB).
const MAX_PIECES: u32 = 1 << 24;
/// Nodes taken from one referral.
const MAX_REFERRED: usize = 8;

fn highest(holding: &Holding) -> Option<u32> {
    holding.iter().last()
}
