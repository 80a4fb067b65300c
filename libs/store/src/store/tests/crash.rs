//! What a kill -9 leaves, told by copying the directory of a running store: no handle is closed, nothing committed.

use std::fs;

use crate::disk::places::Places;
use crate::testing::*;
use crate::{Media, Store};
use bytes::Bytes;
use darner_lfs::{Layout, PieceDigest};

#[tokio::test]
async fn a_kill_loses_only_unfinished_pieces() {
    let (dir, store) = store().await;
    let bytes = content(1, 4 * PIECE);
    let digests: Vec<PieceDigest> = bytes.chunks(PIECE).map(PieceDigest::of).collect();
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    partial.attest(0, &digests, Bytes::from_static(b"signed"), 9, "seed-1");
    partial.add_upstream("https://h/r");
    write_piece(&partial, &bytes, 0);
    write_piece(&partial, &bytes, 2);
    let mut unfinished = partial.begin(1, true).unwrap();
    unfinished.write(&bytes[PIECE..PIECE + 100]).unwrap();
    let copy = as_after_a_kill(&dir);
    let store = Store::open(config(&copy)).await.unwrap();
    assert_eq!(store.inventory()[0].holding.iter().collect::<Vec<_>>(), vec![0, 2]);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![0, 2]);
    assert_eq!(partial.statements(0), vec![Bytes::from_static(b"signed")]);
    assert_eq!(partial.reading(), Some((9, "seed-1".to_owned())));
    assert!(store.has_upstream(&key_of(&bytes), "https://h/r"));
    let stored = fill(&partial, &bytes);
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_resumed_piece_is_checked_before_its_bytes_leave() {
    let (dir, store) = store().await;
    let bytes = content(2, 3 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &bytes, 0);
    write_piece(&partial, &bytes, 1);
    let copy = as_after_a_kill(&dir);
    flip(&partial_path_of(&copy, &key_of(&bytes)), 10);
    let store = Store::open(config(&copy)).await.unwrap();
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    assert!(partial.read(0, 10).await.is_err());
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![1]);
    assert_eq!(partial.read(PIECE as u64, 10).await.unwrap(), bytes[PIECE..PIECE + 10]);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_resumed_piece_that_rotted_is_found_by_the_hash_as_well() {
    let (dir, store) = store().await;
    let bytes = content(3, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &bytes, 0);
    write_piece(&partial, &bytes, 1);
    let copy = as_after_a_kill(&dir);
    flip(&partial_path_of(&copy, &key_of(&bytes)), PIECE as u64);
    let store = Store::open(config(&copy)).await.unwrap();
    let partial = store.live_partial(&key_of(&bytes)).unwrap();
    assert!(partial.is_whole() && partial.finish().is_err());
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![0]);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_restart_keeps_objects_pins_provenance_and_attestations() {
    let (dir, store) = store().await;
    let bytes = content(4, 2 * PIECE);
    let stored = bring(&store, &bytes).await;
    stored.set_attestation(Bytes::from_static(b"confirmed"));
    store.add_upstream(&key_of(&bytes), "https://h/r");
    store.pin(&key_of(&bytes), true);
    let digests = stored.digests();
    drop((stored, store));
    let store = Store::open(config(&dir)).await.unwrap();
    let stored = store.get(&key_of(&bytes)).await.unwrap();
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert_eq!((stored.digests(), stored.attestation()), (digests, Some(Bytes::from_static(b"confirmed"))));
    let record = store.record(&key_of(&bytes)).unwrap();
    assert!(record.pinned && record.upstreams == vec!["https://h/r".to_owned()]);
}

#[tokio::test]
async fn a_flush_makes_records_outlive_a_kill() {
    let (dir, store) = store().await;
    let bytes = content(5, 1000);
    drop(store.put(oid_of(&bytes), bytes.clone(), Some("https://h/r")).await.unwrap());
    store.flush().await;
    let copy = as_after_a_kill(&dir);
    let store = Store::open(config(&copy)).await.unwrap();
    assert!(store.contains(&key_of(&bytes)) && store.has_upstream(&key_of(&bytes), "https://h/r"));
}

#[tokio::test]
async fn an_object_whose_record_was_not_committed_is_adopted_with_its_provenance() {
    let (dir, store) = store().await;
    let bytes = content(6, 3 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    partial.add_upstream("https://h/r");
    fill(&partial, &bytes);
    let copy = as_after_a_kill(&dir);
    forget_records(&copy);
    let journal = Places::new(copy.path()).journal(&key_of(&bytes));
    let line = crate::journal::Line::opened(&layout_of(&bytes), crate::journal::Keep::default());
    let upstream = crate::journal::Line::Upstream("https://h/r".to_owned());
    drop(crate::journal::Journal::create(&journal, &[line, upstream]).unwrap());
    let store = Store::open(config(&copy)).await.unwrap();
    let stored = store.get(&key_of(&bytes)).await.unwrap();
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert!(store.has_upstream(&key_of(&bytes), "https://h/r"));
    store.flush().await;
}

#[tokio::test]
async fn a_file_without_a_record_that_is_not_its_object_is_removed() {
    let (dir, store) = store().await;
    let (bytes, other) = (content(7, PIECE), content(8, PIECE));
    drop(bring(&store, &bytes).await);
    drop(store);
    forget_records(&dir);
    fs::write(path_of(&dir, &key_of(&bytes)), &other).unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(store.get(&key_of(&bytes)).await.is_none());
    // The adoption thread may have been first and still be clearing away.
    while store.usage().bytes > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(on_disk(&dir), (0, 0));
    drop(bring(&store, &bytes).await);
}

#[tokio::test]
async fn a_url_without_a_record_is_believed_only_with_its_journal() {
    let (dir, store) = store().await;
    let bytes = content(9, 1000);
    for n in 1..3 {
        let partial = store.partial(url_key(n), layout_of(&bytes)).await.unwrap();
        partial.set_media(Media { content_type: None, etag: Some("\"e\"".to_owned()) });
        fill(&partial, &bytes);
    }
    drop(store);
    forget_records(&dir);
    let journal = Places::new(dir.path()).journal(&url_key(1));
    let line = crate::journal::Line::opened(&layout_of(&bytes), crate::journal::Keep::default());
    let piece = crate::journal::Line::piece(0, &PieceDigest::of(&bytes));
    drop(crate::journal::Journal::create(&journal, &[line, piece]).unwrap());
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(read_all(&store.get(&url_key(1)).await.unwrap()).await.unwrap(), bytes);
    assert!(store.get(&url_key(2)).await.is_none());
}

#[tokio::test]
async fn a_partial_of_unknown_length_is_resumed() {
    let (dir, store) = store().await;
    let full = Layout::unknown().piece_bytes() as usize;
    let bytes = content(10, full + 5);
    let partial = store.partial(key_of(&bytes), Layout::unknown()).await.unwrap();
    write_piece_of(&partial, &bytes[..full], 0);
    let copy = as_after_a_kill(&dir);
    let store = Store::open(config(&copy)).await.unwrap();
    let partial = store.partial(key_of(&bytes), Layout::of_size(bytes.len() as u64)).await.unwrap();
    assert!(partial.has(0));
    write_piece_of(&partial, &bytes[full..], 1);
    assert!(partial.finish().is_ok());
}

#[tokio::test]
async fn a_record_whose_file_is_gone_is_dropped_at_the_start() {
    let (dir, store) = store().await;
    let bytes = content(11, 1000);
    drop(bring(&store, &bytes).await);
    drop(store);
    fs::remove_file(path_of(&dir, &key_of(&bytes))).unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(!store.contains(&key_of(&bytes)) && store.inventory().is_empty());
}

#[tokio::test]
async fn an_object_truncated_while_nobody_ran_is_salvaged() {
    let (dir, store) = store().await;
    let bytes = content(12, 3 * PIECE);
    drop(bring(&store, &bytes).await);
    drop(store);
    let file = fs::File::options().write(true).open(path_of(&dir, &key_of(&bytes))).unwrap();
    file.set_len(PIECE as u64).unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(store.get(&key_of(&bytes)).await.is_none());
    assert_eq!(store.live_partial(&key_of(&bytes)).unwrap().holding().count(), 1);
}

#[tokio::test]
async fn a_quarantine_survives_the_next_restart() {
    let (dir, store) = store().await;
    let bytes = content(13, 3 * PIECE);
    drop(bring(&store, &bytes).await);
    flip(&path_of(&dir, &key_of(&bytes)), 0);
    let stored = store.get(&key_of(&bytes)).await.unwrap();
    assert!(stored.read(0, 1).await.is_err());
    drop((stored, store));
    let store = Store::open(config(&dir)).await.unwrap();
    let partial = store.live_partial(&key_of(&bytes)).unwrap();
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![1, 2]);
    assert_eq!(partial.digest(0), Some(PieceDigest::of(&bytes[..PIECE])));
    fill(&partial, &bytes);
}

/// As if the last commit had never been made.
fn forget_records(dir: &tempfile::TempDir) {
    fs::remove_file(dir.path().join("index.redb")).unwrap();
}

fn write_piece_of(partial: &crate::Partial, bytes: &[u8], piece: u32) {
    let mut writer = partial.begin(piece, false).unwrap();
    writer.write(bytes).unwrap();
    writer.finish(None).unwrap();
}
