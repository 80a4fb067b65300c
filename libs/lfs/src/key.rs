//! What an object is called inside Darner: by its digest wherever there is one, by its URL otherwise.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::oid::{Oid, OidError};

/// The identity of an object everywhere in Darner: on the wire, on disk, in logs.
///
/// Written `sha256:<64 hex>` or `url:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// Content-addressed: the bytes hash to this.
    Sha256(Oid),
    /// Addressed by where it was read from, for content that has no digest of its own.
    Url(UrlKey),
}

/// The digest of a URL without its filtered query keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UrlKey([u8; 32]);

/// Why a text is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The part before the colon is unknown.
    #[error("an object key begins with `sha256:` or `url:`")]
    Kind,
    /// The part after the colon is no digest.
    #[error(transparent)]
    Digest(#[from] OidError),
}

impl UrlKey {
    /// Wraps a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of a URL: its query keys in `filter` (compared exactly) are left out, the rest is kept byte for byte.
    pub fn of_url(url: &str, filter: &[String]) -> Self {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let mut hash = Sha256::new();
        hash.update(path.as_bytes());
        let kept = query.unwrap_or_default().split('&').filter(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && !filter.iter().any(|filtered| filtered == name)
        });
        for pair in kept {
            hash.update(b"&");
            hash.update(pair.as_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl ObjectKey {
    /// The digest the content must have, where there is one.
    pub const fn oid(&self) -> Option<Oid> {
        match self {
            Self::Sha256(oid) => Some(*oid),
            Self::Url(_) => None,
        }
    }

    /// The 32 bytes that place the object on rings and in maps.
    pub const fn digest(&self) -> &[u8; 32] {
        match self {
            Self::Sha256(oid) => oid.as_bytes(),
            Self::Url(key) => key.as_bytes(),
        }
    }
}

impl From<Oid> for ObjectKey {
    fn from(oid: Oid) -> Self {
        Self::Sha256(oid)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(oid) => write!(f, "sha256:{oid}"),
            Self::Url(key) => write!(f, "url:{}", Oid::from_bytes(key.0)),
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlKey({})", Oid::from_bytes(self.0))
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.split_once(':') {
            Some(("sha256", digest)) => Ok(Self::Sha256(digest.parse()?)),
            Some(("url", digest)) => Ok(Self::Url(UrlKey(*digest.parse::<Oid>()?.as_bytes()))),
            _ => Err(KeyError::Kind),
        }
    }
}

/// Recognises the object a URL path names by its digest: `.../aa/bb/<oid>`, `.../objects/<oid>[/size]`,
/// `.../blobs/sha256:<digest>`. A hint only: what is kept under the id must hash to it.
pub fn oid_in_path(path: &str) -> Option<Oid> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [.., "blobs", blob] => blob.strip_prefix("sha256:").and_then(|digest| digest.parse().ok()),
        [.., a, b, oid] if oid.starts_with(*a) && oid.get(2..4) == Some(*b) && a.len() == 2 => {
            oid.parse().ok()
        }
        [.., "objects", oid] => oid.parse().ok(),
        [.., "objects", oid, size] if size.bytes().all(|c| c.is_ascii_digit()) => oid.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let keys = [ObjectKey::Sha256(Oid::EMPTY), ObjectKey::Url(UrlKey::of_url("https://h/p", &[]))];
        for key in keys {
            assert_eq!(key.to_string().parse::<ObjectKey>().unwrap(), key);
        }
        assert_eq!("md5:00".parse::<ObjectKey>(), Err(KeyError::Kind));
    }

    #[test]
    fn two_signatures_of_one_url_are_one_object() {
        let filter = ["X-Amz-Signature".to_owned(), "X-Amz-Date".to_owned()];
        let key = |query: &str| UrlKey::of_url(&format!("https://h/p{query}"), &filter);
        assert_eq!(key("?X-Amz-Signature=a&X-Amz-Date=1"), key("?X-Amz-Date=2&X-Amz-Signature=b"));
        assert_eq!(key("?X-Amz-Signature=a"), key(""));
        assert_ne!(key("?part=1"), key("?part=2"));
    }

    #[test]
    fn an_oid_is_found_in_the_paths_that_carry_one() {
        let oid = Oid::EMPTY;
        let found = [
            format!("/alambic/media/376919987/e3/b0/{oid}"),
            format!("/org/repo.git/gitlab-lfs/objects/{oid}"),
            format!("/org/repo.git/gitlab-lfs/objects/{oid}/5242880"),
            format!("/v2/library/x/blobs/sha256:{oid}"),
        ];
        for path in found {
            assert_eq!(oid_in_path(&path), Some(oid), "{path}");
        }
        for path in ["/org/repo.git/info/refs", "/aa/bb/cc", &format!("/aa/bb/{oid}"), "/objects/batch", ""] {
            assert_eq!(oid_in_path(path), None, "{path}");
        }
    }
}
