//! Growing objects on a real disk and in memory.

use super::*;
use crate::error::{ReadError, StoreError, WriteError};
use crate::record::Media;
use crate::testing::*;
use bytes::Bytes;
use darner_lfs::PieceDigest;

#[tokio::test]
async fn pieces_in_any_order_become_a_finished_object() {
    let (dir, store) = store().await;
    let bytes = content(1, 3 * PIECE + 77);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    for piece in [3, 1, 0] {
        write_piece(&partial, &bytes, piece);
    }
    assert!(partial.has_unhashed());
    assert!(partial.hash_more() && !partial.hash_more(), "as far as the first missing piece");
    assert!(!partial.has_unhashed());
    assert!(matches!(partial.finish(), Err(FinishError::Incomplete { missing: 1 })));
    let stored = fill(&partial, &bytes);
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert_eq!(std::fs::read(path_of(&dir, &key_of(&bytes))).unwrap(), bytes);
    assert!(!partial_path_of(&dir, &key_of(&bytes)).try_exists().unwrap());
    assert_eq!(read_partial(&partial).await.unwrap(), bytes, "a reader of the partial goes on");
    assert!(store.live_partial(&key_of(&bytes)).is_none());
}

#[tokio::test]
async fn bytes_are_readable_as_they_come() {
    let (_dir, store) = store().await;
    let bytes = content(2, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    let mut watch = partial.subscribe();
    let mut writer = partial.begin(0, true).unwrap();
    writer.write(&bytes[..1000]).unwrap();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    assert_eq!(partial.readable(0, Unchecked::Edge), 1000);
    assert_eq!(partial.read(10, 100_000).await.unwrap(), bytes[10..1000]);
    assert!(matches!(partial.read(1000, 10).await, Err(ReadError::Beyond { offset: 1000 })));
    drop(writer);
    assert_eq!(partial.readable(0, Unchecked::Any), 0, "the writer went away");
    assert!(watch.has_changed().unwrap());
    assert!(partial.begin(0, true).is_some());
}

#[tokio::test]
async fn a_bad_piece_is_refused_and_written_again() {
    let (_dir, store) = store().await;
    let bytes = content(3, PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    let expected = PieceDigest::of(&bytes);
    let mut writer = partial.begin(0, false).unwrap();
    writer.write(&content(4, PIECE)).unwrap();
    assert!(matches!(writer.finish(Some(expected)), Err(WriteError::Mismatch { .. })));
    let mut writer = partial.begin(0, false).unwrap();
    writer.write(&bytes).unwrap();
    assert!(matches!(writer.write(b"more"), Err(WriteError::Long { .. })));
    assert_eq!(writer.finish(Some(expected)).unwrap(), expected);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_whole_that_is_not_the_object_is_kept_nowhere() {
    let (dir, store) = store().await;
    let (bytes, wrong) = (content(5, PIECE), content(6, PIECE));
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &wrong, 0);
    let refused = partial.finish();
    assert!(matches!(refused, Err(FinishError::Mismatch { got }) if got == oid_of(&wrong)));
    assert!(!path_of(&dir, &key_of(&bytes)).try_exists().unwrap());
    assert!(partial.outcome().is_none());
    partial.reset("wrong");
    assert_eq!((partial.era(), partial.holding().count()), (1, 0));
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_piece_that_rots_before_the_end_is_missing_rather_than_blamed_on_others() {
    let (dir, store) = store().await;
    let bytes = content(7, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &bytes, 0);
    write_piece(&partial, &bytes, 1);
    flip(&partial_path_of(&dir, &key_of(&bytes)), 5);
    assert!(matches!(partial.finish(), Err(FinishError::Incomplete { missing: 1 })));
    assert_eq!(partial.holding().iter().collect::<Vec<_>>(), vec![1]);
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_reset_keeps_the_bytes_of_a_voided_writer_out() {
    let (_dir, store) = store().await;
    let bytes = content(8, PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    let mut old = partial.begin(0, false).unwrap();
    old.write(&bytes[..10]).unwrap();
    partial.reset("revoked");
    let mut new = partial.begin(0, false).unwrap();
    new.write(&bytes).unwrap();
    assert!(matches!(old.write(b"stale"), Err(WriteError::Stale)));
    drop(old);
    new.finish(None).unwrap();
    fill(&partial, &bytes);
}

#[tokio::test]
async fn a_failed_one_is_resumed_by_the_next_caller() {
    let (_dir, store) = store().await;
    let bytes = content(9, 2 * PIECE);
    let (key, layout) = (key_of(&bytes), layout_of(&bytes));
    let first = store.partial(key, layout).await.unwrap();
    write_piece(&first, &bytes, 1);
    let mut late = first.begin(0, false).unwrap();
    first.fail("the origin is gone");
    assert!(matches!(first.outcome(), Some(Outcome::Failed(why)) if why == "the origin is gone"));
    assert!(matches!(late.write(b"x"), Err(WriteError::Stale)));
    assert!(matches!(first.read(PIECE as u64, 1).await, Err(ReadError::Gone { .. })));
    assert!(matches!(first.finish(), Err(FinishError::Failed(_))));
    let second = store.partial(key, layout).await.unwrap();
    assert!(second.outcome().is_none() && second.has(1));
    fill(&second, &bytes);
}

#[tokio::test]
async fn all_callers_of_a_key_share_one_partial() {
    let (_dir, store) = store().await;
    let bytes = content(10, 2 * PIECE);
    let (key, layout) = (key_of(&bytes), layout_of(&bytes));
    let (one, two) = tokio::join!(store.partial(key, layout), store.partial(key, Layout::unknown()));
    let (one, two) = (one.unwrap(), two.unwrap());
    write_piece(&one, &bytes, 0);
    assert!(two.has(0) && store.live_partial(&key).unwrap().has(0));
    let refused = store.partial(key, Layout::of_size(5)).await;
    assert!(matches!(refused, Err(StoreError::Size { held: 524_288, asked: 5 })));
    let stored = fill(&two, &bytes);
    let late = store.partial(key, layout).await.unwrap();
    assert!(matches!(late.outcome(), Some(Outcome::Finished(_))) && late.is_whole());
    assert_eq!(read_partial(&late).await.unwrap(), bytes);
    assert_eq!(stored.size(), 2 * PIECE as u64);
}

#[tokio::test]
async fn an_announced_size_that_was_wrong_gives_way_while_nothing_is_here() {
    let (_dir, store) = store().await;
    let bytes = content(11, PIECE);
    drop(store.partial(key_of(&bytes), Layout::of_size(5)).await.unwrap());
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    assert_eq!(partial.layout(), layout_of(&bytes));
    fill(&partial, &bytes);
}

#[tokio::test]
async fn an_object_of_unknown_length_is_fixed_at_its_end() {
    let (_dir, store) = store().await;
    let full = Layout::unknown().piece_bytes() as usize;
    let bytes = content(12, full + 1000);
    let partial = store.partial(key_of(&bytes), Layout::unknown()).await.unwrap();
    let mut writer = partial.begin(0, true).unwrap();
    writer.write(&bytes[..full]).unwrap();
    writer.finish(None).unwrap();
    let mut writer = partial.begin(1, true).unwrap();
    writer.write(&bytes[full..]).unwrap();
    assert!(matches!(partial.finish(), Err(FinishError::Incomplete { missing: 1 })));
    assert!(partial.fix_size(bytes.len() as u64) && !partial.fix_size(1));
    writer.finish(None).unwrap();
    assert!(matches!(partial.finish(), Ok(Outcome::Finished(stored)) if stored.size() == bytes.len() as u64));
    let expected = crate::ledger::Charge::of_object(bytes.len() as u64).bytes + 2 * 4096;
    assert_eq!(store.usage().bytes, expected, "what was reserved beyond the end is free again");
}

#[tokio::test]
async fn the_empty_object_is_finished_at_once() {
    let (_dir, store) = store().await;
    let stored = bring(&store, b"").await;
    assert_eq!((stored.size(), read_all(&stored).await.unwrap().len()), (0, 0));
}

#[tokio::test]
async fn a_url_is_kept_without_a_name_to_compare_with() {
    let (dir, store) = store().await;
    let bytes = content(13, 1000);
    let partial = store.partial(url_key(1), layout_of(&bytes)).await.unwrap();
    let media = Media { content_type: Some("text/plain".to_owned()), etag: Some("\"a\"".to_owned()) };
    partial.set_media(media.clone());
    partial.add_upstream("https://h/x");
    let stored = fill(&partial, &bytes);
    assert_eq!((stored.media(), stored.upstreams()), (media, vec!["https://h/x".to_owned()]));
    assert!(path_of(&dir, &url_key(1)).starts_with(dir.path().join("urls")));
}

#[tokio::test]
async fn a_partial_deleted_under_its_writers_is_still_kept() {
    let (dir, store) = store().await;
    let bytes = content(14, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    write_piece(&partial, &bytes, 0);
    std::fs::remove_dir_all(dir.path().join("partial")).unwrap();
    std::fs::remove_dir_all(dir.path().join("objects")).unwrap();
    let stored = fill(&partial, &bytes);
    assert_eq!(read_all(&stored).await.unwrap(), bytes);
    assert_eq!(std::fs::read(path_of(&dir, &key_of(&bytes))).unwrap(), bytes);
}

#[tokio::test]
async fn attested_digests_are_known_to_all_and_survive_in_the_object() {
    let (_dir, store) = store().await;
    let bytes = content(15, 2 * PIECE);
    let partial = store.partial(key_of(&bytes), layout_of(&bytes)).await.unwrap();
    let digests: Vec<PieceDigest> = bytes.chunks(PIECE).map(PieceDigest::of).collect();
    assert!(partial.attest(0, &digests[..1], Bytes::from_static(b"one"), 7, "seed-0"));
    assert!(partial.attest(1, &digests[1..], Bytes::from_static(b"two"), 7, "seed-0"));
    assert_eq!(partial.statements(1), vec![Bytes::from_static(b"two")]);
    assert_eq!(partial.reading(), Some((7, "seed-0".to_owned())));
    assert_eq!(partial.digest(1), Some(digests[1]));
    let stored = fill(&partial, &bytes);
    assert_eq!(stored.digests(), digests);
    assert_eq!(stored.attestation(), None);
    stored.set_attestation(Bytes::from_static(b"confirmed"));
    drop((partial, stored));
    let again = store.get(&key_of(&bytes)).await.unwrap();
    assert_eq!(again.attestation(), Some(Bytes::from_static(b"confirmed")));
}

#[tokio::test]
async fn a_memory_backed_one_streams_within_its_window() {
    let (dir, store) = store().await;
    let bytes = content(16, 8 * PIECE + 5);
    let partial = store.volatile(key_of(&bytes), layout_of(&bytes), 3 * PIECE as u64);
    assert!(partial.is_volatile());
    let joined = store.live_partial(&key_of(&bytes)).unwrap();
    let (mut read, mut piece) = (Vec::new(), 0);
    while read.len() < bytes.len() {
        while piece < 9 && partial.begin(piece, true).is_some() {
            write_piece(&partial, &bytes, piece);
            piece += 1;
        }
        assert!(joined.memory_bytes() <= 3 * PIECE);
        let more = joined.read(read.len() as u64, 1 << 20).await.unwrap();
        read.extend_from_slice(&more);
        assert!(partial.hash_more() || piece == 9);
        partial.forget_before(read.len() as u64);
    }
    assert_eq!(read, bytes);
    assert!(matches!(partial.finish(), Ok(Outcome::Confirmed)));
    assert!(matches!(joined.outcome(), Some(Outcome::Confirmed)));
    assert!(matches!(joined.read(0, 1).await, Err(ReadError::Forgotten { .. })));
    assert_eq!(on_disk(&dir).1, 0);
    drop((partial, joined));
    assert!(store.live_partial(&key_of(&bytes)).is_none());
}

#[tokio::test]
async fn who_comes_after_the_start_was_let_go_gets_one_of_his_own() {
    let (_dir, store) = store().await;
    let bytes = content(19, 4 * PIECE);
    let (key, layout) = (key_of(&bytes), layout_of(&bytes));
    let first = store.volatile(key, layout, 0);
    write_piece(&first, &bytes, 0);
    assert!(store.volatile(key, layout, 0).has(0), "still whole from the start: joined");
    first.hash_more();
    first.forget_before(PIECE as u64);
    let second = store.volatile(key, layout, 0);
    assert!(!second.has(0) && second.begin(0, true).is_some());
    first.fail("gone");
    assert!(store.live_partial(&key).is_some(), "the second is not meant");
}

#[tokio::test]
async fn a_memory_backed_one_is_not_confirmed_when_it_is_not_the_object() {
    let (_dir, store) = store().await;
    let bytes = content(17, PIECE);
    let partial = store.volatile(key_of(&bytes), layout_of(&bytes), 0);
    write_piece(&partial, &content(18, PIECE), 0);
    assert!(matches!(partial.finish(), Err(FinishError::Mismatch { .. })));
    partial.fail("corrupt");
    assert!(store.live_partial(&key_of(&bytes)).is_none());
}
