//! The scheduler's part of a download's trace: from the word that an object is wanted to the order that says from whom.
//!
//! Owns: the spans of the wants of one message. Never: anything for a download that is in no trace, which are most.

use std::collections::HashMap;

use darner_chassis::telemetry;
use darner_lfs::ObjectKey;
use darner_proto::convert;
use darner_proto::v1::node_message::Message;
use tracing::Span;
use tracing::field::Empty;

use crate::swarm::{Effect, Session};

/// The decisions one message asks for, as far as they are traced. Ends them when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    asked: HashMap<ObjectKey, Span>,
}

impl Decisions {
    /// What `message` of the node `node` asks for.
    pub(super) fn of(message: &Message, node: &str) -> Self {
        let Message::Wants(wants) = message else { return Self::default() };
        let traced = wants.wants.iter().filter(|want| !want.trace.is_empty());
        let asked = traced.filter_map(|want| {
            let key = convert::key(want.key.as_ref()).ok()?;
            let span = tracing::info_span!(parent: None, "decision", node, oid = %key, parents = Empty);
            telemetry::set_parent_text(&span, &want.trace);
            Some((key, span))
        });
        Self { asked: asked.collect() }
    }

    /// What was decided for the stream that asked.
    pub(super) fn record(&self, effects: &[Effect], asker: Session) {
        if self.asked.is_empty() {
            return;
        }
        for effect in effects {
            let Effect::Orders { session, orders, .. } = effect else { continue };
            for order in orders.iter().filter(|_| *session == asker) {
                if let Some(span) = self.asked.get(&order.key) {
                    span.record("parents", order.parents.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;
    use darner_proto::v1;

    fn want(n: u8, trace: &str) -> v1::Want {
        let key = ObjectKey::from(Oid::from_bytes([n; 32]));
        v1::Want { key: Some(key.into()), size: None, trace: trace.to_owned() }
    }

    #[test]
    fn only_wants_that_are_traced_and_well_formed_have_a_span() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let broken = v1::Want { key: None, ..want(3, traceparent) };
        let wants = v1::Wants { id: 1, wants: vec![want(1, traceparent), want(2, ""), broken] };
        let decisions = Decisions::of(&Message::Wants(wants), "node");
        let keys: Vec<_> = decisions.asked.keys().copied().collect();
        assert_eq!(keys, [ObjectKey::from(Oid::from_bytes([1; 32]))]);
        assert!(Decisions::of(&Message::Load(v1::Load::default()), "node").asked.is_empty());
    }
}
