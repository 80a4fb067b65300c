//! What happened to each object here lately, in lines for a person who asks `darner explain`.
//!
//! Bounded in objects and in lines; gone with the process. Never holds an address, a header or a ticket.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use darner_lfs::ObjectKey;
use darner_proto::v1;

/// Objects remembered.
const OBJECTS: usize = 2048;
/// Lines remembered of each.
const LINES: usize = 24;

/// The stories of this node.
#[derive(Debug, Default)]
pub struct Stories {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    lines: HashMap<ObjectKey, VecDeque<v1::Told>>,
    /// Objects in the order in which they were first told of.
    order: VecDeque<ObjectKey>,
}

impl Stories {
    /// One more line of an object's story.
    pub fn tell(&self, key: ObjectKey, at_ms: u64, trace: &str, line: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.lines.contains_key(&key) {
            told.order.push_back(key);
            if told.order.len() > OBJECTS
                && let Some(oldest) = told.order.pop_front()
            {
                told.lines.remove(&oldest);
            }
        }
        let lines = told.lines.entry(key).or_default();
        if lines.len() >= LINES {
            lines.pop_back();
        }
        lines.push_front(v1::Told { at_ms, trace: trace.to_owned(), line });
    }

    /// The lines of an object, newest first.
    pub fn of(&self, key: &ObjectKey) -> Vec<v1::Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.lines.get(key).map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    fn key(n: u32) -> ObjectKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Oid::from_bytes(bytes).into()
    }

    #[test]
    fn the_newest_line_comes_first_and_old_ones_go() {
        let stories = Stories::default();
        for at in 0..100 {
            stories.tell(key(1), at, "t", format!("line {at}"));
        }
        let told = stories.of(&key(1));
        assert_eq!((told.len(), told[0].line.as_str()), (LINES, "line 99"));
        assert!(stories.of(&key(2)).is_empty());
    }

    #[test]
    fn the_memory_of_stories_is_bounded() {
        let stories = Stories::default();
        for n in 0..5000 {
            stories.tell(key(n), 0, "", String::new());
        }
        let told = stories.told.lock().unwrap();
        assert!(told.lines.len() <= OBJECTS && told.order.len() <= OBJECTS);
        assert!(told.lines.contains_key(&key(4999)));
    }
}
