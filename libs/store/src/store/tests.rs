//! The store as its callers see it.

mod crash;
mod model;
mod opening;
mod room;
mod together;

use super::*;
use crate::testing::*;

#[tokio::test]
async fn provenance_is_kept_and_purged_by_repository() {
    let (_dir, store) = store().await;
    let (one, two, three) = (content(1, 100), content(2, 100), content(3, 100));
    for (bytes, upstream) in
        [(&one, "https://h/org/repo"), (&two, "https://h/org"), (&three, "https://h/organ")]
    {
        drop(store.put(oid_of(bytes), bytes.clone(), Some(upstream)).await.unwrap());
    }
    store.add_upstream(&key_of(&three), "https://h/other");
    assert!(store.has_upstream(&key_of(&three), "https://h/other"));
    assert!(!store.has_upstream(&key_of(&three), "https://h/org"));
    assert_eq!(store.purge_upstream("https://h/org/").await, 2);
    assert!(
        !store.contains(&key_of(&one)) && !store.contains(&key_of(&two)) && store.contains(&key_of(&three))
    );
}

#[tokio::test]
async fn upstreams_of_an_object_are_bounded() {
    let (_dir, store) = store().await;
    let bytes = content(1, 100);
    let stored = bring(&store, &bytes).await;
    for n in 0..100 {
        store.add_upstream(&key_of(&bytes), &format!("https://h/{n}"));
        store.add_upstream(&key_of(&bytes), "https://h/0");
    }
    assert_eq!(stored.upstreams().len(), 64);
}

#[tokio::test]
async fn a_purge_removes_what_is_being_read_and_written() {
    let (dir, store) = store().await;
    let (done, growing) = (content(1, 1000), content(2, 2 * PIECE));
    let stored = bring(&store, &done).await;
    let partial = store.partial(key_of(&growing), layout_of(&growing)).await.unwrap();
    write_piece(&partial, &growing, 0);
    store.purge(&key_of(&done)).await;
    store.purge(&key_of(&growing)).await;
    assert_eq!(read_all(&stored).await.unwrap(), done, "who reads it now reads to the end");
    assert!(matches!(partial.outcome(), Some(crate::Outcome::Failed(_))));
    assert!(store.get(&key_of(&done)).await.is_none() && store.live_partial(&key_of(&growing)).is_none());
    assert_eq!((on_disk(&dir), store.usage().bytes), ((0, 0), 0));
}

#[tokio::test]
async fn the_inventory_tells_of_objects_and_partials_and_of_their_changes() {
    let (_dir, store) = store().await;
    let mut changes = store.changes();
    let (done, growing) = (content(1, 2 * PIECE), content(2, 2 * PIECE));
    drop(store.put(oid_of(&done), done.clone(), None).await.unwrap());
    let partial = store.partial(key_of(&growing), layout_of(&growing)).await.unwrap();
    write_piece(&partial, &growing, 1);
    let mut inventory = store.inventory();
    inventory.sort_by_key(|item| !item.complete);
    assert_eq!((inventory[0].key, inventory[0].holding.count()), (key_of(&done), 2));
    assert_eq!(inventory[1].holding.iter().collect::<Vec<_>>(), vec![1]);
    assert_eq!(changes.try_recv().unwrap(), Change::Added(key_of(&done)));
    assert_eq!(changes.try_recv().unwrap(), Change::Added(key_of(&growing)), "at its first piece");
    drop(partial);
    assert_eq!(store.inventory().len(), 2, "what lies on disk can be offered");
    store.purge(&key_of(&done)).await;
    assert_eq!(changes.try_recv().unwrap(), Change::Removed(key_of(&done)));
}

#[tokio::test]
async fn a_data_directory_emptied_under_the_store_is_filled_again() {
    let (dir, store) = store().await;
    let (small, large) = (content(1, 100), content(2, 3 * PIECE));
    drop((store.put(oid_of(&small), small.clone(), None).await.unwrap(), bring(&store, &large).await));
    for part in ["objects", "urls", "partial"] {
        std::fs::remove_dir_all(dir.path().join(part)).unwrap();
    }
    assert!(store.get(&key_of(&small)).await.is_none() && store.get(&key_of(&large)).await.is_none());
    assert_eq!(store.usage().bytes, 0);
    drop((store.put(oid_of(&small), small.clone(), None).await.unwrap(), bring(&store, &large).await));
    assert!(store.contains(&key_of(&small)) && store.contains(&key_of(&large)));
}

#[tokio::test]
async fn a_record_says_what_is_known() {
    let (_dir, store) = store().await;
    let bytes = content(1, 100);
    assert!(store.record(&key_of(&bytes)).is_none());
    drop(store.put(oid_of(&bytes), bytes.clone(), Some("https://h/r")).await.unwrap());
    store.pin(&key_of(&bytes), true);
    let record = store.record(&key_of(&bytes)).unwrap();
    assert!(record.complete && record.pinned && !record.authoritative);
    assert_eq!((record.layout, record.upstreams), (layout_of(&bytes), vec!["https://h/r".to_owned()]));
}

#[tokio::test]
async fn what_is_purged_leaves_the_memory_and_an_idle_resident_may_be_evicted() {
    let (_dir, store) = store().await;
    let bytes = content(23, 1000);
    let stored = store.put(oid_of(&bytes), bytes.clone(), None).await.unwrap();
    let shelves = || store.room.shelves.lock().unwrap();
    assert_eq!(shelves().victim(), None, "somebody reads it");
    let object = std::sync::Arc::downgrade(stored.object());
    drop(stored);
    assert_eq!(shelves().victim(), Some(key_of(&bytes)));
    assert!(object.upgrade().is_some(), "it stays in memory");
    store.purge(&key_of(&bytes)).await;
    assert!(object.upgrade().is_none());
}
