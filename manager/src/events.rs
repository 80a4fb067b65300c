//! What happens, as it happens, for whoever watches.
//!
//! Owns: one bounded broadcast. Never: a history; a watcher that falls behind is told so and reads the lists again.

use serde::Serialize;
use tokio::sync::broadcast;

use crate::catalog::JsonText;

/// Events a slow watcher may be behind before it misses some.
const BEHIND: usize = 256;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A node attached, left, or told its numbers.
    Nodes,
    /// A download began, went on or ended.
    Downloads,
    /// A configuration was put in force.
    Config,
    /// Something was purged.
    Purges,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nodes, Self::Downloads, Self::Config, Self::Purges];

    /// Its name on the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Downloads => "downloads",
            Self::Config => "config",
            Self::Purges => "purges",
        }
    }

    /// The topics of a comma-separated list, or the first word that is none.
    pub fn list(names: &str) -> Result<Vec<Self>, String> {
        let named = names.split(',').map(str::trim);
        let topics = named.map(|name| {
            Self::ALL
                .into_iter()
                .find(|topic| topic.name() == name)
                .ok_or_else(|| name.chars().take(40).collect())
        });
        topics.collect()
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is about.
    pub topic: Topic,
    /// The item as the lists show it.
    pub item: JsonText,
}

/// Where events are told and watched.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Events {
    /// Tell whoever watches; nobody may.
    pub fn tell(&self, topic: Topic, item: &impl Serialize) {
        if self.0.receiver_count() > 0 {
            drop(self.0.send(Event { topic, item: JsonText::of(item) }));
        }
    }

    /// What happens from now on.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_in_a_list() {
        assert_eq!(Topic::list("nodes, purges"), Ok(vec![Topic::Nodes, Topic::Purges]));
        assert_eq!(Topic::list("nodes,<b>"), Err("<b>".to_owned()));
    }

    #[tokio::test]
    async fn a_watcher_hears_what_is_told_after_it_came() {
        let events = Events::default();
        events.tell(Topic::Nodes, &1);
        let mut watcher = events.watch();
        events.tell(Topic::Config, &2);
        let heard = watcher.recv().await.unwrap();
        assert_eq!((heard.topic, heard.item.as_str()), (Topic::Config, "2"));
    }
}
