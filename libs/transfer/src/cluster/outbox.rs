//! What this node still owes one scheduler: wants at once, changes of the holdings a moment later. Pure.
//!
//! Bounded: a key is owed once however often it changed; beyond [`CHANGES`] keys the whole list is owed instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use darner_lfs::ObjectKey;
use darner_proto::v1;
use darner_proto::v1::node_message::Message;
use darner_store::Item;

use super::inventory::held;

/// Changed keys kept before the whole list is announced anew, which is then cheaper.
const CHANGES: usize = 65_536;
/// Wants per message: a message stays far below the 4 MiB that gRPC allows.
const WANTS: usize = 20_000;
/// Held objects per message, with room for a bitmap of a few KiB each.
pub(super) const HELDS: usize = 500;
/// Troubles kept; older ones say nothing new.
const TROUBLES: usize = 1_024;

/// What is to be said of a wanted object.
#[derive(Debug, Default)]
struct Want {
    size: Option<u64>,
    trace: String,
}

/// Owed to one scheduler.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    wants: BTreeMap<ObjectKey, Want>,
    forgets: BTreeSet<ObjectKey>,
    troubles: VecDeque<v1::Trouble>,
    load: Option<v1::Load>,
    changed: BTreeSet<ObjectKey>,
    full: bool,
    next_want: u64,
    next_inventory: u64,
}

impl Outbox {
    /// A new stream: it is owed everything held and everything wanted, and nothing from before.
    pub(super) fn restart(&mut self, wanted: impl Iterator<Item = (ObjectKey, Option<u64>)>) {
        // A decision that is made again is in no trace: its download was decided before.
        let wants = wanted.map(|(key, size)| (key, Want { size, ..Want::default() })).collect();
        *self = Self { wants, full: true, ..Self::default() };
    }

    pub(super) fn want(&mut self, key: ObjectKey, size: Option<u64>, trace: Option<String>) {
        self.forgets.remove(&key);
        self.wants.insert(key, Want { size, trace: trace.unwrap_or_default() });
    }

    pub(super) fn forget(&mut self, key: ObjectKey) {
        if self.wants.remove(&key).is_none() {
            self.forgets.insert(key);
        }
    }

    pub(super) fn trouble(&mut self, key: ObjectKey, parent: &str, kind: v1::TroubleKind) {
        if self.troubles.len() >= TROUBLES {
            self.troubles.pop_front();
        }
        let trouble = v1::Trouble { key: Some(key.into()), parent: parent.to_owned(), kind: kind.into() };
        self.troubles.push_back(trouble);
    }

    pub(super) fn load(&mut self, load: v1::Load) {
        self.load = Some(load);
    }

    pub(super) fn changed(&mut self, key: ObjectKey) {
        if self.changed.len() >= CHANGES {
            self.lost();
        }
        if !self.full {
            self.changed.insert(key);
        }
    }

    /// Changes were missed: the whole list is owed.
    pub(super) fn lost(&mut self) {
        self.changed.clear();
        self.full = true;
    }

    /// Whether anything about the holdings is owed.
    pub(super) fn owes_changes(&self) -> bool {
        self.full || !self.changed.is_empty()
    }

    /// Takes whether the whole list is owed. Changes from now on are owed on top of it.
    pub(super) fn take_full(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    /// Takes the changed keys.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.changed)
    }

    /// Takes what cannot wait. Forgets go before wants: a key given up and wanted again is wanted.
    pub(super) fn take_urgent(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.forgets.is_empty() {
            let keys: Vec<v1::ObjectKey> =
                std::mem::take(&mut self.forgets).into_iter().map(Into::into).collect();
            messages
                .extend(keys.chunks(WANTS).map(|keys| Message::Forget(v1::Forget { keys: keys.to_vec() })));
        }
        let wants: Vec<v1::Want> = std::mem::take(&mut self.wants)
            .into_iter()
            .map(|(key, Want { size, trace })| v1::Want { key: Some(key.into()), size, trace })
            .collect();
        for wants in wants.chunks(WANTS) {
            self.next_want += 1;
            messages.push(Message::Wants(v1::Wants { id: self.next_want, wants: wants.to_vec() }));
        }
        messages.extend(self.troubles.drain(..).map(Message::Trouble));
        messages.extend(self.load.take().map(Message::Load));
        messages
    }

    /// The next message about holdings, numbered.
    pub(super) fn inventory(&mut self, mut news: v1::Inventory) -> Message {
        self.next_inventory += 1;
        news.sequence = self.next_inventory;
        Message::Inventory(news)
    }
}

/// The whole list in messages: each but the last says that more follows; there is always one.
pub(super) fn whole(items: &[Item]) -> Vec<v1::Inventory> {
    let mut parts: Vec<v1::Inventory> =
        items.chunks(HELDS).map(|part| v1::Inventory { full: true, more: true, ..announced(part) }).collect();
    if parts.is_empty() {
        parts.push(v1::Inventory { full: true, ..Default::default() });
    }
    if let Some(last) = parts.last_mut() {
        last.more = false;
    }
    parts
}

/// Changed objects in messages.
pub(super) fn deltas(changed: &[(ObjectKey, Option<Item>)]) -> Vec<v1::Inventory> {
    let part = |part: &[(ObjectKey, Option<Item>)]| {
        let here: Vec<Item> = part.iter().filter_map(|(_, item)| item.clone()).collect();
        let gone = part.iter().filter(|(_, item)| item.is_none()).map(|(key, _)| (*key).into());
        v1::Inventory { removed: gone.collect(), ..announced(&here) }
    };
    changed.chunks(HELDS).map(part).collect()
}

fn announced(items: &[Item]) -> v1::Inventory {
    v1::Inventory { added: items.iter().map(held).collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::{Holding, Layout, Oid};

    fn key(n: u32) -> ObjectKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Oid::from_bytes(bytes).into()
    }

    fn item(n: u32) -> Item {
        Item { key: key(n), layout: Layout::of_size(10), complete: true, holding: Holding::empty() }
    }

    #[test]
    fn a_whole_batch_is_one_message() {
        let mut outbox = Outbox::default();
        for n in 0..12_000 {
            outbox.want(key(n), Some(1), None);
        }
        let messages = outbox.take_urgent();
        assert!(
            matches!(messages.as_slice(), [Message::Wants(wants)] if wants.wants.len() == 12_000 && wants.id == 1)
        );
        assert!(outbox.take_urgent().is_empty());
    }

    #[test]
    fn what_is_given_up_before_it_was_said_is_never_said() {
        let mut outbox = Outbox::default();
        outbox.want(key(1), None, None);
        outbox.forget(key(1));
        assert!(outbox.take_urgent().is_empty());
    }

    #[test]
    fn a_key_given_up_and_wanted_again_is_wanted() {
        let mut outbox = Outbox::default();
        outbox.forget(key(1));
        outbox.want(key(1), None, None);
        let messages = outbox.take_urgent();
        assert!(matches!(messages.as_slice(), [Message::Wants(_)]), "{messages:?}");
    }

    #[test]
    fn a_want_carries_its_trace_until_the_stream_breaks() {
        let mut outbox = Outbox::default();
        let trace = |outbox: &mut Outbox| match outbox.take_urgent().as_slice() {
            [Message::Wants(wants)] => wants.wants[0].trace.clone(),
            other => panic!("{other:?}"),
        };
        outbox.want(key(1), None, Some("00-a-b-01".to_owned()));
        assert_eq!(trace(&mut outbox), "00-a-b-01");
        outbox.restart([(key(1), None)].into_iter());
        assert_eq!(trace(&mut outbox), "", "a decision made again is no part of the download's beginning");
    }

    #[test]
    fn a_new_stream_is_owed_everything_and_nothing_stale() {
        let mut outbox = Outbox::default();
        outbox.forget(key(1));
        outbox.trouble(key(2), "p", v1::TroubleKind::Stalled);
        outbox.changed(key(3));
        outbox.restart([(key(9), Some(4))].into_iter());
        assert!(matches!(outbox.take_urgent().as_slice(), [Message::Wants(wants)] if wants.wants.len() == 1));
        assert!(outbox.take_full());
        assert!(outbox.take_changed().is_empty());
        assert!(!outbox.owes_changes());
    }

    #[test]
    fn a_key_that_changes_often_is_owed_once() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.changed(key(1));
        }
        assert_eq!(outbox.take_changed().len(), 1);
    }

    #[test]
    fn too_many_changes_become_the_whole_list() {
        let mut outbox = Outbox::default();
        for n in 0..=u32::try_from(CHANGES).unwrap() {
            outbox.changed(key(n));
        }
        assert!(outbox.take_full());
        assert!(outbox.take_changed().is_empty());
        outbox.changed(key(1));
        assert_eq!(outbox.take_changed().len(), 1, "changes after the list was taken are owed on top");
    }

    #[test]
    fn the_whole_list_says_when_it_ends() {
        let items: Vec<Item> = (0..1_200).map(item).collect();
        let more: Vec<(usize, bool)> =
            whole(&items).iter().map(|part| (part.added.len(), part.more)).collect();
        assert_eq!(more, [(500, true), (500, true), (200, false)]);
        assert!(matches!(whole(&[]).as_slice(), [part] if part.full && !part.more));
    }

    #[test]
    fn a_delta_tells_what_came_from_what_went() {
        let parts = deltas(&[(key(1), Some(item(1))), (key(2), None)]);
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].added.len(), parts[0].removed.len(), parts[0].full), (1, 1, false));
        assert_eq!(parts[0].removed[0], v1::ObjectKey::from(key(2)));
    }

    #[test]
    fn messages_about_holdings_are_numbered() {
        let mut outbox = Outbox::default();
        let number = |message| match message {
            Message::Inventory(news) => news.sequence,
            _ => 0,
        };
        assert_eq!(number(outbox.inventory(v1::Inventory::default())), 1);
        assert_eq!(number(outbox.inventory(v1::Inventory::default())), 2);
    }

    #[test]
    fn old_troubles_make_room_for_new_ones() {
        let mut outbox = Outbox::default();
        for n in 0..TROUBLES + 5 {
            outbox.trouble(key(1), &n.to_string(), v1::TroubleKind::Stalled);
        }
        let messages = outbox.take_urgent();
        assert_eq!(messages.len(), TROUBLES);
        assert!(matches!(&messages[0], Message::Trouble(trouble) if trouble.parent == "5"));
    }
}
