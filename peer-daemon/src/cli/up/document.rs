//! The configuration file of each process, made from the plan.
//!
//! Owns: which key gets which value. Never: writes a file or knows a secret: keys are named by their path. What the
//! values file hands to a service lies underneath; what `up` must decide itself (addresses, paths) lies on top.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::plan::Plan;
use super::process::{KeyRing, Part, Place, Process};

/// Any free port of this machine, for this machine only.
const LOOPBACK: &str = "127.0.0.1:0";

/// Addresses of what runs already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// gRPC addresses of the schedulers.
    pub schedulers: Vec<String>,
    /// gRPC address of the manager.
    pub manager: Option<String>,
    /// gRPC addresses of the seed peers.
    pub seeds: Vec<String>,
}

/// Where a daemon listens besides its ports of any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// `host:port` for git.
    pub git: String,
    /// Unix socket for the command line.
    pub socket: PathBuf,
}

/// Everything a document is made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where the process lives.
    pub place: &'a Place,
    /// The cluster's keys.
    pub keys: &'a KeyRing,
    /// What runs already.
    pub reached: &'a Reached,
}

/// The configuration of one process; `doors` is only looked at for a daemon.
pub fn document(process: Process, source: &Source<'_>, doors: Option<&Doors>) -> Value {
    let mut document = Value::Object(process.part.own(&source.plan.values).clone());
    lay_over(&mut document, shared(process, source));
    if source.plan.mtls {
        lay_over(&mut document, certificates(process, source.keys));
    }
    match process.part {
        Part::Scheduler => lay_over(&mut document, json!({ "grpc": { "listen": LOOPBACK } })),
        Part::Manager => lay_over(&mut document, manager(source)),
        Part::SeedPeer => {
            lay_over(&mut document, reading(source));
            lay_over(
                &mut document,
                json!({ "keys": { "grants": text(&source.keys.grants(process.index)) } }),
            );
        }
        Part::PeerDaemon => {
            lay_over(&mut document, reading(source));
            if let Some(doors) = doors {
                lay_over(&mut document, daemon(source, doors));
            }
        }
    }
    document
}

/// What all processes are told.
fn shared(process: Process, source: &Source<'_>) -> Value {
    let place = source.place;
    let mut shared = json!({
        "admin": { "listen": LOOPBACK },
        "data": text(&place.data),
        "readyFile": text(&place.ready),
        "log": { "file": text(&place.log) },
        "host": { "name": process.name(), "advertise": "127.0.0.1" },
    });
    if let Some(tenant) = &source.plan.tenant {
        lay_over(&mut shared, json!({ "host": { "tenant": tenant } }));
    }
    if let (Part::PeerDaemon, Some(zone)) = (process.part, source.plan.zones.get(&process.index)) {
        lay_over(&mut shared, json!({ "host": { "zone": zone } }));
    }
    if let Some(otlp) = &source.plan.otlp {
        lay_over(&mut shared, json!({ "telemetry": { "otlp": otlp } }));
    }
    shared
}

/// How a process comes by its certificate: the manager issues, the schedulers (which start before it) have files, the
/// others join.
fn certificates(process: Process, keys: &KeyRing) -> Value {
    let roots = text(&keys.authority("ca.crt"));
    match process.part {
        Part::Manager => json!({ "ca": {
            "cert": roots,
            "key": text(&keys.authority("ca.key")),
            "tokens": text(&keys.authority("tokens")),
        } }),
        Part::Scheduler => json!({ "tls": {
            "caCert": roots,
            "cert": text(&keys.pair(process, "crt")),
            "key": text(&keys.pair(process, "key")),
        } }),
        Part::SeedPeer | Part::PeerDaemon => {
            json!({ "tls": { "caCert": roots, "joinToken": text(&keys.join_token(process.part)) } })
        }
    }
}

fn manager(source: &Source<'_>) -> Value {
    let mut manager = json!({
        "http": { "listen": LOOPBACK },
        "grpc": { "listen": LOOPBACK },
        "schedulers": source.reached.schedulers,
    });
    if let Some(database) = &source.plan.database {
        lay_over(&mut manager, json!({ "database": database }));
    }
    manager
}

/// What seeds and daemons have in common: both may read an upstream and serve pieces.
fn reading(source: &Source<'_>) -> Value {
    let mut reading = json!({
        "grpc": { "listen": LOOPBACK },
        "piece": { "listen": LOOPBACK },
        "schedulers": source.reached.schedulers,
        "upstreams": source.plan.upstreams,
        "resolve": source.plan.resolve,
        "keys": { "grantsPublic": text(&source.keys.grants_public()) },
    });
    if let Some(manager) = &source.reached.manager {
        lay_over(&mut reading, json!({ "manager": manager }));
    }
    if let Some(authority) = &source.plan.upstream_ca {
        lay_over(&mut reading, json!({ "upstreamCa": text(authority) }));
    }
    reading
}

fn daemon(source: &Source<'_>, doors: &Doors) -> Value {
    json!({
        "git": { "listen": doors.git },
        "grpc": { "socket": text(&doors.socket) },
        "seedPeers": source.reached.seeds,
        "keys": { "tickets": text(&source.keys.tickets()) },
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Lays one document over another: maps are merged, everything else is replaced.
pub fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(under.entry(key).or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::UpArgs;
    use super::super::{plan, values};
    use super::*;

    fn made(part: Part, index: u16, file: &str, args: &UpArgs) -> Value {
        let plan = plan::make(args, values::parse(file).expect("file")).expect("plan");
        let process = Process { part, index };
        let place = process.place(Path::new("/c"));
        let keys = KeyRing::of(Path::new("/c"));
        let reached = Reached {
            schedulers: vec!["127.0.0.1:1".into()],
            manager: Some("127.0.0.1:2".into()),
            seeds: vec!["127.0.0.1:3".into()],
        };
        let doors = Doors { git: "127.0.0.1:65001".into(), socket: "/c/peer-daemon-0/daemon.sock".into() };
        document(
            process,
            &Source { plan: &plan, place: &place, keys: &keys, reached: &reached },
            Some(&doors),
        )
    }

    #[test]
    fn a_daemon_knows_its_doors_its_keys_and_everybody_before_it() {
        let args = UpArgs {
            allow_upstream: vec!["forge.example".into()],
            resolve: vec!["forge.example:443:127.0.0.1".into()],
            upstream_ca: Some("/ca.pem".into()),
            zone_of: vec!["1=east".into()],
            otlp: Some("http://127.0.0.1:4317".into()),
            ..UpArgs::default()
        };
        let daemon = made(Part::PeerDaemon, 1, "tenant: blue\n", &args);
        let expected = json!({
            "admin": { "listen": "127.0.0.1:0" },
            "data": "/c/peer-daemon-1/data",
            "readyFile": "/c/peer-daemon-1/ready.json",
            "log": { "file": "/c/peer-daemon-1/process.log" },
            "host": { "name": "peer-daemon-1", "advertise": "127.0.0.1", "tenant": "blue", "zone": "east" },
            "telemetry": { "otlp": "http://127.0.0.1:4317" },
            "git": { "listen": "127.0.0.1:65001" },
            "grpc": { "listen": "127.0.0.1:0", "socket": "/c/peer-daemon-0/daemon.sock" },
            "piece": { "listen": "127.0.0.1:0" },
            "schedulers": ["127.0.0.1:1"],
            "seedPeers": ["127.0.0.1:3"],
            "manager": "127.0.0.1:2",
            "upstreams": ["forge.example"],
            "resolve": ["forge.example:443:127.0.0.1"],
            "upstreamCa": "/ca.pem",
            "keys": { "grantsPublic": "/c/keys/grants-public", "tickets": "/c/keys/tickets" },
        });
        assert_eq!(daemon, expected);
    }

    #[test]
    fn a_seed_signs_with_its_own_key_and_never_sees_the_ticket_key() {
        let seed = made(Part::SeedPeer, 1, "", &UpArgs::default());
        assert_eq!(seed["keys"]["grants"], "/c/keys/grants-seed-1");
        assert_eq!(seed["keys"].get("tickets"), None);
        assert_eq!(seed.get("git"), None);
        assert_eq!(seed.get("seedPeers"), None);
    }

    #[test]
    fn only_the_manager_is_told_where_the_authority_lies() {
        let of = |part| made(part, 0, "mtls: {enabled: true}", &UpArgs::default());
        assert_eq!(of(Part::Manager)["ca"]["key"], "/c/keys/ca/ca.key");
        assert_eq!(of(Part::Scheduler)["tls"]["cert"], "/c/keys/scheduler-0.crt");
        for part in [Part::SeedPeer, Part::PeerDaemon] {
            let document = of(part);
            assert_eq!(document["tls"]["joinToken"], format!("/c/keys/join-{}", part.binary()));
            assert_eq!(document.get("ca"), None);
        }
        assert_eq!(made(Part::SeedPeer, 0, "", &UpArgs::default()).get("tls"), None);
    }

    #[test]
    fn a_scheduler_and_a_manager_are_told_no_upstream_and_no_key() {
        for part in [Part::Scheduler, Part::Manager] {
            let args = UpArgs { allow_upstream: vec!["forge.example".into()], ..UpArgs::default() };
            let document = made(part, 0, "", &args);
            for key in ["keys", "upstreams", "piece", "git"] {
                assert_eq!(document.get(key), None, "{part:?} {key}");
            }
        }
    }

    #[test]
    fn the_manager_takes_the_database_of_the_flag() {
        let args = UpArgs { database: Some("sqlite:///x.db".into()), ..UpArgs::default() };
        assert_eq!(made(Part::Manager, 0, "", &args)["database"], "sqlite:///x.db");
        assert_eq!(made(Part::Manager, 0, "", &UpArgs::default()).get("database"), None);
    }

    #[test]
    fn the_services_own_words_pass_through_below_what_up_decides() {
        let file = "dfdaemon: {config: {verbose: true, log: {level: debug}, git: {listen: '0.0.0.0:1'}, proxy: {defaultFilter: a&b}}}";
        let daemon = made(Part::PeerDaemon, 0, file, &UpArgs::default());
        assert_eq!(daemon["verbose"], true);
        assert_eq!(daemon["log"], json!({ "level": "debug", "file": "/c/peer-daemon-0/process.log" }));
        assert_eq!(daemon["git"]["listen"], "127.0.0.1:65001");
        assert_eq!(daemon["proxy"]["defaultFilter"], "a&b");
    }

    #[test]
    fn a_document_survives_being_written_as_yaml() {
        let daemon = made(Part::PeerDaemon, 0, "tenant: 'yes'\n", &UpArgs::default());
        let yaml = serde_saphyr::to_string(&daemon).expect("it is data");
        let back: Value = serde_saphyr::from_str(&yaml).expect("it was YAML");
        assert_eq!(back, daemon);
    }
}
