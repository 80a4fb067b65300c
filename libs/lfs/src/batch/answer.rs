//! What a server answers to a Batch, and the v0.5 answer for one object.
//!
//! Read from origins and written to clients: what is not understood is kept (`rest`) and passed on as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BatchError, Bounds, deeper_than};

/// The body of a 200 to `POST .../objects/batch`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The adapter to use; absent or empty means `basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// An answer per object.
    pub objects: Vec<Answered>,
    /// `sha256` when said at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_algo: Option<String>,
    /// Everything else of the body.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One object of an answer; on its own also the whole v0.5 answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The id as the server wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub oid: String,
    /// The size the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Spares the client a credential look-up for the transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// `download`, `upload`, `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<BTreeMap<String, Action>>,
    /// The v0.5 name of `actions`.
    #[serde(default, rename = "_links", skip_serializing_if = "Option::is_none")]
    pub links: Option<BTreeMap<String, Action>>,
    /// Why this object cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ObjectError>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How to move one object.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Where.
    pub href: String,
    /// Headers to send along: they may carry a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<BTreeMap<String, String>>,
    /// Seconds from now; goes before `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Why one object failed while the Batch as a whole did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectError {
    /// An HTTP status.
    pub code: i64,
    /// Words for the user.
    #[serde(default)]
    pub message: String,
}

impl Answer {
    /// Reads the answer of an origin.
    pub fn parse(body: &[u8], bounds: &Bounds) -> Result<Self, BatchError> {
        if deeper_than(body, bounds.depth) {
            return Err(BatchError::Depth(bounds.depth));
        }
        serde_json::from_slice(body).map_err(|error| BatchError::Shape(error.to_string()))
    }

    /// Whether the bytes move by plain HTTP GET and PUT.
    pub fn is_basic(&self) -> bool {
        matches!(self.transfer.as_deref(), None | Some("" | "basic"))
    }

    /// The JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and maps with text keys: nothing in here can fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Answered {
    /// An object that is refused.
    pub fn refused(oid: impl Into<String>, size: i64, error: ObjectError) -> Self {
        Self { oid: oid.into(), size: Some(size), error: Some(error), ..Self::default() }
    }

    /// The action of a name, under either of its two homes.
    pub fn action_mut(&mut self, name: &str) -> Option<&mut Action> {
        let homes = [self.actions.as_mut(), self.links.as_mut()];
        homes.into_iter().flatten().find_map(|actions| actions.get_mut(name))
    }

    /// The action of a name, under either of its two homes.
    pub fn action(&self, name: &str) -> Option<&Action> {
        let homes = [self.actions.as_ref(), self.links.as_ref()];
        homes.into_iter().flatten().find_map(|actions| actions.get(name))
    }
}

impl std::fmt::Debug for Action {
    /// Shows neither the address nor the headers: both may carry a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Action")
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = r#"{"transfer":"basic","odd":1,"objects":[
        {"oid":"a","size":5,"authenticated":true,"actions":{"download":{"href":"http://h/a","header":{"k":"v"},"expires_in":60,"new":[1]}}},
        {"oid":"b","size":5,"_links":{"download":{"href":"http://h/b"},"self":{"href":"http://h/s"}}},
        {"oid":"c","size":5,"actions":null,"error":{"code":404,"message":"gone"}}]}"#;

    #[test]
    fn what_is_not_understood_passes_through() {
        let answer = Answer::parse(REPLY.as_bytes(), &Bounds::default()).unwrap();
        let again: Value = serde_json::from_slice(&answer.to_json()).unwrap();
        let mut wanted: Value = serde_json::from_str(REPLY).unwrap();
        wanted["objects"][2].as_object_mut().unwrap().remove("actions");
        assert_eq!(again, wanted);
    }

    #[test]
    fn actions_are_found_under_both_names() {
        let mut answer = Answer::parse(REPLY.as_bytes(), &Bounds::default()).unwrap();
        assert!(answer.is_basic());
        for object in &mut answer.objects[..2] {
            object.action_mut("download").unwrap().href = "x".to_owned();
            assert_eq!(object.action("download").unwrap().href, "x");
            assert!(object.action("upload").is_none());
        }
        assert!(answer.objects[2].action("download").is_none());
    }

    #[test]
    fn another_adapter_is_not_basic() {
        for (transfer, basic) in [(None, true), (Some(""), true), (Some("basic"), true), (Some("tus"), false)]
        {
            let answer = Answer { transfer: transfer.map(str::to_owned), ..Answer::default() };
            assert_eq!(answer.is_basic(), basic);
        }
    }

    #[test]
    fn the_old_answer_for_one_object_is_read() {
        let old = r#"{"oid":"a","size":7,"_links":{"download":{"href":"h","header":{"Authorization":"x"}}}}"#;
        let object: Answered = serde_json::from_str(old).unwrap();
        assert_eq!(object.action("download").unwrap().href, "h");
        assert_eq!(serde_json::to_string(&object).unwrap(), old);
    }

    #[test]
    fn a_credential_is_not_shown() {
        let header = BTreeMap::from([("Authorization".to_owned(), "canary".to_owned())]);
        let action =
            Action { href: "http://h/?canary".to_owned(), header: Some(header), ..Action::default() };
        assert!(!format!("{action:?}").contains("canary"));
    }

    #[test]
    fn an_answer_nested_without_end_is_refused() {
        let deep = format!(r#"{{"objects":{}"#, "[".repeat(5000));
        assert_eq!(Answer::parse(deep.as_bytes(), &Bounds::default()), Err(BatchError::Depth(16)));
    }
}
