//! What `darner up` tells once everything is ready.
//!
//! Owns: the one JSON line of `--json` (a fixed contract) and the words for people. Never: starts or asks anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::child::Child;
use super::plan::Plan;
use super::process::Part;
use crate::cli::show;

/// The whole cluster, in the contract's exact shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The manager.
    pub manager: Manager,
    /// The schedulers.
    pub schedulers: Vec<Scheduler>,
    /// The seed peers.
    pub seed_peers: Vec<SeedPeer>,
    /// The peer daemons, by index.
    pub peer_daemons: Vec<PeerDaemon>,
    /// Who may log in.
    pub admin: Admin,
}

/// Where the manager is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// Address of the console and the REST API.
    pub url: String,
    /// `host:port` of its gRPC service.
    pub grpc: String,
    /// Its process.
    pub pid: u32,
    /// `host:port` of its admin port.
    pub admin: String,
    /// Its log.
    pub log: PathBuf,
    /// What it holds.
    pub data: PathBuf,
}

/// Where a scheduler is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `host:port` of its gRPC service.
    pub grpc: String,
    /// Its process.
    pub pid: u32,
    /// `host:port` of its admin port.
    pub admin: String,
    /// Its log.
    pub log: PathBuf,
}

/// Where a seed peer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPeer {
    /// `host:port` of the piece link.
    pub piece: String,
    /// Its process.
    pub pid: u32,
    /// `host:port` of its admin port.
    pub admin: String,
    /// Its log.
    pub log: PathBuf,
    /// What it holds.
    pub data: PathBuf,
    /// Address of its own LFS server, when it is one.
    pub lfs: Option<String>,
}

/// Where a daemon is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerDaemon {
    /// `host:port` for git.
    pub proxy: String,
    /// `host:port` of the piece link.
    pub piece: String,
    /// Its process.
    pub pid: u32,
    /// `host:port` of its admin port.
    pub admin: String,
    /// Its log.
    pub log: PathBuf,
    /// What it holds.
    pub data: PathBuf,
    /// Its zone; empty when nobody said one.
    pub zone: String,
}

/// Who may log in to the manager.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// The account.
    pub user: String,
    /// File with its first password, 0600.
    pub password_file: PathBuf,
}

/// Gathers what the processes said.
pub fn cluster(plan: &Plan, children: &[Child]) -> Cluster {
    let mut cluster = Cluster::default();
    for child in children {
        let ready = child.ready.clone();
        let (log, data) = (child.place.log.clone(), child.place.data.clone());
        let (pid, admin) = (ready.pid, ready.admin.unwrap_or_default());
        let (grpc, piece) = (ready.grpc.unwrap_or_default(), ready.piece.unwrap_or_default());
        match child.process.part {
            Part::Scheduler => cluster.schedulers.push(Scheduler { grpc, pid, admin, log }),
            Part::SeedPeer => {
                cluster.seed_peers.push(SeedPeer { piece, pid, admin, log, data, lfs: None });
            }
            Part::PeerDaemon => {
                let zone = plan.zones.get(&child.process.index).cloned().unwrap_or_default();
                let proxy = ready.proxy.unwrap_or_default();
                cluster.peer_daemons.push(PeerDaemon { proxy, piece, pid, admin, log, data, zone });
            }
            Part::Manager => {
                cluster.admin =
                    Admin { user: "admin".to_owned(), password_file: data.join("admin-password") };
                let url = ready.url.unwrap_or_default();
                cluster.manager = Manager { url, grpc, pid, admin, log, data };
            }
        }
    }
    cluster
}

/// The words for a person: what runs, how git reaches it, where the console is.
pub fn words(cluster: &Cluster, data: &Path, lines: &str) -> String {
    let mut words = format!(
        "\nThe cluster is up: {} scheduler(s), {} seed peer(s), {} peer daemon(s), one manager.\n",
        cluster.schedulers.len(),
        cluster.seed_peers.len(),
        cluster.peer_daemons.len()
    );
    show::add(&mut words, format_args!("  manager   {}\n", cluster.manager.url));
    show::add(
        &mut words,
        format_args!(
            "            user {}, password in {}\n",
            cluster.admin.user,
            cluster.admin.password_file.display()
        ),
    );
    for daemon in &cluster.peer_daemons {
        show::add(&mut words, format_args!("  git       http://{}\n", daemon.proxy));
    }
    show::add(&mut words, format_args!("  data      {}\n\n", data.display()));
    words.push_str(lines);
    words.push_str("\nCtrl-C ends it.");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Cluster {
        Cluster {
            manager: Manager { url: "http://127.0.0.1:1".into(), ..Manager::default() },
            schedulers: vec![Scheduler::default()],
            seed_peers: vec![SeedPeer::default()],
            peer_daemons: vec![PeerDaemon { proxy: "127.0.0.1:65001".into(), ..PeerDaemon::default() }],
            admin: Admin { user: "admin".into(), password_file: "/c/manager/data/admin-password".into() },
        }
    }

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    fn sorted<const N: usize>(mut keys: [&str; N]) -> Vec<&str> {
        keys.sort_unstable();
        keys.to_vec()
    }

    #[test]
    fn the_json_line_has_exactly_the_keys_of_the_contract() {
        let line = serde_json::to_string(&example()).expect("data");
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(keys(&value), sorted(["manager", "schedulers", "seedPeers", "peerDaemons", "admin"]));
        assert_eq!(keys(&value["manager"]), sorted(["url", "grpc", "pid", "admin", "log", "data"]));
        assert_eq!(keys(&value["schedulers"][0]), sorted(["grpc", "pid", "admin", "log"]));
        assert_eq!(keys(&value["seedPeers"][0]), sorted(["piece", "pid", "admin", "log", "data", "lfs"]));
        let daemon = ["proxy", "piece", "pid", "admin", "log", "data", "zone"];
        assert_eq!(keys(&value["peerDaemons"][0]), sorted(daemon));
        assert_eq!(keys(&value["admin"]), sorted(["user", "passwordFile"]));
    }

    #[test]
    fn the_words_name_the_console_the_password_file_and_every_git_address() {
        let words = words(&example(), Path::new("/c"), "git config --global a b\n");
        for wanted in
            ["http://127.0.0.1:1", "admin-password", "http://127.0.0.1:65001", "git config --global a b"]
        {
            assert!(words.contains(wanted), "{wanted} in {words}");
        }
    }
}
