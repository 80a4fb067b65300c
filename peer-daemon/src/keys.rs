//! The key a daemon signs with while it acts as a seed: it lasts as long as the data directory.

use std::path::Path;

use darner_chassis::sign::Signer;
use darner_transfer::node::StartError;
use darner_transfer::trust::NODE_KEY_PREFIX;

/// The signing key of the daemon `id` that lives in `data`; made there at its first start, and anew for another id.
pub(crate) fn own(data: &Path, id: &str) -> Result<Signer, StartError> {
    let (path, kid) = (data.join("node-key"), format!("{NODE_KEY_PREFIX}{id}"));
    match Signer::from_file(&path) {
        Ok(signer) if signer.kid() == kid => Ok(signer),
        _ => {
            let signer = Signer::generate(kid).map_err(|error| StartError::OwnKey(error.to_string()))?;
            signer.save(&path).map_err(|source| StartError::data(&path, source))?;
            Ok(signer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lasts_over_restarts_and_belongs_to_one_id() {
        let data = tempfile::tempdir().unwrap();
        let key = |id: &str| own(data.path(), id).unwrap();
        let first = key("a");
        assert_eq!(first.kid(), "node-a");
        assert_eq!(key("a").public_key(), first.public_key());
        assert_ne!(key("b").public_key(), first.public_key());
    }

    #[test]
    fn a_data_directory_that_cannot_be_used_is_named() {
        let words = own(Path::new("/dev/null/x"), "a").unwrap_err().to_string();
        assert!(words.contains("`data`") && words.contains("/dev/null/x"), "{words}");
    }
}
