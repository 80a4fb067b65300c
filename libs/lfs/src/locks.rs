//! Git LFS: the JSON of the locking API.
//!
//! A gateway relays locks untouched; these shapes are for a server of our own and for tests. Lists are written as
//! empty arrays rather than left out, because clients read a missing list as a broken server.

use serde::{Deserialize, Serialize};

/// One lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Opaque to clients; always a text.
    pub id: String,
    /// Path in the working tree.
    pub path: String,
    /// RFC 3339, whole seconds, upper case.
    pub locked_at: String,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// Who holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Name for people.
    pub name: String,
}

/// `{"name": ...}` of a ref; clients send `{}` and `null` as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// For example `refs/heads/main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Body of `POST /locks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Path to lock.
    pub path: String,
    /// On which ref.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// Answer of `POST /locks` (201, or 409 with the lock in the way) and of `POST /locks/:id/unlock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// The lock.
    pub lock: Lock,
    /// Set when the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Answer of `GET /locks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// One page.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /locks/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// On which ref.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most so many; absent means the server's own default, never zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `POST /locks/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Held by the asker.
    #[serde(default)]
    pub ours: Vec<Lock>,
    /// Held by others.
    #[serde(default)]
    pub theirs: Vec<Lock>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /locks/:id/unlock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// Break another's lock.
    #[serde(default)]
    pub force: bool,
    /// On which ref.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lists_are_arrays() {
        let json = serde_json::to_string(&Verified::default()).unwrap();
        assert_eq!(json, r#"{"ours":[],"theirs":[]}"#);
        assert_eq!(serde_json::to_string(&Listed::default()).unwrap(), r#"{"locks":[]}"#);
    }

    #[test]
    fn every_form_of_ref_is_read() {
        for body in [r#"{"path":"a"}"#, r#"{"path":"a","ref":null}"#, r#"{"path":"a","ref":{}}"#] {
            let create: Create = serde_json::from_str(body).unwrap();
            assert_eq!(create.reference.and_then(|reference| reference.name), None, "{body}");
        }
        let create: Create = serde_json::from_str(r#"{"path":"a","ref":{"name":"HEAD"}}"#).unwrap();
        assert_eq!(create.reference.unwrap().name.as_deref(), Some("HEAD"));
    }

    #[test]
    fn bodies_may_be_empty_objects() {
        assert_eq!(serde_json::from_str::<Verify>("{}").unwrap(), Verify::default());
        assert_eq!(serde_json::from_str::<Unlock>("{}").unwrap(), Unlock::default());
        assert_eq!(serde_json::from_str::<Listed>("{}").unwrap(), Listed::default());
    }

    #[test]
    fn a_lock_survives_its_json() {
        let lock = Lock {
            id: "7".to_owned(),
            path: "a/b.bin".to_owned(),
            locked_at: "2016-05-17T15:49:06Z".to_owned(),
            owner: Some(Owner { name: "Jane".to_owned() }),
        };
        let refused = Locked { lock, message: Some("already created lock".to_owned()) };
        let json = serde_json::to_string(&refused).unwrap();
        assert_eq!(serde_json::from_str::<Locked>(&json).unwrap(), refused);
    }
}
