//! The processes of a local cluster and where each of them lives on disk.
//!
//! Owns: names and paths below the data directory. Never: creates any of them (see `home`).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::values::Values;

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Decides who takes what from whom.
    Scheduler,
    /// What the operator wants and sees.
    Manager,
    /// The door to the origin.
    SeedPeer,
    /// The door for git clients.
    PeerDaemon,
}

impl Part {
    /// Name of its executable.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Manager => "manager",
            Self::SeedPeer => "seed-peer",
            Self::PeerDaemon => "peer-daemon",
        }
    }

    /// Its section in a values file.
    pub fn section(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Manager => "manager",
            Self::SeedPeer => "seedPeer",
            Self::PeerDaemon => "dfdaemon",
        }
    }

    /// What the values file hands to it.
    pub fn own(self, values: &Values) -> &Map<String, Value> {
        match self {
            Self::Scheduler => &values.scheduler.config,
            Self::Manager => &values.manager.config,
            Self::SeedPeer => &values.seed_peer.config,
            Self::PeerDaemon => &values.dfdaemon.config,
        }
    }
}

/// One process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its kind.
    pub part: Part,
    /// Its number among its kind.
    pub index: u16,
}

impl Process {
    /// The name people and directories know it by.
    pub fn name(self) -> String {
        match self.part {
            // There is one manager, whatever the flags say.
            Part::Manager => "manager".to_owned(),
            part => format!("{}-{}", part.binary(), self.index),
        }
    }

    /// Where it lives below the cluster's data directory.
    pub fn place(self, cluster: &Path) -> Place {
        let home = cluster.join(self.name());
        Place {
            config: home.join("config.yaml"),
            data: home.join("data"),
            log: home.join("process.log"),
            ready: home.join("ready.json"),
            home,
        }
    }
}

/// The files of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory that holds the others.
    pub home: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// What it holds; this is the `<data>` of the contract.
    pub data: PathBuf,
    /// Its log lines.
    pub log: PathBuf,
    /// Written by the process once its addresses are known.
    pub ready: PathBuf,
}

/// The keys every process of the cluster shares, by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    home: PathBuf,
}

impl KeyRing {
    /// The key ring of a cluster.
    pub fn of(cluster: &Path) -> Self {
        Self { home: cluster.join("keys") }
    }

    /// The directory, 0700.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What daemons seal tickets with.
    pub fn tickets(&self) -> PathBuf {
        self.home.join("tickets")
    }

    /// What one seed signs grants and attestations with.
    pub fn grants(&self, seed: u16) -> PathBuf {
        self.home.join(format!("grants-seed-{seed}"))
    }

    /// What the authority of the cluster consists of: `ca.crt`, `ca.key`, `tokens`.
    pub fn authority(&self, file: &str) -> PathBuf {
        self.home.join("ca").join(file)
    }

    /// What lets the processes of a part join.
    pub fn join_token(&self, part: Part) -> PathBuf {
        self.home.join(format!("join-{}", part.binary()))
    }

    /// The certificate or key (`crt`, `key`) of a process that takes its own from files.
    pub fn pair(&self, process: Process, end: &str) -> PathBuf {
        self.home.join(format!("{}.{end}", process.name()))
    }

    /// The public halves of all seeds.
    pub fn grants_public(&self) -> PathBuf {
        self.home.join("grants-public")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_a_name_and_a_home_of_its_own() {
        let daemon = Process { part: Part::PeerDaemon, index: 3 };
        assert_eq!(daemon.name(), "peer-daemon-3");
        assert_eq!(daemon.place(Path::new("/c")).data, Path::new("/c/peer-daemon-3/data"));
        assert_eq!(Process { part: Part::Manager, index: 0 }.name(), "manager");
    }

    #[test]
    fn each_seed_signs_with_its_own_key() {
        let keys = KeyRing::of(Path::new("/c"));
        assert_ne!(keys.grants(0), keys.grants(1));
        assert_eq!(keys.home(), Path::new("/c/keys"));
    }
}
