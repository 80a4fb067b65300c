//! I2 and I10: nobody gets a byte without a proof of their own, and nobody pays for another's refusal.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::collections::BTreeMap;

use darner_e2e::http::{self, Ask};
use darner_e2e::lfs::{self, Action};
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::shelf::Access;
use darner_e2e::origin::switches::{BatchSwitch, Switch};
use darner_e2e::scene::{Mode, Plan, REPOSITORY, Scene, Wire};

const SIZES: [u64; 3] = [3_000, 300_000, 2_000_000];

/// A private repository whose objects are warm at daemon 0 and at the seed.
async fn warm(peers: usize) -> Scene {
    let users = BTreeMap::from([("ann".to_owned(), "pw".to_owned())]);
    let access = Access { private: true, users };
    let scene = Scene::set(Plan { access, ..Plan::new(peers, &SIZES) }).await.unwrap();
    for file in 0..SIZES.len() {
        let reply = scene.ticketed(0, file).await.unwrap().get(None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true));
    }
    scene
}

/// A reply that gives nothing of an object away: no success, and none of its bytes.
fn assert_nothing(reply: &http::Reply, what: &str) {
    assert!(!reply.status.is_success(), "{what}: {} with {} bytes", reply.status, reply.body.len());
    assert!(reply.body.len() < 2_000, "{what}: {} bytes", reply.body.len());
}

fn without_query(action: &Action) -> Action {
    let href = action.href.split('?').next().unwrap().to_owned();
    Action { href, headers: action.headers.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_knowing_a_path_is_no_proof() {
    let scene = warm(2).await;
    for daemon in [0, 1] {
        for file in 0..SIZES.len() {
            let good = scene.presigned(daemon, file).await.unwrap();
            let bare = without_query(&good);
            assert_nothing(&bare.get(None).await.unwrap(), "no signature");
            assert_nothing(&bare.get(Some("bytes=0-99")).await.unwrap(), "no signature, a range");
            let forged = Action { href: good.href.replace("Signature=", "Signature=00"), ..good.clone() };
            assert_nothing(&forged.get(None).await.unwrap(), "a forged signature");
            let longer = Action { href: good.href.replace("Expires=900", "Expires=90000"), ..good.clone() };
            assert_nothing(&longer.get(None).await.unwrap(), "a stretched expiry");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_an_expired_address_is_no_proof() {
    let scene = warm(1).await;
    let actions = [0, 1, 2].map(|file| scene.presigned(0, file));
    let actions = futures::future::join_all(actions).await;
    scene.origin.set_clock_ahead(10_000);
    for action in actions {
        assert_nothing(&action.unwrap().get(None).await.unwrap(), "an expired address");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_a_fresh_signed_address_is_proof_enough() {
    let scene = warm(2).await;
    scene.origin.counters.reset();
    for daemon in [0, 1] {
        let reply = scene.presigned(daemon, 2).await.unwrap().get(None).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true));
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.of(Kind::Content).requests, 0, "{counts:#?}");
    assert!((1..=2).contains(&counts.of(Kind::Probe).requests), "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_a_stranger_gets_no_ticket() {
    let scene = warm(1).await;
    let (_, oid, size) = scene.planted[1].clone();
    for authorization in [None, Some("Basic YW5uOm5v"), Some("Bearer x"), Some("Basic")] {
        let reply = lfs::batch(&scene.gateway(0).unwrap(), &[(oid, size)], authorization).await.unwrap();
        assert_eq!(reply.status, 401, "{authorization:?}");
        assert!(!reply.text().contains("href"), "{}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_a_ticket_opens_its_own_object_only() {
    let scene = warm(2).await;
    let (one, two) = (scene.ticketed(0, 1).await.unwrap(), scene.ticketed(0, 2).await.unwrap());
    let moved = Action { href: two.href.clone(), headers: one.headers.clone() };
    assert_nothing(&moved.get(None).await.unwrap(), "a ticket moved to another object");
    let none = Action { headers: Vec::new(), ..one.clone() };
    assert_nothing(&none.get(None).await.unwrap(), "no ticket");
    for place in [12, 30, 60] {
        let damaged = damaged(&one, place);
        assert_ne!(damaged, one);
        assert_nothing(&damaged.get(None).await.unwrap(), "a damaged ticket");
    }
    assert_eq!(one.get(None).await.unwrap().status, 200);
}

/// The action with one character of its longest header value changed, counted from the end.
fn damaged(action: &Action, from_end: usize) -> Action {
    let mut damaged = action.clone();
    let (_, value) = damaged.headers.iter_mut().max_by_key(|(_, value)| value.len()).unwrap();
    let at = value.len().saturating_sub(from_end);
    let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
    value.replace_range(at..=at, other);
    damaged
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_a_ticket_of_one_daemon_is_good_at_another() {
    let scene = warm(2).await;
    let ticket = scene.ticketed(0, 2).await.unwrap();
    let (old, new) = (scene.cluster.proxy(0).unwrap(), scene.cluster.proxy(1).unwrap());
    let elsewhere = Action { href: ticket.href.replace(old, new), ..ticket };
    let reply = elsewhere.get(None).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_the_piece_port_gives_nothing_without_a_grant() {
    let scene = warm(1).await;
    let oid = scene.oid(2).unwrap();
    let peers = scene.cluster.seed_peers.iter().chain(&scene.cluster.peer_daemons);
    for peer in peers {
        for target in [format!("/v1/objects/sha256:{oid}"), format!("/v1/objects/sha256:{oid}/watch")] {
            let bare = http::get(&peer.piece, &target).await.unwrap();
            assert_nothing(&bare, "no grant");
            let headers = vec![("authorization", "Darner-Grant 00"), ("darner-node", "eve")];
            let forged = Ask { target: &target, headers, ..Ask::default() };
            assert_nothing(&http::ask(&peer.piece, forged).await.unwrap(), "a forged grant");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_authorisation_no_secret_is_written_down() {
    let scene = warm(1).await;
    let action = scene.presigned(0, 2).await.unwrap();
    assert_eq!(action.get(None).await.unwrap().status, 200);
    let ticket = scene.ticketed(0, 2).await.unwrap();
    let signature = action.href.rsplit("Signature=").next().unwrap();
    let secret = ticket.headers.iter().map(|(_, value)| value).max_by_key(|value| value.len()).unwrap();
    let secret = secret.split(' ').next_back().unwrap();
    for process in scene.cluster.all() {
        let log = std::fs::read_to_string(&process.log).unwrap_or_default();
        for canary in [signature, secret, "YW5uOnB3", "ann:pw"] {
            assert!(!log.contains(canary), "{} holds {canary}", process.log.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_no_shared_errors_a_bad_address_fails_its_owner_only() {
    let scene = Scene::set(Plan::new(2, &SIZES)).await.unwrap();
    scene.origin.switches.set(None, Switch { delay_ms: Some(300), ..Switch::default() });
    for file in [1, 2] {
        let good = scene.presigned(1, file).await.unwrap();
        let other = scene.presigned(0, file).await.unwrap();
        let bad = Action { href: other.href.replace("Signature=", "Signature=00"), ..other };
        let (bad, good) = tokio::join!(bad.get(None), good.get(None));
        assert_nothing(&bad.unwrap(), "a forged signature");
        let good = good.unwrap();
        assert_eq!(
            (good.status.as_u16(), good.whole),
            (200, true),
            "the good caller was failed by the bad one"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_no_shared_errors_a_missing_object_does_not_fail_the_others() {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    scene.origin.shelf.create("org/other", Access::default()).unwrap();
    let (_, oid, size) = scene.planted[1].clone();
    let gateway = scene.gateway(0).unwrap().replace(REPOSITORY, "org/other");
    let reply = lfs::batch(&gateway, &[(oid, size)], None).await.unwrap().json().unwrap();
    assert_eq!(
        reply.pointer("/objects/0/error/code").and_then(serde_json::Value::as_u64),
        Some(404),
        "{reply}"
    );
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_no_shared_errors_a_busy_host_is_waited_for() {
    let scene = Scene::set(Plan::new(2, &SIZES)).await.unwrap();
    let busy = Switch { status: Some(429), retry_after: Some(1), times: Some(2), ..Switch::default() };
    scene.origin.switches.set(None, busy);
    let (one, two) = tokio::join!(scene.clone(Mode::B, Wire::Clear, 0), scene.clone(Mode::B, Wire::Clear, 1));
    one.unwrap();
    two.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_no_shared_errors_an_outage_at_batch_is_told_to_clients_as_429() {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    let down = BatchSwitch { status: Some(503), times: Some(2), ..BatchSwitch::default() };
    scene.origin.switches.set_batch(down);
    scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    scene.origin.switches.set_batch(BatchSwitch { status: Some(503), ..BatchSwitch::default() });
    let (_, oid, size) = scene.planted[0].clone();
    let reply = lfs::batch(&scene.gateway(0).unwrap(), &[(oid, size)], None).await.unwrap();
    assert_eq!(reply.status, 429, "a 5xx is fatal to git-lfs");
    assert!(reply.header("retry-after").is_some());
}
