//! Who took which object through this seed lately: parents for those whom no scheduler answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_transfer::pieces::Referrals;

/// Takers remembered per object; a child needs a handful of parents.
const PER_OBJECT: usize = 16;
/// Objects remembered; the oldest are forgotten first.
const MAX_OBJECTS: usize = 8_192;

/// The takers of every object.
#[derive(Debug, Default)]
pub(crate) struct Takers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_object: HashMap<ObjectKey, VecDeque<v1::NodeIdentity>>,
    order: VecDeque<ObjectKey>,
}

impl Takers {
    /// A node was opened an object.
    pub(crate) fn note(&self, key: ObjectKey, taker: &v1::NodeIdentity) {
        if taker.piece_address.is_empty() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.by_object.contains_key(&key) {
            state.order.push_back(key);
            if state.order.len() > MAX_OBJECTS
                && let Some(oldest) = state.order.pop_front()
            {
                state.by_object.remove(&oldest);
            }
        }
        let takers = state.by_object.entry(key).or_default();
        takers.retain(|known| known.id != taker.id);
        takers.push_front(taker.clone());
        takers.truncate(PER_OBJECT);
    }

    /// The others that take it, most recent first.
    pub(crate) fn beside(&self, key: &ObjectKey, taker: &str) -> Vec<v1::NodeIdentity> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.by_object.get(key).into_iter().flatten();
        known.filter(|node| node.id != taker).cloned().collect()
    }
}

impl Referrals for Takers {
    fn takers(&self, key: &ObjectKey) -> Vec<v1::NodeIdentity> {
        self.beside(key, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn node(id: usize) -> v1::NodeIdentity {
        v1::NodeIdentity { id: id.to_string(), piece_address: "127.0.0.1:1".to_owned(), ..Default::default() }
    }

    fn ids(nodes: &[v1::NodeIdentity]) -> Vec<&str> {
        nodes.iter().map(|node| node.id.as_str()).collect()
    }

    #[test]
    fn the_latest_come_first_without_the_asker_and_without_doubles() {
        let takers = Takers::default();
        let key = Oid::EMPTY.into();
        for id in [1, 2, 3, 1] {
            takers.note(key, &node(id));
        }
        assert_eq!(ids(&takers.beside(&key, "3")), ["1", "2"]);
        assert!(takers.beside(&Oid::from_bytes([1; 32]).into(), "3").is_empty());
        takers.note(key, &v1::NodeIdentity { id: "nowhere".to_owned(), ..Default::default() });
        assert_eq!(ids(&takers.takers(&key)), ["1", "3", "2"]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let takers = Takers::default();
        for id in 0..100 {
            takers.note(Oid::EMPTY.into(), &node(id));
        }
        assert_eq!(takers.takers(&Oid::EMPTY.into()).len(), PER_OBJECT);
        for n in 0..2 * MAX_OBJECTS {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            takers.note(Oid::from_bytes(bytes).into(), &node(1));
        }
        assert_eq!(takers.state.lock().unwrap().by_object.len(), MAX_OBJECTS);
    }
}
