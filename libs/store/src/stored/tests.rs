//! Finished objects under damage.

use crate::testing::*;
use crate::{Outcome, ReadError, Store};
use bytes::Bytes;

#[tokio::test]
async fn a_flipped_byte_is_found_at_first_read_and_the_rest_is_kept() {
    let (dir, store) = store().await;
    let bytes = content(1, 4 * PIECE);
    let key = key_of(&bytes);
    drop(bring(&store, &bytes).await);
    flip(&path_of(&dir, &key), 2 * PIECE as u64 + 9);
    let stored = store.get(&key).await.unwrap();
    let mut changes = store.changes();
    assert!(matches!(read_all(&stored).await, Err(ReadError::Damaged { piece: 2 })));
    assert!(!store.contains(&key) && store.get(&key).await.is_none());
    assert_eq!(changes.try_recv().unwrap(), crate::Change::Removed(key));
    let partial = store.live_partial(&key).unwrap();
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![0, 1, 3]);
    assert!(partial.digest(2).is_some(), "what the missing piece must be is still known");
    let again = fill(&partial, &bytes);
    assert_eq!(read_all(&again).await.unwrap(), bytes);
    assert_eq!(std::fs::read(path_of(&dir, &key)).unwrap(), bytes);
}

#[tokio::test]
async fn a_digest_that_rotted_with_the_object_does_not_keep_the_right_bytes_out() {
    let (dir, store) = store().await;
    let bytes = content(15, 2 * PIECE);
    let key = key_of(&bytes);
    drop(bring(&store, &bytes).await);
    flip(&path_of(&dir, &key), 0);
    assert!(store.get(&key).await.unwrap().read(0, 1).await.is_err());
    let partial = store.live_partial(&key).unwrap();
    let other = darner_lfs::PieceDigest::of(b"other");
    assert!(partial.attest(0, &[other], Bytes::new(), 1, "seed"), "an attestation prevails");
    assert_eq!(partial.digest(0), Some(other));
}

#[tokio::test]
async fn a_byte_flipped_while_nobody_ran_is_found_after_the_restart() {
    let (dir, store) = store().await;
    let bytes = content(2, 2 * PIECE);
    drop(bring(&store, &bytes).await);
    drop(store);
    flip(&path_of(&dir, &key_of(&bytes)), 3);
    let store = Store::open(config(&dir)).await.unwrap();
    let stored = store.get(&key_of(&bytes)).await.unwrap();
    assert!(matches!(stored.read(0, 10).await, Err(ReadError::Damaged { piece: 0 })));
    assert!(store.live_partial(&key_of(&bytes)).unwrap().has(1));
}

#[tokio::test]
async fn a_byte_flipped_between_two_reads_of_one_handle_is_found() {
    let (dir, store) = store().await;
    let bytes = content(3, 2 * PIECE);
    let stored = bring(&store, &bytes).await;
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    flip(&path_of(&dir, &stored.key()), 3);
    assert!(matches!(stored.read(0, 10).await, Err(ReadError::Damaged { piece: 0 })));
}

#[tokio::test]
async fn two_damaged_pieces_are_both_found_before_a_byte_of_them_leaves() {
    let (dir, store) = store().await;
    let bytes = content(4, 4 * PIECE);
    let key = key_of(&bytes);
    drop(bring(&store, &bytes).await);
    flip(&path_of(&dir, &key), 1);
    flip(&path_of(&dir, &key), 3 * PIECE as u64);
    let stored = store.get(&key).await.unwrap();
    assert!(stored.read(0, 10).await.is_err());
    let partial = store.live_partial(&key).unwrap();
    assert!(partial.has(3), "not read yet");
    let end = 3 * PIECE as u64;
    assert!(matches!(partial.read(end, 10).await, Err(ReadError::Damaged { piece: 3 })));
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![1, 2]);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_truncated_object_keeps_the_pieces_before_the_cut() {
    let (dir, store) = store().await;
    let bytes = content(5, 4 * PIECE);
    let key = key_of(&bytes);
    drop(bring(&store, &bytes).await);
    let file = std::fs::File::options().write(true).open(path_of(&dir, &key)).unwrap();
    file.set_len(2 * PIECE as u64 + 100).unwrap();
    assert!(store.get(&key).await.is_none());
    let partial = store.live_partial(&key).unwrap();
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![0, 1]);
    assert_eq!(read_partial(&partial).await.unwrap(), bytes[..2 * PIECE]);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn an_object_truncated_to_nothing_is_forgotten() {
    let (dir, store) = store().await;
    let bytes = content(6, PIECE);
    let stored = bring(&store, &bytes).await;
    std::fs::File::options().write(true).truncate(true).open(path_of(&dir, &stored.key())).unwrap();
    assert!(matches!(stored.read(0, 1).await, Err(ReadError::Damaged { piece: 0 })));
    assert!(store.record(&stored.key()).is_none());
    assert_eq!(store.usage().bytes, 0);
}

#[tokio::test]
async fn garbage_behind_an_object_is_cut_off() {
    let (dir, store) = store().await;
    let bytes = content(7, 2 * PIECE);
    let key = key_of(&bytes);
    drop(bring(&store, &bytes).await);
    let file = std::fs::File::options().write(true).open(path_of(&dir, &key)).unwrap();
    file.set_len(9 * PIECE as u64).unwrap();
    assert!(store.get(&key).await.is_none());
    let partial = store.partial(key, layout_of(&bytes)).await.unwrap();
    assert!(partial.is_whole());
    fill(&partial, &bytes);
    assert_eq!(std::fs::read(path_of(&dir, &key)).unwrap(), bytes);
}

#[tokio::test]
async fn a_deleted_object_stays_readable_to_its_readers_and_is_gone_for_the_next() {
    let (dir, store) = store().await;
    let bytes = content(8, PIECE);
    let stored = bring(&store, &bytes).await;
    let mut changes = store.changes();
    std::fs::remove_file(path_of(&dir, &stored.key())).unwrap();
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert!(store.get(&stored.key()).await.is_none() && !store.contains(&stored.key()));
    assert_eq!(changes.try_recv().unwrap(), crate::Change::Removed(stored.key()));
    assert_eq!(store.usage().bytes, 0);
    let again = bring(&store, &bytes).await;
    assert_eq!(read_all(&again).await.unwrap(), bytes);
}

#[tokio::test]
async fn another_file_put_in_its_place_is_not_believed() {
    let (dir, store) = store().await;
    let bytes = content(9, PIECE);
    let stored = bring(&store, &bytes).await;
    let path = path_of(&dir, &stored.key());
    let other = dir.path().join("other");
    std::fs::write(&other, content(10, PIECE)).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(read_all(&stored).await.unwrap(), bytes, "the open one is the old one");
    let fresh = store.get(&stored.key()).await.unwrap();
    assert!(matches!(fresh.read(0, 1).await, Err(ReadError::Damaged { piece: 0 })));
}

#[tokio::test]
async fn a_small_object_is_put_at_once_and_only_under_its_name() {
    let (_dir, store) = store().await;
    let bytes = content(11, 1000);
    let stored = store.put(oid_of(&bytes), bytes.clone(), Some("https://h/o/r")).await.unwrap();
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert!(store.has_upstream(&key_of(&bytes), "https://h/o/r"));
    let refused = store.put(oid_of(&bytes), Bytes::from_static(b"else"), None).await;
    assert!(matches!(refused, Err(crate::StoreError::Mismatch { .. })));
}

#[tokio::test]
async fn a_put_ends_the_partial_of_the_same_object() {
    let (_dir, store) = store().await;
    let bytes = content(12, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &bytes, 1);
    drop(store.put(oid_of(&bytes), bytes.clone(), None).await.unwrap());
    assert!(matches!(partial.outcome(), Some(Outcome::Finished(_))));
    assert_eq!(read_partial(&partial).await.unwrap(), bytes);
    assert!(partial.begin(0, false).is_none());
    let expected = crate::ledger::Charge::of_object(bytes.len() as u64).bytes + 2 * 4096;
    assert_eq!(store.usage().bytes, expected);
}

#[tokio::test]
async fn a_scrub_reads_everything_and_finds_what_is_damaged() {
    let (dir, store) = store().await;
    let (good, bad) = (content(13, 2 * PIECE), content(14, 2 * PIECE));
    drop((bring(&store, &good).await, bring(&store, &bad).await));
    flip(&path_of(&dir, &key_of(&bad)), 7);
    let report = store.scrub(0).await;
    assert_eq!(report.damaged, vec![key_of(&bad)]);
    assert!(store.contains(&key_of(&good)) && !store.contains(&key_of(&bad)));
    assert_eq!(store.scrub(0).await.damaged, vec![]);
}

#[tokio::test]
async fn a_small_object_is_read_from_memory_until_its_file_changes() {
    let (dir, store) = store().await;
    let bytes = content(20, 1000);
    let key = key_of(&bytes);
    drop(store.put(oid_of(&bytes), bytes.clone(), None).await.unwrap());
    let stored = store.get(&key).await.unwrap();
    assert!(stored.object().content().is_some() && stored.object().file.lock().unwrap().is_none());
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    drop(stored);
    flip(&path_of(&dir, &key), 3);
    let again = store.get(&key).await.unwrap();
    assert!(matches!(again.read(0, 10).await, Err(ReadError::Damaged { piece: 0 })));
    assert!(store.get(&key).await.is_none(), "what is damaged on disk is not served from memory either");
}

#[tokio::test]
async fn a_small_object_comes_into_memory_checked_at_its_first_read() {
    let (dir, store) = store().await;
    let (good, bad) = (content(21, 1000), content(22, 1000));
    drop((bring(&store, &good).await, bring(&store, &bad).await));
    drop(store);
    let store = Store::open(config(&dir)).await.unwrap();
    flip(&path_of(&dir, &key_of(&bad)), 3);
    let stored = store.get(&key_of(&good)).await.unwrap();
    assert!(stored.object().content().is_none());
    assert_eq!(stored.read(10, 5).await.unwrap(), good.slice(10..15));
    assert!(stored.object().content().is_some());
    let stored = store.get(&key_of(&bad)).await.unwrap();
    assert!(stored.read(10, 5).await.is_err() && stored.object().content().is_none());
}
