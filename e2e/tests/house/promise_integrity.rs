//! I1 and I5: what is complete is right, and what is on its way does not wait to be complete.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use darner_e2e::cluster::Process;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use darner_e2e::wait;
use darner_lfs::Oid;
use sha2::{Digest as _, Sha256};

const SIZE: u64 = 3_000_000;

async fn scene(peers: usize) -> Scene {
    Scene::set(Plan::new(peers, &[SIZE])).await.unwrap()
}

fn finished(process: &Process, oid: Oid) -> PathBuf {
    let name = oid.to_string();
    process.data.join("objects").join(&name[..2]).join(&name[2..4]).join(&name)
}

/// Turns one byte of a file over, in place.
fn flip(path: &PathBuf, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0xFF], at).unwrap();
}

async fn a_lie_reaches_nobody(corrupt_at: u64) -> Scene {
    let scene = scene(2).await;
    let oid = scene.oid(0).unwrap();
    scene.origin.switches.set(None, Switch { corrupt_at: Some(corrupt_at), ..Switch::default() });
    for daemon in [0, 1] {
        let reply = scene.ticketed(daemon, 0).await.unwrap().get(None).await.unwrap();
        let got = u64::try_from(reply.body.len()).unwrap();
        assert!(!reply.whole || reply.status != 200, "a wrong object came to its end");
        assert!(got < SIZE, "{got} bytes of {SIZE}: the end is held back until the whole is confirmed");
    }
    let client = scene.client(Mode::B, Wire::Clear, 0).await.unwrap();
    client.config("lfs.transfer.maxretries", "1").await.unwrap();
    assert!(!client.clone(&scene.url(Mode::B, Wire::Clear), "clone").await.unwrap().ok);
    let peers = scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons);
    for peer in peers {
        assert!(!Scene::holds(peer, oid), "{} keeps a wrong object", peer.data.display());
    }
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_integrity_a_lie_in_the_first_byte_reaches_nobody() {
    a_lie_reaches_nobody(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_integrity_a_lie_in_the_last_byte_reaches_nobody_and_heals() {
    let scene = a_lie_reaches_nobody(SIZE - 1).await;
    scene.origin.switches.clear();
    // An address that lied is left alone for a minute.
    let heals = || async {
        let reply = scene.ticketed(0, 0).await?.get(None).await?;
        Ok((reply.whole && reply.status == 200).then_some(()))
    };
    wait::within(Duration::from_secs(90), "the object can be had again", heals).await.unwrap();
    for daemon in [0, 1] {
        scene.clone(Mode::B, Wire::Clear, daemon).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_integrity_a_byte_flipped_on_disk_is_served_to_nobody() {
    let scene = scene(2).await;
    let oid = scene.oid(0).unwrap();
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    flip(&finished(&scene.cluster.peer_daemons[0], oid), 1_000_000);
    // The very daemon, and one that would take it from there.
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    scene.clone(Mode::B, Wire::Clear, 1).await.unwrap();
    let content = std::fs::read(finished(&scene.cluster.peer_daemons[1], oid)).unwrap();
    assert_eq!(Oid::from_bytes(Sha256::digest(content).into()), oid);
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_integrity_a_byte_flipped_at_the_seed_is_served_to_nobody() {
    let scene = scene(2).await;
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    flip(&finished(&scene.cluster.seed_peers[0], scene.oid(0).unwrap()), 2_000_000);
    scene.clone(Mode::B, Wire::Clear, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_integrity_a_resumed_client_ends_with_the_right_bytes() {
    let scene = scene(1).await;
    let action = scene.ticketed(0, 0).await.unwrap();
    let head = action.get(Some("bytes=0-999999")).await.unwrap();
    let tail = action.get(Some("bytes=1000000-2999999")).await.unwrap();
    assert_eq!((head.status.as_u16(), tail.status.as_u16()), (206, 206));
    assert_eq!(tail.header("content-range"), Some("bytes 1000000-2999999/3000000"));
    let whole = [head.body, tail.body].concat();
    assert_eq!(Oid::from_bytes(Sha256::digest(whole).into()), scene.oid(0).unwrap());
}

/// Opens the object through one daemon and says how much the origin had given when the first bytes came.
async fn given_at_first_byte(scene: &Scene, daemon: usize) -> u64 {
    let mut open = scene.ticketed(daemon, 0).await.unwrap().open(None).await.unwrap();
    assert_eq!(open.head.status, 200);
    open.next().await.unwrap().unwrap();
    let given = scene.origin.counters.snapshot().of(Kind::Content).bytes;
    let rest = open.rest().await;
    assert!(rest.whole);
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_never_slower_bytes_pass_through_seed_and_daemon_as_they_arrive() {
    let scene = scene(1).await;
    scene.origin.switches.set(None, Switch { bytes_per_second: Some(1_500_000), ..Switch::default() });
    let given = given_at_first_byte(&scene, 0).await;
    assert!(given < SIZE / 2, "the origin had given {given} of {SIZE} bytes before the first came through");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_never_slower_a_second_daemon_streams_while_the_first_still_receives() {
    let scene = scene(3).await;
    scene.origin.switches.set(None, Switch { bytes_per_second: Some(1_000_000), ..Switch::default() });
    let all = futures::future::join_all((0..3).map(|daemon| given_at_first_byte(&scene, daemon))).await;
    assert!(all.iter().all(|given| *given < SIZE * 2 / 3), "{all:?} of {SIZE}");
    let counts = scene.origin.counters.snapshot();
    assert_eq!((counts.of(Kind::Content).requests, counts.of(Kind::Content).bytes), (1, SIZE), "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_never_slower_a_status_of_the_origin_stays_a_status() {
    let scene = scene(1).await;
    for status in [404, 410, 403] {
        scene.origin.switches.set(None, Switch { status: Some(status), ..Switch::default() });
        let reply = scene.presigned(0, 0).await.unwrap().get(None).await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    }
}
