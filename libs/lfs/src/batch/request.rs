//! What a client asks in a Batch.
//!
//! Tolerant where real clients and test tools differ: `ref` may be absent, `null`, `{}` or name `HEAD`; `transfers`
//! may be absent, null or name anything; an object with a bad oid or size stays in the list as [`Asked::Bad`].

use serde::Deserialize;
use serde_json::Value;

use super::{BatchError, Bounds, ObjectError, deeper_than};
use crate::oid::Oid;

/// What the client means to do with the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read them.
    Download,
    /// Store them.
    Upload,
}

/// One object of a Batch, as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Well-formed.
    Good {
        /// Its id.
        oid: Oid,
        /// Its size as the pointer file says.
        size: u64,
    },
    /// To be answered with 422 beside the others.
    Bad {
        /// The id as it came, cut to a bounded length.
        oid: String,
        /// The size as it came, 0 where it was no number.
        size: i64,
        /// What is wrong with it.
        why: String,
    },
}

/// A Batch request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Download or upload.
    pub operation: Operation,
    /// Transfer adapters the client offers; none means `basic`.
    pub transfers: Vec<String>,
    /// The name in `ref`, if there is one.
    pub reference: Option<String>,
    /// The objects, in the order and with the duplicates of the request.
    pub objects: Vec<Asked>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    operation: Value,
    #[serde(default)]
    transfers: Value,
    #[serde(default, rename = "ref")]
    reference: Value,
    #[serde(default)]
    hash_algo: Value,
    objects: Vec<RawObject>,
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(default)]
    oid: Value,
    #[serde(default)]
    size: Value,
}

/// A longer id than this says nothing more to a person.
const SHOWN_OID: usize = 128;

impl Request {
    /// Reads the body of `POST .../objects/batch`.
    pub fn parse(body: &[u8], bounds: &Bounds) -> Result<Self, BatchError> {
        if body.len() > bounds.bytes {
            return Err(BatchError::Bytes(bounds.bytes));
        }
        if deeper_than(body, bounds.depth) {
            return Err(BatchError::Depth(bounds.depth));
        }
        let raw: Raw = serde_json::from_slice(body).map_err(|error| BatchError::Shape(error.to_string()))?;
        if raw.objects.len() > bounds.objects {
            return Err(BatchError::Objects(bounds.objects));
        }
        match raw.hash_algo.as_str() {
            None | Some("" | "sha256") => {}
            Some(other) => return Err(BatchError::HashAlgorithm(shown(other))),
        }
        let transfers = raw.transfers.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            operation: operation(&raw.operation)?,
            transfers: transfers.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            reference: raw.reference.get("name").and_then(Value::as_str).map(str::to_owned),
            objects: raw.objects.iter().map(asked).collect(),
        })
    }

    /// The well-formed objects.
    pub fn good(&self) -> impl Iterator<Item = (Oid, u64)> + '_ {
        self.objects.iter().filter_map(|asked| match asked {
            Asked::Good { oid, size } => Some((*oid, *size)),
            Asked::Bad { .. } => None,
        })
    }

    /// Whether some object must be answered with 422.
    pub fn has_bad(&self) -> bool {
        self.objects.iter().any(|asked| matches!(asked, Asked::Bad { .. }))
    }

    /// The same request without its bad objects, everything else of the body as it came: what may be relayed to an
    /// origin that would refuse the whole Batch for one of them.
    pub fn without_bad(&self, body: &[u8]) -> Result<Vec<u8>, BatchError> {
        let shape = |error: serde_json::Error| BatchError::Shape(error.to_string());
        let mut whole: Value = serde_json::from_slice(body).map_err(shape)?;
        if let Some(objects) = whole.get_mut("objects").and_then(Value::as_array_mut) {
            let mut asked = self.objects.iter();
            objects.retain(|_| matches!(asked.next(), Some(Asked::Good { .. })));
        }
        serde_json::to_vec(&whole).map_err(shape)
    }
}

impl Asked {
    /// The per-object error of a bad object.
    pub fn error(&self) -> Option<ObjectError> {
        match self {
            Self::Good { .. } => None,
            Self::Bad { why, .. } => Some(ObjectError { code: 422, message: why.clone() }),
        }
    }
}

fn operation(value: &Value) -> Result<Operation, BatchError> {
    match value.as_str() {
        Some("download") => Ok(Operation::Download),
        Some("upload") => Ok(Operation::Upload),
        other => Err(BatchError::Operation(shown(other.unwrap_or("(none)")))),
    }
}

fn asked(raw: &RawObject) -> Asked {
    let text = raw.oid.as_str().unwrap_or_default();
    let why = match (text.parse::<Oid>(), raw.size.as_u64()) {
        (Ok(oid), Some(size)) if i64::try_from(size).is_ok() => return Asked::Good { oid, size },
        (Ok(_), _) => "the size of an object is a number of bytes, not below zero".to_owned(),
        (Err(error), _) => error.to_string(),
    };
    Asked::Bad { oid: shown(text), size: raw.size.as_i64().unwrap_or(0), why }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_OID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Request, BatchError> {
        Request::parse(body.as_bytes(), &Bounds::default())
    }

    fn with(extra: &str) -> String {
        format!(r#"{{"operation":"download","objects":[{{"oid":"{}","size":5}}]{extra}}}"#, Oid::EMPTY)
    }

    #[test]
    fn every_form_of_ref_that_clients_send_is_read() {
        for (extra, name) in [
            ("", None),
            (r#","ref":null"#, None),
            (r#","ref":{}"#, None),
            (r#","ref":{"name":null}"#, None),
            (r#","ref":"main""#, None),
            (r#","ref":{"name":"HEAD"}"#, Some("HEAD")),
            (r#","ref":{"name":"refs/heads/x"}"#, Some("refs/heads/x")),
        ] {
            let request = parse(&with(extra)).unwrap();
            assert_eq!(request.reference.as_deref(), name, "{extra}");
            assert_eq!(request.good().collect::<Vec<_>>(), [(Oid::EMPTY, 5)]);
        }
    }

    #[test]
    fn transfers_may_be_anything() {
        for extra in ["", r#","transfers":null"#, r#","transfers":[]"#, r#","transfers":"basic""#] {
            assert!(parse(&with(extra)).unwrap().transfers.is_empty(), "{extra}");
        }
        let request = parse(&with(r#","transfers":["ssh","basic",7]"#)).unwrap();
        assert_eq!(request.transfers, ["ssh", "basic"]);
    }

    #[test]
    fn one_bad_object_does_not_spoil_the_others() {
        let body = format!(
            r#"{{"operation":"upload","objects":[{{"oid":"abc","size":1}},{{"oid":"{0}","size":-1}},{{"oid":"{0}","size":0}},
            {{"oid":"{1}","size":1}},{{"size":1}},{{"oid":null,"size":null}},{{"oid":"{0}","size":1.5}}]}}"#,
            Oid::EMPTY,
            "Z".repeat(64),
        );
        let request = parse(&body).unwrap();
        assert_eq!(request.operation, Operation::Upload);
        assert_eq!(request.good().collect::<Vec<_>>(), [(Oid::EMPTY, 0)]);
        assert_eq!(request.objects.len(), 7);
        let errors: Vec<_> = request.objects.iter().filter_map(Asked::error).collect();
        assert!(errors.len() == 6 && errors.iter().all(|error| error.code == 422));
        assert!(matches!(&request.objects[1], Asked::Bad { size: -1, .. }));
    }

    #[test]
    fn what_is_relayed_keeps_everything_but_the_bad_objects() {
        let body = format!(
            r#"{{"operation":"download","odd":[1],"objects":[{{"oid":"x","size":1}},{{"oid":"{}","size":2,"more":true}}]}}"#,
            Oid::EMPTY
        );
        let request = parse(&body).unwrap();
        assert!(request.has_bad());
        let relayed: Value = serde_json::from_slice(&request.without_bad(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(relayed["odd"][0], 1);
        assert_eq!(relayed["objects"].as_array().unwrap().len(), 1);
        assert_eq!(relayed["objects"][0]["more"], true);
    }

    #[test]
    fn a_long_oid_is_cut_before_it_is_shown() {
        let body =
            format!(r#"{{"operation":"download","objects":[{{"oid":"{}","size":1}}]}}"#, "é".repeat(9999));
        let Asked::Bad { oid, .. } = &parse(&body).unwrap().objects[0] else { panic!("it is bad") };
        assert_eq!(oid.chars().count(), SHOWN_OID);
    }

    #[test]
    fn a_size_beyond_what_git_lfs_can_say_is_bad() {
        let body = format!(
            r#"{{"operation":"download","objects":[{{"oid":"{}","size":{}}}]}}"#,
            Oid::EMPTY,
            u64::MAX
        );
        assert!(parse(&body).unwrap().has_bad());
    }

    #[test]
    fn bounds_hold() {
        let bounds = Bounds { bytes: 300, objects: 1, depth: 4 };
        let check = |body: &str| Request::parse(body.as_bytes(), &bounds).unwrap_err();
        assert_eq!(check(&" ".repeat(301)), BatchError::Bytes(300));
        assert_eq!(check(&"[".repeat(99)), BatchError::Depth(4));
        assert_eq!(check(r#"{"operation":"download","objects":[{},{}]}"#), BatchError::Objects(1));
    }

    #[test]
    fn what_is_no_batch_is_refused_in_words() {
        for junk in
            ["", "null", "[]", "{}", r#"{"operation":"download"}"#, r#"{"objects":{}}"#, "{\"objects\":"]
        {
            assert!(matches!(parse(junk), Err(BatchError::Shape(_))), "{junk}");
        }
        let verify = r#"{"operation":"verify","objects":[]}"#;
        assert_eq!(parse(verify), Err(BatchError::Operation("verify".to_owned())));
        assert_eq!(parse(r#"{"objects":[]}"#), Err(BatchError::Operation("(none)".to_owned())));
        let md5 = with(r#","hash_algo":"md5""#);
        assert_eq!(parse(&md5), Err(BatchError::HashAlgorithm("md5".to_owned())));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_fall(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(Request::parse(&body, &Bounds::default()));
        }
    }
}
