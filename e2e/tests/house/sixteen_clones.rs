//! Sixteen people clone one repository through four daemons, all at once, in each mode over TLS: the origin is asked
//! for each object once, by a seed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use darner_e2e::cluster::Metrics;
use darner_e2e::origin::counts::Kind;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use futures::future::try_join_all;

const SIZES: [u64; 5] = [300, 40_000, 900_000, 4_000_000, 9_000_000];

async fn sixteen(mode: Mode, seeds: usize) {
    let mut plan = Plan::new(4, &SIZES);
    plan.options.seeds = seeds;
    let scene = Scene::set(plan).await.unwrap();
    try_join_all((0..16).map(|person| scene.clone(mode, Wire::Tls, person % 4))).await.unwrap();

    let counts = scene.origin.counters.snapshot();
    println!("16 clones, 4 daemons, mode {mode:?}, {seeds} seeds, TLS: {:?}", counts.kinds);
    for (path, oid, size) in &scene.planted {
        let read = counts.object(&oid.to_string(), Kind::Content);
        assert_eq!((read.requests, read.bytes), (1, *size), "{path}: {counts:#?}");
    }
    assert_eq!(counts.asker("seed-peer", Kind::Content), counts.of(Kind::Content), "{:#?}", counts.askers);
    assert_eq!(counts.of(Kind::Batch).requests, 16, "one Batch per clone");
    assert_eq!(counts.of(Kind::Refused).requests, 0, "{counts:#?}");
    let probes = counts.of(Kind::Probe);
    match mode {
        Mode::B => assert_eq!(probes.requests, 0, "the Batch is the proof: {counts:#?}"),
        Mode::A | Mode::C => {
            assert!(probes.requests <= 15 * 5, "one per other caller and object: {counts:#?}");
        }
    }
    assert!(probes.bytes <= probes.requests * 4096);
    own_count_agrees(&scene).await;
    scene.cluster.stop().await.unwrap();
}

/// What the cluster says it asked is what the origin was asked.
async fn own_count_agrees(scene: &Scene) {
    let (mut content, mut bytes, mut daemons) = (0, 0, 0);
    for seed in &scene.cluster.seed_peers {
        let metrics = Metrics::of(&seed.admin).await.unwrap();
        let labels = [("kind", "content"), ("role", "seed")];
        content += metrics.sum("darner_origin_requests_total", &labels);
        bytes += metrics.sum("darner_origin_bytes_total", &labels);
    }
    for daemon in &scene.cluster.peer_daemons {
        let metrics = Metrics::of(&daemon.admin).await.unwrap();
        daemons += metrics.sum("darner_origin_requests_total", &[("kind", "content")]);
    }
    let counted = scene.origin.counters.snapshot().of(Kind::Content);
    assert_eq!((content, bytes, daemons), (counted.requests, counted.bytes, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_one_origin_read_for_sixteen_clones_in_mode_a() {
    sixteen(Mode::A, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_one_origin_read_for_sixteen_clones_in_mode_b() {
    sixteen(Mode::B, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_one_origin_read_for_sixteen_clones_in_mode_c() {
    sixteen(Mode::C, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_one_origin_read_with_three_seeds() {
    sixteen(Mode::B, 3).await;
}
