//! Nodes in one process over the real piece link: a stand-in seed that attests and feeds an object at will, daemons
//! that download it, and links that lie, freeze or break.

mod stage;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use darner_lfs::Layout;
use darner_store::Outcome;

use crate::download::{Download, OpenError};
use crate::link::{Ask, Links as _};
use crate::tail::{Reader, Tail, TailError};
use stage::{Fault, Stage, content};

const PATIENCE: Duration = Duration::from_secs(20);

async fn finished(download: &Download) {
    let outcome = download.outcome().await;
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
}

async fn read_all(mut tail: Tail) -> Result<Vec<u8>, TailError> {
    let mut all = Vec::new();
    while let Some(bytes) = tail.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_comes_from_the_seed_and_is_kept_once_it_is_hashed() {
    stage::log();
    let stage = Stage::new(3_000_000).await;
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    let outcome = download.outcome().await;
    let Outcome::Finished(stored) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stored.size(), 3_000_000);
    assert_eq!(node.kept().await, stage.content);
    assert!(stored.attestation().is_some(), "its digests can be handed on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_reach_the_reader_while_the_origin_is_still_being_read() {
    let stage = Stage::new(3_000_000).await;
    stage.seed.feed_to(1_000_000);
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    let mut tail = Tail::growing(download.partial().clone(), Reader::Git, 0, None, PATIENCE);
    let mut got = Vec::new();
    while got.len() < 700_000 {
        got.extend_from_slice(&tail.next().await.unwrap().unwrap());
    }
    stage.seed.feed_all();
    got.extend(read_all(tail).await.unwrap());
    assert_eq!(got, stage.content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_byte_is_not_answered_before_the_object_is_confirmed() {
    let stage = Stage::new(700_000).await;
    stage.seed.lie_in_the_last_piece();
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    let tail = Tail::growing(download.partial().clone(), Reader::Git, 0, None, PATIENCE);
    assert!(read_all(tail).await.is_err(), "a wrong object is never answered to its end");
    assert!(!node.has().await, "and is never kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_take_from_each_other_and_the_seed_gives_about_one_copy() {
    let stage = Stage::new(8 << 20).await;
    let names = ["a", "b", "c"];
    let [a, b, c] = names.map(|name| stage.patient_daemon(name));
    let (a, b, c) = (a.await, b.await, c.await);
    for node in [&a, &b, &c] {
        stage.seed.introduce(&node.identity);
    }
    let downloads = [a.open().await.unwrap(), b.open().await.unwrap(), c.open().await.unwrap()];
    // Who was asked for the object before it had begun it is introduced again, as a living seed does.
    let follow_each_other = async {
        for node in [&a, &b, &c] {
            let others = names.map(|name| if name == node.identity.id { "seed" } else { name });
            while !node.links.watches(&others) {
                node.open().await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, follow_each_other).await.expect("all follow one another");
    stage.seed.feed_slowly().await;
    let mut from_seed = 0;
    for download in &downloads {
        finished(download).await;
        from_seed += download.taken().seed_and_peer().0;
    }
    for node in [&a, &b, &c] {
        assert_eq!(node.kept().await, stage.content);
    }
    assert!(from_seed < 2 * (8 << 20), "the seed gave {from_seed} bytes for three copies of {}", 8 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_sends_a_wrong_byte_is_set_aside_after_one_piece() {
    let stage = Stage::new(4 << 20).await;
    stage.seed.feed_all();
    let good = stage.daemon("good").await;
    good.open().await.unwrap().outcome().await;
    let liar = stage.daemon("liar").await;
    liar.open().await.unwrap().outcome().await;
    stage.seed.introduce(&liar.identity);
    stage.seed.introduce(&good.identity);
    let victim = stage.daemon("victim").await;
    victim.links.set("liar", Fault::FlipByte);
    let download = victim.open().await.unwrap();
    finished(&download).await;
    assert_eq!(victim.kept().await, stage.content);
    let lanes = u64::from(crate::plan::Limits::default().lanes);
    assert!(victim.metrics.rejected_so_far("digest") <= lanes);
    assert!(victim.links.asked("liar") <= lanes, "a bounded number of pieces is asked of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_parent_costs_one_stall() {
    let stage = Stage::new(4 << 20).await;
    stage.seed.feed_all();
    let frozen = stage.daemon("frozen").await;
    frozen.open().await.unwrap().outcome().await;
    stage.seed.introduce(&frozen.identity);
    let node = stage.daemon("a").await;
    node.links.set("frozen", Fault::Freeze);
    let download = node.open().await.unwrap();
    finished(&download).await;
    assert_eq!(node.kept().await, stage.content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_unknown_length_is_fixed_at_its_end() {
    let stage = Stage::with_layout(9_000_000, Layout::unknown()).await;
    let node = stage.daemon("a").await;
    stage.seed.feed_to(5_000_000);
    let download = node.open().await.unwrap();
    assert_eq!(download.partial().layout().size(), None);
    let tail = Tail::growing(download.partial().clone(), Reader::Git, 0, None, PATIENCE);
    let (seed, reading) = (Arc::clone(&stage.seed), read_all(tail));
    let feeding = tokio::task::spawn_blocking(move || seed.feed_all());
    assert_eq!(reading.await.unwrap(), stage.content);
    feeding.await.unwrap();
    finished(&download).await;
    assert_eq!(node.kept().await, stage.content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_object_is_checked_by_its_own_digest() {
    let stage = Stage::new(1000).await;
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    assert!(matches!(node.open().await.unwrap().outcome().await, Outcome::Finished(_)));
    let victim = stage.daemon("victim").await;
    victim.links.set("seed", Fault::FlipByte);
    assert!(matches!(victim.open().await.unwrap().outcome().await, Outcome::Failed(_)));
    assert!(!victim.has().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_nobody_waits_for_ends_and_keeps_its_pieces() {
    let stage = Stage::new(3_000_000).await;
    stage.seed.feed_to(1_000_000);
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    let partial = download.partial().clone();
    let mut changes = partial.subscribe();
    while partial.holding().count() < 3 {
        changes.changed().await.unwrap();
    }
    drop(download);
    while partial.outcome().is_none() {
        changes.changed().await.unwrap();
    }
    assert!(node.downloads.join(&stage.key).is_none());
    stage.seed.feed_all();
    let again = node.open().await.unwrap();
    finished(&again).await;
    let (seed, _) = again.taken().seed_and_peer();
    assert!(seed <= 3_000_000 - 3 * 262_144, "what was checked is not fetched again: {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_caller_joins_the_running_download() {
    let stage = Stage::new(3_000_000).await;
    stage.seed.feed_to(500_000);
    let node = stage.daemon("a").await;
    let first = node.open().await.unwrap();
    let second = node.open().await.unwrap();
    stage.seed.feed_all();
    assert!(matches!(first.outcome().await, Outcome::Finished(_)));
    assert!(matches!(second.outcome().await, Outcome::Finished(_)));
    let (seed, _) = first.taken().seed_and_peer();
    assert_eq!(seed, 3_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_a_peer_gives_nothing() {
    let stage = Stage::new(1000).await;
    stage.seed.feed_all();
    let url = format!("http://{}/v1/objects/{}", stage.seed.identity.piece_address, stage.key);
    for (path, expected) in
        [(url.clone(), "403"), (format!("{url}/watch"), "403"), (format!("{url}x"), "400")]
    {
        assert_eq!(stage::status(&path).await, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefetch_brings_small_objects_in_bundles() {
    let stage = Stage::new(1000).await;
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    let _prefetch = node.downloads.prefetch(vec![stage.wanted()]);
    node.downloads.expected(&stage.key).await;
    while !node.has().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.kept().await, content(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_tasks_leaves_none_behind() {
    let stage = Stage::new(3_000_000).await;
    stage.seed.feed_to(100);
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    node.tasks.close().await;
    assert_eq!(node.tasks.count(), 0);
    assert_eq!(stage.seed.fed.load(Ordering::Relaxed), 100);
    drop(download);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_given_for_one_read_opens_no_copy_of_another() {
    let stage = Stage::new(1_000_000).await;
    stage.seed.feed_to(600_000);
    let node = stage.daemon("a").await;
    for _ in 0..2 {
        for (reading, opens) in [(0, true), (1, true), (2, false)] {
            let grant = Arc::new(stage.seed.grant(&node.identity, reading));
            let ask = Ask { key: stage.key, range: 0..1000, grant: Arc::clone(&grant) };
            let peer = node.links.peer(&stage.seed.identity);
            assert_eq!(peer.fetch(ask).await.is_ok(), opens, "range, read {reading}");
            assert_eq!(peer.watch(stage.key, grant).await.is_ok(), opens, "watch, read {reading}");
        }
        // The same once it is finished.
        stage.seed.feed_all();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_counts_as_a_source_only_once_the_object_is_confirmed() {
    let stage = Stage::new(1_000_000).await;
    stage.seed.feed_to(600_000);
    let node = stage.daemon("a").await;
    let download = node.open().await.unwrap();
    assert!(download.partial().upstreams().is_empty(), "its forge may serve anything");
    stage.seed.feed_all();
    finished(&download).await;
    assert!(node.comes_from("https://origin/repo").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_comes_after_the_end_reads_what_is_here() {
    let stage = Stage::new(1_500_000).await;
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    finished(&node.open().await.unwrap()).await;
    // The answer was on its way while the object ended here.
    stage.seed.answer_behind(1);
    let late = node.open().await.unwrap();
    let tail = Tail::growing(late.partial().clone(), Reader::Git, 0, None, Duration::from_secs(3));
    assert_eq!(read_all(tail).await.unwrap(), stage.content);
    assert_eq!(node.kept().await, stage.content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_of_another_read_than_the_finished_one_opens_nothing() {
    let stage = Stage::new(1_500_000).await;
    stage.seed.feed_all();
    let node = stage.daemon("a").await;
    finished(&node.open().await.unwrap()).await;
    stage.seed.answer_behind(2);
    let refused = node.open().await;
    assert!(matches!(&refused, Err(OpenError::Refused(words)) if words.status == 429), "{refused:?}");
    assert_eq!(node.kept().await, stage.content, "what is here is not touched");
}
