//! I6: the storage budget holds whatever is asked for, and an object that does not fit is streamed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use darner_e2e::wait;

const BUDGET: u64 = 16 * 1024 * 1024;

/// A cluster whose peers may keep `BUDGET` bytes each.
async fn scene(sizes: &[u64], home: &Path) -> Scene {
    let part = format!("  config:\n    storage:\n      budget: {BUDGET}\n      reserve: 1MiB\n");
    let values = home.join("values.yaml");
    std::fs::write(&values, format!("dfdaemon:\n{part}seedPeer:\n{part}")).unwrap();
    let mut plan = Plan::new(2, sizes);
    plan.options.more = vec!["--config".to_owned(), values.to_str().unwrap().to_owned()];
    Scene::set(plan).await.unwrap()
}

/// Bytes the files under a directory really take.
fn taken(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => taken(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn assert_within_budget(scene: &Scene) {
    for peer in scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons) {
        let kept: u64 = ["objects", "urls", "partial"].iter().map(|part| taken(&peer.data.join(part))).sum();
        // A block of rounding per file is the file system's, not ours.
        assert!(kept <= BUDGET + 64 * 4096, "{} keeps {kept} of {BUDGET} bytes", peer.data.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_more_objects_than_fit_are_served_within_the_budget() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene(&[5_000_000; 8], home.path()).await;
    let watch = async {
        // Looked at all the while, not only at the end.
        wait::until("the clones are done", || async {
            assert_within_budget(&scene);
            Ok(None::<()>)
        })
        .await
    };
    let clones =
        async { tokio::join!(scene.clone(Mode::B, Wire::Clear, 0), scene.clone(Mode::B, Wire::Clear, 1)) };
    tokio::select! {
        (one, two) = clones => {
            one.unwrap();
            two.unwrap();
        }
        watched = watch => watched.unwrap(),
    }
    assert_within_budget(&scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_disk_an_object_larger_than_the_budget_is_streamed() {
    let home = tempfile::tempdir().unwrap();
    let scene = scene(&[3 * BUDGET], home.path()).await;
    for daemon in [0, 1] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
        assert_within_budget(&scene);
    }
}
