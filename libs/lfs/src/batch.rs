//! Git LFS: the JSON of the Batch API, and of the v0.5 API before it.
//!
//! Owns: a tolerant reader of requests ([`request`]), the shapes of answers ([`answer`]) and the bounds of both.
//! Never: decides who may read what. Whatever a client or an origin sends ends in a value or in a [`BatchError`]
//! with the status that git-lfs understands; one bad object never spoils the others.

pub mod answer;
pub mod request;

pub use answer::{Action, Answer, Answered, ObjectError};
pub use request::{Asked, Operation, Request};

/// Media type of every LFS API body.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// What a Batch may weigh before it is refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the body. A Batch of 100 objects has about 10 KB.
    pub bytes: usize,
    /// Objects in it. The client's default is 100; 1,000s are seen with `lfs.transfer.batchSize`.
    pub objects: usize,
    /// Nesting of arrays and objects. A well-formed Batch has 3.
    pub depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 8 << 20, objects: 20_000, depth: 16 }
    }
}

/// Why a whole Batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More bytes than the bound.
    #[error("the Batch is longer than {0} bytes")]
    Bytes(usize),
    /// More objects than the bound.
    #[error("the Batch names more than {0} objects; set lfs.transfer.batchSize lower")]
    Objects(usize),
    /// Nested deeper than the bound.
    #[error("the Batch is nested deeper than {0} levels")]
    Depth(usize),
    /// Not JSON, or JSON of another shape.
    #[error("the Batch cannot be read: {0}")]
    Shape(String),
    /// Neither `download` nor `upload`.
    #[error("operation `{0}` is not known: use download or upload")]
    Operation(String),
    /// Another digest than SHA-256.
    #[error("hash_algo `{0}` is not served: only sha256")]
    HashAlgorithm(String),
}

impl BatchError {
    /// The HTTP status that tells a client what is wrong, as the specification has it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Bytes(_) | Self::Objects(_) => 413,
            Self::HashAlgorithm(_) => 409,
            Self::Depth(_) | Self::Shape(_) | Self::Operation(_) => 422,
        }
    }
}

/// Whether a body nests deeper than `limit`, found without building anything from it.
pub(crate) fn deeper_than(body: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in body {
        match (in_text, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_text = false,
            (false, _, b'"') => in_text = true,
            (false, _, b'{' | b'[') => depth += 1,
            (false, _, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert!(!deeper_than(br#"{"a":"[[[[[[","b":"\"[["}"#, 1));
        assert!(deeper_than(b"[[[", 2));
        assert!(!deeper_than(b"[][][][]", 1));
        assert!(!deeper_than(b"]]]]", 1));
    }

    #[test]
    fn a_refusal_has_the_status_of_the_specification() {
        assert_eq!(BatchError::Objects(5).status(), 413);
        assert_eq!(BatchError::HashAlgorithm("md5".to_owned()).status(), 409);
        assert_eq!(BatchError::Shape(String::new()).status(), 422);
    }
}
