//! The budget, the order of eviction, and who is never evicted.

use crate::ledger::Charge;
use crate::testing::*;
use crate::{Outcome, Store, StoreConfig, StoreError, WriteError};
use darner_lfs::Layout;

/// What one object of a piece takes with its directories and, while it grows, its journal.
const ONE: u64 = PIECE as u64 + 4 * 4096;

#[tokio::test]
async fn the_least_recently_used_object_makes_room() {
    let (dir, store) = small_store(3 * ONE).await;
    let all: Vec<_> = (0..4).map(|n| content(n, PIECE)).collect();
    for bytes in &all[..3] {
        drop(bring(&store, bytes).await);
    }
    drop(store.get(&key_of(&all[0])).await.unwrap());
    drop(bring(&store, &all[3]).await);
    let here: Vec<bool> = all.iter().map(|bytes| store.contains(&key_of(bytes))).collect();
    assert_eq!(here, vec![true, false, true, true]);
    assert!(!path_of(&dir, &key_of(&all[1])).try_exists().unwrap());
}

#[tokio::test]
async fn what_is_read_pinned_or_authoritative_is_not_evicted() {
    let (_dir, store) = small_store(3 * ONE).await;
    let all: Vec<_> = (0..4).map(|n| content(n, PIECE)).collect();
    let reading = bring(&store, &all[0]).await;
    drop((bring(&store, &all[1]).await, bring(&store, &all[2]).await));
    store.pin(&key_of(&all[1]), true);
    store.set_authoritative(&key_of(&all[2]), true);
    let refused = store.partial(key_of(&all[3]), layout_of(&all[3])).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
    assert_eq!(read_all(&reading).await.unwrap(), all[0]);
    drop(reading);
    drop(bring(&store, &all[3]).await);
    assert!(!store.contains(&key_of(&all[0])) && store.contains(&key_of(&all[1])));
}

#[tokio::test]
async fn what_can_never_fit_evicts_nothing() {
    let (_dir, store) = small_store(2 * ONE).await;
    let bytes = content(1, PIECE);
    drop(bring(&store, &bytes).await);
    let huge = store.partial(url_key(1), Layout::of_size(100 * ONE)).await;
    assert!(matches!(huge, Err(StoreError::Full { .. })));
    assert!(store.contains(&key_of(&bytes)));
    let volatile = store.volatile(url_key(1), Layout::of_size(100 * ONE), 0);
    assert!(volatile.begin(0, true).is_some(), "it streams all the same");
}

#[tokio::test]
async fn an_idle_partial_makes_room_and_a_live_one_does_not() {
    let (dir, store) = small_store(2 * ONE).await;
    let (idle, live, new) = (content(1, PIECE), content(2, PIECE), content(3, PIECE));
    drop(store.partial(key_of(&idle), layout_of(&idle)).await.unwrap());
    let live_partial = store.partial(key_of(&live), layout_of(&live)).await.unwrap();
    drop(bring(&store, &new).await);
    assert!(store.live_partial(&key_of(&idle)).is_none());
    assert!(!partial_path_of(&dir, &key_of(&idle)).try_exists().unwrap());
    fill(&live_partial, &live);
}

#[tokio::test]
async fn inodes_are_a_budget_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { budget_inodes: Some(9), ..config(&dir) }).await.unwrap();
    for n in 0..20 {
        let bytes = content(n, 10);
        drop(store.put(oid_of(&bytes), bytes, None).await.unwrap());
        assert!(on_disk(&dir).1 <= 9);
    }
    assert!(store.usage().objects >= 2);
}

#[tokio::test]
async fn the_floor_of_the_file_system_counts_besides_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { free_floor_bytes: u64::MAX / 2, ..config(&dir) }).await.unwrap();
    let refused = store.put(oid_of(b"x"), bytes::Bytes::from_static(b"x"), None).await;
    assert!(matches!(refused, Err(StoreError::Full { .. })));
}

#[tokio::test]
async fn an_object_of_unknown_length_stops_at_the_budget() {
    let full = Layout::unknown().piece_bytes() as usize;
    let (_dir, store) = small_store(full as u64 + 8 * 4096).await;
    let bytes = content(1, full);
    let partial = store.partial(url_key(1), Layout::unknown()).await.unwrap();
    write_piece(&partial, &bytes, 0);
    let mut over = partial.begin(1, true).unwrap();
    assert!(matches!(over.write(b"x"), Err(WriteError::Full)));
    drop(over);
    partial.fix_size(full as u64);
    assert!(matches!(partial.finish(), Ok(Outcome::Finished(_))));
}

#[tokio::test]
async fn a_smaller_budget_is_kept_from_the_next_start_on() {
    let (dir, store) = small_store(100 * ONE).await;
    let all: Vec<_> = (0..5).map(|n| content(n, PIECE)).collect();
    for bytes in &all {
        drop(bring(&store, bytes).await);
    }
    drop(store);
    let store = Store::open(StoreConfig { budget_bytes: Some(2 * ONE), ..config(&dir) }).await.unwrap();
    assert!(store.usage().bytes <= 2 * ONE && on_disk(&dir).0 <= 2 * ONE);
    assert!(store.contains(&key_of(&all[4])) && !store.contains(&key_of(&all[0])), "the oldest go first");
}

#[tokio::test]
async fn without_a_budget_the_free_space_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::at(dir.path())).await.unwrap();
    let usage = store.usage();
    assert!(usage.budget_bytes > 0 && usage.budget_bytes <= usage.free_bytes && usage.budget_inodes > 0);
}

#[tokio::test]
async fn nothing_stays_reserved_when_all_is_gone() {
    let (dir, store) = small_store(100 * ONE).await;
    let (done, failed) = (content(1, 3 * PIECE), content(2, 3 * PIECE));
    drop(bring(&store, &done).await);
    let partial = store.partial(key_of(&failed), layout_of(&failed)).await.unwrap();
    write_piece(&partial, &failed, 0);
    partial.fail("no");
    drop(partial);
    assert_eq!(store.usage().objects, 1);
    store.purge(&key_of(&done)).await;
    store.purge(&key_of(&failed)).await;
    assert_eq!((store.usage().bytes, store.usage().inodes), (0, 0));
    assert_eq!(on_disk(&dir), (0, 0));
}

#[test]
fn one_is_what_an_object_of_a_piece_takes_while_it_grows() {
    let grows = Charge::of_partial(PIECE as u64, PIECE as u32);
    assert!(grows.bytes <= ONE && 2 * (grows.bytes - 4096) + grows.bytes <= 3 * ONE);
}
