//! The certificate authority of a local cluster.
//!
//! Owns: `<data>/keys/ca` (made once, kept), a join token per part, and the schedulers' certificates, made anew at every
//! start. Never: a certificate of a seed or a daemon: those join at the manager, as in a cluster of pods. After a crash
//! between two files the next start makes what is missing.

use std::path::Path;
use std::time::Duration;

use darner_chassis::authority::{Authority, AuthorityError, found};
use darner_chassis::clock::{Clock, Random, System};
use darner_chassis::identity::Role;

use super::keys::private_directory;
use super::process::{KeyRing, Part, Process};
use super::write;
use crate::cli::failure::{Failure, io};

/// Whose word counts on this machine.
const TRUST_DOMAIN: &str = "darner.local";
/// The schedulers' certificates outlive any start of a local cluster.
const LASTS: Duration = Duration::from_hours(365 * 24);

/// Makes what is not there yet.
pub fn provide(ring: &KeyRing, schedulers: u16) -> Result<(), Failure> {
    let (certificate, key) = (ring.authority("ca.crt"), ring.authority("ca.key"));
    private_directory(&ring.home().join("ca"))?;
    if !there(&certificate)? {
        let founded = found(TRUST_DOMAIN, System.now_ms()).map_err(|error| failed(&error))?;
        // The certificate last: it says that both are there.
        write(&key, &founded.key)?;
        write(&certificate, &founded.certificate)?;
    }
    if !there(&ring.authority("tokens"))? {
        let mut lines = String::new();
        for part in [Part::SeedPeer, Part::PeerDaemon] {
            let mut token = [0; 32];
            System.fill(&mut token);
            let token = hex::encode(token);
            write(&ring.join_token(part), &token)?;
            lines.push_str(&[part.binary(), " * ", &token, "\n"].concat());
        }
        write(&ring.authority("tokens"), &lines)?;
    }
    let authority = Authority::of(&read(&certificate)?, &read(&key)?).map_err(|error| failed(&error))?;
    for index in 0..schedulers {
        let process = Process { part: Part::Scheduler, index };
        let named = (Role::Scheduler, process.name());
        let pair = authority.issue((named.0, &named.1), System.now_ms(), LASTS);
        let pair = pair.map_err(|error| failed(&error))?;
        write(&ring.pair(process, "key"), &pair.key)?;
        write(&ring.pair(process, "crt"), &pair.issued.chain)?;
    }
    Ok(())
}

fn there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| io("look at", path, &error))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| io("read", path, &error))
}

fn failed(error: &AuthorityError) -> Failure {
    Failure::negative(format!("certificates of the cluster: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_each_scheduler_has_its_certificate() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 2).expect("keys");
        let all = |names: [&str; 3]| names.map(|name| read(&ring.authority(name)).expect("file"));
        let before = all(["ca.crt", "ca.key", "tokens"]);
        provide(&ring, 2).expect("keys");
        assert_eq!(all(["ca.crt", "ca.key", "tokens"]), before);
        let second = Process { part: Part::Scheduler, index: 1 };
        let name = darner_chassis::tls::name_in(&ring.pair(second, "crt"));
        assert_eq!(name.as_deref(), Some("scheduler-1"));
    }

    #[test]
    fn the_tokens_the_manager_reads_are_those_the_parts_show() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 0).expect("keys");
        let tokens = read(&ring.authority("tokens")).expect("file");
        for part in [Part::SeedPeer, Part::PeerDaemon] {
            let token = read(&ring.join_token(part)).expect("file");
            assert!(tokens.contains(&format!("{} * {token}\n", part.binary())));
        }
    }
}
