//! A node standing alone in this process.

use super::*;

async fn node(data: &Path, tasks: &Tasks) -> Result<Node, StartError> {
    let ground = Ground {
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
