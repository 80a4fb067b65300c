//! The last membership on disk, so that a daemon starts with a ring while no scheduler answers.
//!
//! Blocking; called at the start and off the async threads. After a crash the file is the old one or the new one,
//! never a mixture (written beside it, then renamed). A file that cannot be read counts as none.

use std::io::ErrorKind;
use std::path::Path;

use darner_proto::v1;
use prost::Message as _;

use super::Membership;

/// Reads what [`write`] left; nothing when there is nothing usable.
pub(super) fn read(path: &Path) -> Membership {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(%error, "last membership cannot be read");
            }
            return Membership::default();
        }
    };
    match v1::Membership::decode(bytes.as_slice()) {
        Ok(kept) => Membership { epoch: kept.epoch, seeds: kept.seeds, daemons: kept.daemons },
        Err(error) => {
            tracing::warn!(%error, "last membership is damaged");
            Membership::default()
        }
    }
}

/// Replaces the file.
pub(super) fn write(path: &Path, membership: &Membership) -> std::io::Result<()> {
    let kept = v1::Membership {
        epoch: membership.epoch,
        seeds: membership.seeds.clone(),
        daemons: membership.daemons.clone(),
    };
    let beside = path.with_extension("new");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&beside, kept.encode_to_vec())?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/membership");
        let seed = v1::NodeIdentity { id: "seed-1".to_owned(), ..Default::default() };
        let kept = Membership { epoch: 42, seeds: vec![seed], daemons: vec![] };
        write(&path, &kept).unwrap();
        assert_eq!(read(&path), kept);
    }

    #[test]
    fn a_damaged_or_absent_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("membership");
        assert_eq!(read(&path), Membership::default());
        std::fs::write(&path, [0xff; 40]).unwrap();
        assert_eq!(read(&path), Membership::default());
    }
}
