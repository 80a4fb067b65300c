//! What a seed signs with and whose signatures it honours.

use std::path::Path;

use darner_chassis::clock::{Random, System};
use darner_chassis::sign::{Signer, Verifier};
use darner_transfer::node::{self, StartError};

use crate::config::Keys;

/// The configured signing key (`keys.grants`), or the one kept in `data`; and whose signatures count: its own always.
pub(crate) fn keys(data: &Path, keys: &Keys) -> Result<(Signer, Verifier), StartError> {
    let signer = match &keys.grants {
        Some(path) => Signer::from_file(path).map_err(wrong)?,
        None => kept(data)?,
    };
    let honoured = node::honoured(keys.grants_public.as_deref())?;
    honoured.add(signer.kid(), signer.public_key());
    Ok((signer, honoured))
}

fn kept(data: &Path) -> Result<Signer, StartError> {
    let path = data.join("grants-key");
    match path.try_exists() {
        Ok(true) => return Signer::from_file(&path).map_err(wrong),
        Ok(false) => {}
        Err(source) => return Err(StartError::data(&path, source)),
    }
    let mut bytes = [0; 4];
    System.fill(&mut bytes);
    let signer = Signer::generate(format!("seed-{}", hex::encode(bytes))).map_err(wrong)?;
    let public = data.join("grants-public");
    std::fs::write(&public, signer.public_line()).map_err(|source| StartError::data(&public, source))?;
    signer.save(&path).map_err(|source| StartError::data(&path, source))?;
    Ok(signer)
}

fn wrong(error: impl std::error::Error) -> StartError {
    StartError::key("keys.grants", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_keeps_its_key_over_restarts() {
        let data = tempfile::tempdir().unwrap();
        let key = || keys(data.path(), &Keys::default()).unwrap().0;
        let (first, second) = (key(), key());
        assert_eq!((first.kid(), first.public_key()), (second.kid(), second.public_key()));
    }

    #[test]
    fn its_own_signature_and_those_of_the_others_are_honoured() {
        let data = tempfile::tempdir().unwrap();
        let other = Signer::generate("other").unwrap();
        let public = data.path().join("public");
        std::fs::write(&public, other.public_line()).unwrap();
        let with = Keys { grants: None, grants_public: Some(public) };
        let (own, verifier) = keys(data.path(), &with).unwrap();
        for signer in [&own, &other] {
            assert!(verifier.verify(signer.kid(), b"m", &signer.sign(b"m")));
        }
        let line = std::fs::read_to_string(data.path().join("grants-public")).unwrap();
        assert_eq!(line, own.public_line());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let missing = Keys { grants: Some("/nonexistent/key".into()), grants_public: None };
        let words = keys(Path::new("/tmp"), &missing).unwrap_err().to_string();
        assert!(words.contains("`keys.grants`") && words.contains("/nonexistent/key"), "{words}");
        let words = keys(Path::new("/dev/null/x"), &Keys::default()).unwrap_err().to_string();
        assert!(words.contains("`data`") && words.contains("/dev/null/x"), "{words}");
    }
}
