//! What an opening refuses, and what it clears up.

use std::fs;

use crate::disk::places::Places;
use crate::testing::*;
use crate::{ReadError, Store, StoreConfig, StoreError};
use redb::TableDefinition;

#[tokio::test(start_paused = true)]
async fn a_second_store_of_one_directory_is_refused() {
    let (dir, _store) = store().await;
    let refused = Store::open(config(&dir)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("in use by another process"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let root = dir.path().join("file").join("data");
    let refused = Store::open(StoreConfig::at(&root)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unusable { .. }), "{refused}");
    assert!(refused.to_string().contains(root.to_str().unwrap()), "{refused}");
}

#[tokio::test]
async fn a_tree_that_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("objects"), b"").unwrap();
    let refused = Store::open(config(&dir)).await.unwrap_err();
    assert!(refused.to_string().contains("objects cannot be used"), "{refused}");
}

#[tokio::test]
async fn an_index_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (dir, store) = store().await;
    drop(store);
    let path = dir.path().join("index.redb");
    {
        let database = redb::Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
        write.open_table(meta).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
    }
    let refused = Store::open(config(&dir)).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerVersion { found: 2, known: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("newer version of darner"));
    assert!(path.try_exists().unwrap());
}

#[tokio::test]
async fn a_damaged_index_is_rebuilt_from_the_objects() {
    let (dir, store) = store().await;
    let bytes = content(1, 2 * PIECE);
    drop(bring(&store, &bytes).await);
    drop(store);
    for damage in [b"this is no database".to_vec(), vec![0; 5000]] {
        fs::write(dir.path().join("index.redb"), damage).unwrap();
        let store = Store::open(config(&dir)).await.unwrap();
        assert_eq!(read_all(&store.get(&key_of(&bytes)).await.unwrap()).await.unwrap(), bytes);
        assert!(dir.path().join("index.redb.damaged").try_exists().unwrap());
    }
}

#[tokio::test]
async fn an_index_with_flipped_bytes_never_makes_wrong_bytes_right() {
    let (dir, store) = store().await;
    let all: Vec<_> = (0..20).map(|n| content(n, 1000)).collect();
    for bytes in &all {
        drop(store.put(oid_of(bytes), bytes.clone(), None).await.unwrap());
    }
    drop(store);
    let index = dir.path().join("index.redb");
    let sound = fs::read(&index).unwrap();
    for at in (0..sound.len()).step_by(sound.len() / 25) {
        fs::write(&index, &sound).unwrap();
        flip(&index, at as u64);
        let store = match Store::open(config(&dir)).await {
            Ok(store) => store,
            Err(refused) => {
                assert!(
                    matches!(refused, StoreError::Index { .. } | StoreError::NewerVersion { .. }),
                    "{at}: {refused}"
                );
                continue;
            }
        };
        for bytes in &all {
            let stored = store.get(&key_of(bytes)).await.unwrap();
            match read_all(&stored).await {
                Ok(read) => assert_eq!(read, *bytes, "flipped at {at}"),
                // The flip hit the digest of this very object: it is fetched again, and then kept.
                Err(refused) => {
                    assert!(matches!(refused, ReadError::Damaged { piece: 0 }), "{at}: {refused}");
                    assert_eq!(read_all(&bring(&store, bytes).await).await.unwrap(), *bytes);
                }
            }
        }
    }
}

#[tokio::test]
async fn leftovers_are_cleared_up_and_foreign_files_left_alone() {
    let (dir, store) = store().await;
    let bytes = content(1, 1000);
    drop(bring(&store, &bytes).await);
    drop(store);
    let places = Places::new(dir.path());
    fs::write(places.scrap(7), b"scrap").unwrap();
    fs::write(places.partial(&url_key(1)), b"no journal").unwrap();
    fs::write(places.journal(&url_key(2)), b"no body").unwrap();
    fs::write(places.partial(&url_key(3)), b"a journal that makes no sense").unwrap();
    fs::write(places.journal(&url_key(3)), b"nonsense\n").unwrap();
    fs::write(dir.path().join("partial/notes.txt"), b"mine").unwrap();
    fs::write(dir.path().join("objects/notes.txt"), b"mine").unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert!(store.contains(&key_of(&bytes)));
    let left: Vec<_> =
        fs::read_dir(dir.path().join("partial")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, vec!["notes.txt"]);
    assert!(dir.path().join("objects/notes.txt").try_exists().unwrap());
}

#[tokio::test]
async fn the_order_of_use_survives_a_restart() {
    let (dir, store) = small_store(1 << 30).await;
    let (one, two) = (content(1, PIECE), content(2, PIECE));
    drop((bring(&store, &one).await, bring(&store, &two).await));
    drop(store);
    let room = 3 * (PIECE as u64 + 4 * 4096) - PIECE as u64 / 2;
    let store = Store::open(StoreConfig { budget_bytes: Some(room), ..config(&dir) }).await.unwrap();
    drop(bring(&store, &content(3, PIECE)).await);
    assert!(!store.contains(&key_of(&one)) && store.contains(&key_of(&two)));
}
