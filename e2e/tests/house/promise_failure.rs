//! I4, I7, I8 and I9: what is lost when something is lost, and what is not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use darner_e2e::cluster::{Cluster, Metrics, signal};
use darner_e2e::http::Reply;
use darner_e2e::liar::Liar;
use darner_e2e::origin::counts::{Counts, Kind};
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use darner_e2e::wait;
use darner_lfs::Oid;
use futures::future::{join_all, try_join_all};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

const SIZE: u64 = 8_000_000;
/// Pieces of an object of this size are 256 KiB; a reader has few of them unfinished.
const UNFINISHED: u64 = 4 * 256 * 1024;

async fn scene(peers: usize, seeds: usize) -> Scene {
    let mut plan = Plan::new(peers, &[SIZE]);
    plan.options.seeds = seeds;
    Scene::set(plan).await.unwrap()
}

fn slow(bytes_per_second: u64) -> Switch {
    Switch { bytes_per_second: Some(bytes_per_second), ..Switch::default() }
}

async fn read(scene: &Scene, daemon: usize) -> Reply {
    scene.ticketed(daemon, 0).await.unwrap().get(None).await.unwrap()
}

fn assert_whole(reply: &Reply, oid: Oid) {
    assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{} bytes", reply.body.len());
    assert_eq!(Oid::from_bytes(Sha256::digest(&reply.body).into()), oid);
}

/// Waits until the origin has given so many content bytes.
async fn given(scene: &Scene, bytes: u64) -> Counts {
    let look = || async {
        let counts = scene.origin.counters.snapshot();
        Ok((counts.of(Kind::Content).bytes >= bytes).then_some(counts))
    };
    wait::until("the origin has given enough", look).await.unwrap()
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_liveness_a_read_cut_by_the_origin_is_resumed_where_it_broke() {
    let scene = scene(1, 1).await;
    let cut = Switch { cut_at: Some(3_000_000), times: Some(1), ..Switch::default() };
    scene.origin.switches.set(None, cut);
    assert_whole(&read(&scene, 0).await, scene.oid(0).unwrap());
    let content = scene.origin.counters.snapshot().of(Kind::Content);
    assert_eq!(content.requests, 2);
    assert!(content.bytes <= SIZE + UNFINISHED, "{} bytes for an object of {SIZE}", content.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_liveness_an_origin_without_ranges_or_length_is_read_all_the_same() {
    let scene = scene(2, 1).await;
    for switch in [
        Switch { no_range: true, ..Switch::default() },
        Switch { chunked: true, no_range: true, no_etag: true, ..Switch::default() },
        Switch { redirect: Some(String::new()), ..Switch::default() },
        Switch { weak_etag: true, close: true, ..Switch::default() },
    ] {
        scene.origin.switches.set(None, switch);
        for daemon in [0, 1] {
            let reply = scene.presigned(daemon, 0).await.unwrap().get(None).await.unwrap();
            assert_whole(&reply, scene.oid(0).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_liveness_a_seed_that_dies_while_it_reads_is_taken_over_from() {
    let scene = scene(2, 2).await;
    scene.origin.switches.set(None, slow(2_000_000));
    let reading = async {
        let counts = given(&scene, SIZE / 3).await;
        let reader = counts.askers.iter().find(|(_, kinds)| kinds.contains_key(&Kind::Content)).unwrap();
        let (name, pid) = reader.0.split_once('/').unwrap();
        assert_eq!(name, "seed-peer");
        kill(pid.parse().unwrap());
    };
    let (zero, one, ()) = tokio::join!(read(&scene, 0), read(&scene, 1), reading);
    assert_whole(&zero, scene.oid(0).unwrap());
    assert_whole(&one, scene.oid(0).unwrap());
    let content = scene.origin.counters.snapshot().of(Kind::Content);
    // What was under way when the seed died is lost, and nothing else.
    assert!(content.bytes <= SIZE + SIZE / 4, "{} bytes for an object of {SIZE}", content.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_liveness_with_every_seed_gone_one_daemon_reads_for_all() {
    let scene = scene(4, 1).await;
    for seed in &scene.cluster.seed_peers {
        kill(seed.pid);
    }
    let clones = (0..4).map(|daemon| scene.clone(Mode::A, Wire::Clear, daemon));
    try_join_all(clones).await.unwrap();
    let counts = scene.origin.counters.snapshot();
    assert!(counts.of(Kind::Content).requests <= 2, "a storm: {counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_liveness_a_dead_address_is_replaced_by_another_callers() {
    let scene = scene(2, 1).await;
    let dying = Switch { cut_at: Some(SIZE / 2), times: Some(1), ..slow(4_000_000) };
    scene.origin.switches.set(None, dying);
    let old = scene.presigned(0, 0).await.unwrap();
    let late = async {
        given(&scene, SIZE / 4).await;
        // Everything signed so far is over; what is signed from now on is good.
        scene.origin.set_clock_ahead(10_000);
        scene.presigned(1, 0).await.unwrap().get(None).await.unwrap()
    };
    let (first, second) = tokio::join!(old.get(None), late);
    assert_whole(&second, scene.oid(0).unwrap());
    assert_whole(&first.unwrap(), scene.oid(0).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_crash_a_killed_cluster_starts_again_with_what_it_held() {
    let home = tempfile::tempdir().unwrap();
    let mut plan = Plan::new(2, &[1000, SIZE]);
    plan.options.data = Some(home.path().join("cluster"));
    let mut scene = Scene::set(plan).await.unwrap();
    for daemon in [0, 1] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
    }
    scene.restart().await.unwrap();
    scene.origin.counters.reset();
    for daemon in [0, 1] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.of(Kind::Content).requests, 0, "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_crash_a_partial_is_resumed_and_costs_unfinished_pieces_only() {
    let home = tempfile::tempdir().unwrap();
    let mut plan = Plan::new(1, &[SIZE]);
    plan.options.data = Some(home.path().join("cluster"));
    let mut scene = Scene::set(plan).await.unwrap();
    scene.origin.switches.set(None, slow(2_000_000));
    let mut broken = scene.ticketed(0, 0).await.unwrap().open(None).await.unwrap();
    broken.next().await.unwrap();
    given(&scene, SIZE / 2).await;
    scene.restart().await.unwrap();
    scene.origin.switches.clear();
    assert_whole(&read(&scene, 0).await, scene.oid(0).unwrap());
    let content = scene.origin.counters.snapshot().of(Kind::Content);
    assert!(content.bytes <= SIZE + UNFINISHED, "{} bytes for an object of {SIZE}", content.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_control_plane_without_manager_and_scheduler_downloads_begin_and_end() {
    let scene = scene(3, 1).await;
    scene.origin.switches.set(None, slow(4_000_000));
    let killing = async {
        given(&scene, SIZE / 4).await;
        kill(scene.cluster.manager.pid);
        kill(scene.cluster.schedulers[0].pid);
    };
    let (running, ()) = tokio::join!(read(&scene, 0), killing);
    assert_whole(&running, scene.oid(0).unwrap());
    let fresh = join_all([1, 2].map(|daemon| scene.clone(Mode::B, Wire::Clear, daemon))).await;
    assert!(fresh.iter().all(Result::is_ok), "{fresh:?}");
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Content).requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_control_plane_a_cold_object_is_read_once_without_it() {
    let scene = scene(4, 1).await;
    kill(scene.cluster.manager.pid);
    kill(scene.cluster.schedulers[0].pid);
    let clones = (0..4).map(|daemon| scene.clone(Mode::B, Wire::Clear, daemon));
    try_join_all(clones).await.unwrap();
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Content).requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_bad_peers_a_liar_costs_a_bounded_number_of_pieces() {
    let scene = scene(3, 1).await;
    let oid = scene.oid(0).unwrap();
    let liar = Liar::join(&scene.cluster.schedulers[0].grpc, oid, SIZE).await.unwrap();
    scene.origin.switches.set(None, slow(4_000_000));
    let replies = join_all((0..3).map(|daemon| read(&scene, daemon))).await;
    for reply in &replies {
        assert_whole(reply, oid);
    }
    let mut rejected = 0;
    for daemon in &scene.cluster.peer_daemons {
        rejected += Metrics::of(&daemon.admin).await.unwrap().sum("darner_piece_rejected_total", &[]);
    }
    assert!(liar.given() > 0, "nobody asked the liar: the test shows nothing");
    assert!(rejected > 0, "{} wrong bytes were given and none rejected", liar.given());
    assert!(liar.given() <= 3 * UNFINISHED, "{} wrong bytes were taken", liar.given());
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Content).requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_bad_peers_a_frozen_holder_does_not_hold_up_the_others() {
    let scene = scene(3, 1).await;
    assert_whole(&read(&scene, 0).await, scene.oid(0).unwrap());
    let frozen = scene.cluster.peer_daemons[0].pid;
    signal(frozen, Signal::STOP).unwrap();
    let others = tokio::join!(read(&scene, 1), read(&scene, 2));
    signal(frozen, Signal::CONT).unwrap();
    assert_whole(&others.0, scene.oid(0).unwrap());
    assert_whole(&others.1, scene.oid(0).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_bad_peers_a_seed_frozen_while_it_reads_is_taken_over_from() {
    let scene = scene(1, 2).await;
    scene.origin.switches.set(None, slow(2_000_000));
    let freezing = async {
        let counts = given(&scene, SIZE / 3).await;
        let reader = counts.askers.iter().find(|(_, kinds)| kinds.contains_key(&Kind::Content)).unwrap();
        let pid: i32 = reader.0.split_once('/').unwrap().1.parse().unwrap();
        signal(pid, Signal::STOP).unwrap();
    };
    let (reply, ()) = tokio::join!(read(&scene, 0), freezing);
    assert_whole(&reply, scene.oid(0).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_ends_at_sigterm_and_leaves_no_process() {
    let scene = scene(2, 1).await;
    assert_whole(&read(&scene, 0).await, scene.oid(0).unwrap());
    scene.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_ends_while_a_download_runs() {
    let Scene { origin, cluster, planted, .. } = scene(1, 1).await;
    origin.switches.set(None, slow(500_000));
    let gateway = format!("http://{}/http/{}/org/repo.git", cluster.proxy(0).unwrap(), origin.at().forge);
    let (_, oid, size) = planted[0].clone();
    let action = darner_e2e::lfs::actions(&gateway, &[(oid, size)], None).await.unwrap().remove(0);
    let mut open = action.open(None).await.unwrap();
    open.next().await.unwrap();
    Cluster::stop(cluster).await.unwrap();
}
