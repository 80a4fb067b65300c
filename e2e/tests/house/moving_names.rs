//! Names whose answers move: what was allowed at one address is judged anew at the next one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not what it set up"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use darner_e2e::apart;
use darner_e2e::http::{self, Ask, Reply};
use darner_e2e::lfs::Action;
use darner_e2e::names::Names;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::switches::Switch;
use darner_e2e::scene::{Plan, REPOSITORY, Scene};
use serde_json::{Value, json};

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Every address of this machine answers here: who dials it reaches the origin.
const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// Somewhere on the Internet where nobody serves (the sink of AS112).
const FAR: Ipv4Addr = Ipv4Addr::new(192, 31, 196, 1);

/// A cluster that asks our own name server, and lists `moving.test`.
struct Moving {
    scene: Scene,
    names: Names,
    _home: tempfile::TempDir,
}

impl Moving {
    async fn set(files: usize) -> Option<Self> {
        if !apart::possible().unwrap() {
            return None;
        }
        let names = names().await?;
        let home = tempfile::tempdir().unwrap();
        let (resolv, switch) = (home.path().join("resolv.conf"), home.path().join("nsswitch.conf"));
        std::fs::write(&resolv, format!("nameserver {}\noptions timeout:2 attempts:2\n", names.at.ip()))
            .unwrap();
        std::fs::write(&switch, "hosts: dns\n").unwrap();
        let sizes: Vec<u64> = (0..files).map(|file| 300_000 + u64::try_from(file).unwrap()).collect();
        let mut plan = Plan::new(1, &sizes);
        plan.options.apart = Some(format!(
            "mount --bind {} /etc/resolv.conf\n[ ! -e /etc/nsswitch.conf ] || mount --bind {} /etc/nsswitch.conf",
            resolv.display(),
            switch.display()
        ));
        plan.names = vec!["moving.test".to_owned()];
        let scene = Scene::set(plan).await.unwrap();
        // No connection outlives its answer: each request asks for the name again.
        scene.origin.switches.set(None, Switch { close: true, ..Switch::default() });
        Some(Self { scene, names, _home: home })
    }

    /// A fresh address of one object under the moving name, through the daemon.
    async fn action(&self, file: usize) -> Action {
        let (_, oid, size) = self.scene.planted[file].clone();
        let forge = self.scene.origin.at().forge;
        // The origin signs for the name it is asked by.
        let named = format!("moving.test:{}", forge.port());
        let headers = vec![("host", named.as_str()), ("content-type", "application/vnd.git-lfs+json")];
        let wanted =
            json!({ "operation": "download", "objects": [{ "oid": oid.to_string(), "size": size }] });
        let target = format!("/{REPOSITORY}.git/info/lfs/objects/batch");
        let ask = Ask { method: "POST", target: &target, headers, body: wanted.to_string().into_bytes() };
        let reply = http::ask(&forge.to_string(), ask).await.unwrap().json().unwrap();
        let href = reply.pointer("/objects/0/actions/download/href").and_then(Value::as_str).unwrap();
        assert!(href.starts_with("http://moving.test:"), "{href}");
        let action = Action { href: href.to_owned(), headers: Vec::new() };
        action.through(self.scene.cluster.proxy(0).unwrap())
    }

    async fn ask(&self, file: usize) -> Reply {
        self.action(file).await.get(None).await.unwrap()
    }

    fn read_at_the_origin(&self, file: usize) -> u64 {
        let oid = self.scene.oid(file).unwrap().to_string();
        let counts = self.scene.origin.counters.snapshot();
        [Kind::Content, Kind::Probe].iter().map(|kind| counts.object(&oid, *kind).requests).sum()
    }

    async fn assert_shut(&self, file: usize, what: &str) {
        let reply = self.ask(file).await;
        assert!(!reply.status.is_success(), "{what}: {} with {} bytes", reply.status, reply.body.len());
        assert_eq!(self.read_at_the_origin(file), 0, "{what}: it was dialled");
    }

    async fn assert_open(&self, file: usize) {
        let reply = self.ask(file).await;
        assert_eq!((reply.status.as_u16(), reply.whole), (200, true), "{}", reply.text());
    }
}

/// Port 53 of a loopback address of our own; nothing where that is not allowed.
async fn names() -> Option<Names> {
    let process = u8::try_from(std::process::id() % 250).unwrap();
    for host in 1..=20 {
        let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 78, process, host)), 53);
        if let Ok(names) = Names::serve(at).await {
            return Some(names);
        }
    }
    assert!(std::env::var_os("CI").is_none(), "port 53 of a loopback address is needed: run as root");
    eprintln!("SKIPPED: port 53 of a loopback address is needed: run as root");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_name_that_moves_to_a_forbidden_address_is_not_followed() {
    let Some(moving) = Moving::set(4).await else { return };
    moving.names.set("moving.test", HOME);
    moving.assert_open(0).await;
    for (file, address) in [(1, UNSPECIFIED), (2, Ipv4Addr::new(169, 254, 169, 254))] {
        moving.names.set("moving.test", address);
        moving.assert_shut(file, &address.to_string()).await;
    }
    moving.names.set("moving.test", HOME);
    moving.assert_open(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_name_that_moves_inside_is_not_followed() {
    let Some(moving) = Moving::set(2).await else { return };
    moving.names.set("moving.test", FAR);
    let reply = moving.ask(0).await;
    assert!(!reply.status.is_success(), "nobody serves there: {}", reply.status);
    moving.names.set("moving.test", HOME);
    moving.assert_shut(1, "a public name that moved to loopback").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_name_that_leads_inside_is_not_followed() {
    let Some(moving) = Moving::set(2).await else { return };
    moving.names.set("moving.test", HOME);
    moving.names.set("other.test", HOME);
    let https = moving.scene.origin.at().content_tls.port();
    let redirect = Some(format!("https://other.test:{https}"));
    moving.scene.origin.switches.set(None, Switch { redirect, close: true, ..Switch::default() });
    let reply = moving.ask(0).await;
    assert!(!reply.status.is_success(), "{}", reply.status);
    let given = moving.scene.origin.counters.snapshot().of(Kind::Content).bytes;
    assert_eq!(given, 0, "{given} bytes came from a name that leads inside");
}
