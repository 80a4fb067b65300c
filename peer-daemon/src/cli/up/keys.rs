//! The keys of a local cluster, made once.
//!
//! Owns: `<data>/keys`: the ticket key of the daemons, a signing key per seed, and the list of their public halves.
//! Never: replaces a key that is there; tickets and grants outlive a restart. After a crash between two files the next
//! start makes what is missing; each file is written whole or not at all.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use darner_chassis::clock::{Random, System};
use darner_chassis::seal::Sealer;
use darner_chassis::sign::Signer;

use super::process::KeyRing;
use super::write;
use crate::cli::failure::{Failure, io};

/// Makes the keys that are not there yet.
pub fn provide(ring: &KeyRing, seeds: u16) -> Result<(), Failure> {
    private_directory(ring.home())?;
    let tickets = ring.tickets();
    match Sealer::generate_file(&tickets) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io("write", &tickets, &error)),
    }
    let mut public = String::new();
    // One at least: an empty list is no list, and a daemon needs one to check anything with.
    for seed in 0..seeds.max(1) {
        public.push_str(&signer(&ring.grants(seed), seed)?.public_line());
    }
    write(&ring.grants_public(), &public)
}

/// Makes a directory that only its owner can enter, or makes an existing one so.
pub fn private_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| io("make", path, &error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| io("protect", path, &error))
}

fn signer(path: &Path, seed: u16) -> Result<Signer, Failure> {
    let there = path.try_exists().map_err(|error| io("look at", path, &error))?;
    if there {
        return Signer::from_file(path).map_err(|error| Failure::negative(error.to_string()));
    }
    let mut salt = [0; 4];
    System.fill(&mut salt);
    let signer = Signer::generate(format!("seed-{seed}-{}", hex::encode(salt)))
        .map_err(|error| Failure::negative(error.to_string()))?;
    signer.save(path).map_err(|error| io("write", path, &error))?;
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::sign::Verifier;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 2).expect("keys");
        assert_eq!(mode(ring.home()), 0o700);
        for file in [ring.tickets(), ring.grants(0), ring.grants(1), ring.grants_public()] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }

    #[test]
    fn a_second_start_keeps_every_key_and_adds_what_a_new_seed_needs() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 1).expect("keys");
        let before =
            (std::fs::read(ring.tickets()).expect("file"), std::fs::read(ring.grants(0)).expect("file"));
        provide(&ring, 2).expect("keys");
        let after =
            (std::fs::read(ring.tickets()).expect("file"), std::fs::read(ring.grants(0)).expect("file"));
        assert_eq!(before, after);
        assert_eq!(std::fs::read_to_string(ring.grants_public()).expect("file").lines().count(), 2);
    }

    #[test]
    fn what_a_seed_signs_the_public_list_verifies() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 2).expect("keys");
        let verifier = Verifier::from_file(&ring.grants_public()).expect("list");
        for seed in 0..2 {
            let signer = Signer::from_file(&ring.grants(seed)).expect("key");
            assert!(verifier.verify(signer.kid(), b"words", &signer.sign(b"words")), "seed {seed}");
        }
    }

    #[test]
    fn a_cluster_without_seeds_still_has_a_public_list() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 0).expect("keys");
        assert_eq!(std::fs::read_to_string(ring.grants_public()).expect("file").lines().count(), 1);
    }

    #[test]
    fn a_damaged_key_is_told_and_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::of(directory.path());
        provide(&ring, 1).expect("keys");
        std::fs::write(ring.grants(0), "nonsense\n").expect("write");
        assert!(provide(&ring, 1).is_err());
        assert_eq!(std::fs::read_to_string(ring.grants(0)).expect("file"), "nonsense\n");
    }
}
