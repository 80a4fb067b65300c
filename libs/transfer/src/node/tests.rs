//! A node standing alone in this process.

use std::time::Duration;

use bytes::Bytes;
use darner_lfs::verify::RunningSha256;
use darner_lfs::{ObjectKey, Oid};
use darner_store::Change;

use super::*;

fn oid_of(content: &[u8]) -> Oid {
    let mut hash = RunningSha256::default();
    hash.update(content);
    hash.finish()
}

async fn node(data: &Path, tasks: &Tasks) -> Result<Node, StartError> {
    let ground = Ground {
        wire: Wire::clear(),
        kind: Kind::Seed,
        data: data.to_owned(),
        identity: v1::NodeIdentity { id: "seed-1".to_owned(), ..Default::default() },
        honoured: Verifier::new(),
        schedulers: Vec::new(),
        seed_peers: Vec::new(),
        storage: config::Storage { reserve: darner_chassis::config::ByteSize(0), ..Default::default() },
    };
    Node::stand(ground, tasks).await
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused_with_its_key() {
    let (data, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let _first = node(data.path(), &tasks).await.unwrap();
    let words = node(data.path(), &tasks).await.unwrap_err().to_string();
    assert!(words.contains("`data`"), "{words}");
    tasks.close().await;
}

#[test]
fn the_data_directory_is_made_and_what_is_in_the_way_is_named() {
    let above = tempfile::tempdir().unwrap();
    let at = |data: PathBuf| Kind::Daemon.data(&Shared { data, ..Shared::default() });
    let below = above.path().join("a/b");
    assert_eq!(at(below.clone()).unwrap(), below);
    assert!(below.is_dir());
    std::fs::write(above.path().join("file"), "").unwrap();
    let words = at(above.path().join("file/c")).unwrap_err().to_string();
    assert!(words.contains("`data`") && words.contains("file/c"), "{words}");
}

#[test]
fn a_file_of_public_keys_that_is_missing_is_named_with_its_key() {
    let words = honoured(Some(Path::new("/nonexistent/public"))).unwrap_err().to_string();
    assert!(words.contains("`keys.grantsPublic`") && words.contains("/nonexistent/public"), "{words}");
    assert!(honoured(None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_changed_is_found_though_nobody_asks_for_it() {
    let (data, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let content: Vec<u8> = b"0123456789".repeat(20_000);
    let oid = oid_of(&content);
    let key = ObjectKey::from(oid);
    let node = node(data.path(), &tasks).await.unwrap();
    drop(node.store.put(oid, Bytes::from(content.clone()), None).await.unwrap());
    let mut changes = node.store.changes();
    let mut flipped = content;
    flipped[1000] ^= 1;
    std::fs::write(data.path().join("objects").join(oid.path()), flipped).unwrap();
    let stats = Arc::new(v1::NodeStats::default);
    let feed = Feed::start(crate::feed::FeedConfig::default(), v1::Hello::default(), stats, &tasks);
    node.keep(feed, &tasks, || 0, |_purged| {});
    let found = async {
        while !matches!(changes.recv().await.unwrap(), Change::Removed(removed) if removed == key) {}
    };
    // Long before the second round would begin.
    tokio::time::timeout(Duration::from_hours(2), found).await.unwrap();
    assert!(node.store.get(&key).await.is_none());
    tasks.close().await;
}
