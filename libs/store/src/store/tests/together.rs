//! Many callers at once: no deadlock, no wrong byte, nothing left reserved.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::testing::*;
use crate::{Outcome, Store, StoreError};

/// Does what a caller does to an object: reads it, or fetches it and reads it, or damages it.
async fn visit(store: Store, dir: Arc<tempfile::TempDir>, n: u64, done: Arc<AtomicUsize>) {
    let bytes = content(n % 9, 2 * PIECE);
    let key = key_of(&bytes);
    if n.is_multiple_of(17) {
        let path = path_of(&dir, &key);
        if path.try_exists().unwrap() {
            // It may be evicted meanwhile; then there is nothing to damage.
            drop(std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(PIECE as u64)));
        }
    }
    if n.is_multiple_of(23) {
        store.purge(&key).await;
    }
    if let Some(stored) = store.get(&key).await
        && let Ok(read) = read_all(&stored).await
    {
        assert_eq!(read, bytes);
        done.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let partial = match store.partial(key, layout_of(&bytes)).await {
        Ok(partial) => partial,
        Err(StoreError::Full { .. }) => return,
        Err(error) => unreachable!("{error}"),
    };
    for piece in 0..2 {
        if let Some(mut writer) = partial.begin(piece, false) {
            let written = writer.write(&piece_of(&bytes, &partial.layout(), piece));
            if !n.is_multiple_of(13) && written.is_ok() {
                drop(writer.finish(None));
            }
        }
    }
    if n.is_multiple_of(19) {
        partial.fail("given up");
    }
    let finishing = partial.clone();
    let finished = tokio::task::spawn_blocking(move || finishing.finish()).await.unwrap();
    if let Ok(Outcome::Finished(stored)) = finished
        && let Ok(read) = read_all(&stored).await
    {
        assert_eq!(read, bytes);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_neither_block_one_another_nor_leave_anything_behind() {
    let (dir, store) = small_store(6 * (2 * PIECE as u64 + 4 * 4096)).await;
    let (dir, done) = (Arc::new(dir), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for n in 0..600 {
        if callers.len() >= 16 {
            callers.join_next().await.unwrap().unwrap();
        }
        callers.spawn(visit(store.clone(), Arc::clone(&dir), n * 7, Arc::clone(&done)));
    }
    while let Some(visited) = callers.join_next().await {
        visited.unwrap();
    }
    assert!(done.load(Ordering::Relaxed) > 100);
    let usage = store.usage();
    assert!(usage.bytes <= usage.budget_bytes && on_disk(&dir).0 <= usage.budget_bytes);
    for n in 0..9 {
        store.purge(&key_of(&content(n, 2 * PIECE))).await;
    }
    assert_eq!((store.usage().bytes, store.usage().inodes, store.usage().objects), (0, 0, 0));
    assert_eq!(on_disk(&dir), (0, 0));
}

#[tokio::test]
async fn objects_that_come_together_are_all_kept_and_a_wrong_one_among_them_is_not() {
    let (_dir, store) = store().await;
    let contents: Vec<_> = (0..200).map(|n| content(n, 100 + usize::try_from(n).unwrap())).collect();
    let wrong = oid_of(b"another");
    let mut puts = JoinSet::new();
    for bytes in contents.clone() {
        let store = store.clone();
        puts.spawn(async move { store.put(oid_of(&bytes), bytes.clone(), Some("https://h/r")).await });
    }
    let refused = store.put(wrong, content(7, 10), None).await;
    assert!(matches!(refused, Err(StoreError::Mismatch { .. })));
    assert!(puts.join_all().await.into_iter().all(|kept| kept.is_ok()));
    for bytes in &contents {
        let stored = store.get(&key_of(bytes)).await.unwrap();
        assert_eq!(read_all(&stored).await.unwrap(), *bytes);
        assert!(store.has_upstream(&stored.key(), "https://h/r"));
    }
    assert_eq!(store.usage().objects, 200);
}

#[tokio::test]
async fn an_object_whose_caller_went_is_kept_none_the_less_and_others_after_it() {
    let (_dir, store) = store().await;
    let (left, stays) = (content(1, 10), content(2, 10));
    tokio::select! {
        biased;
        put = store.put(oid_of(&left), left.clone(), None) => drop(put.unwrap()),
        () = std::future::ready(()) => {}
    }
    store.put(oid_of(&stays), stays.clone(), None).await.unwrap();
    assert!(store.contains(&key_of(&left)) && store.contains(&key_of(&stays)));
}
