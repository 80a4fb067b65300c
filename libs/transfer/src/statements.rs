//! The signed statements kept with a finished object, so that whoever holds it can hand its digests on.

use bytes::Bytes;
use darner_proto::v1;
use darner_store::{Partial, Stored};
use prost::Message as _;

/// The statements of a growing object in the form in which the finished one keeps them (`Partial::finish_with`).
pub fn kept(partial: &Partial) -> Option<Bytes> {
    let statements = partial.statements(0);
    let decoded = statements.iter().filter_map(|bytes| v1::Attestation::decode(bytes.clone()).ok());
    let kept: Vec<u8> = decoded.flat_map(|statement| statement.encode_length_delimited_to_vec()).collect();
    (!kept.is_empty()).then(|| kept.into())
}

/// What was kept with a finished object.
pub fn of(stored: &Stored) -> Vec<v1::Attestation> {
    let kept = stored.attestation().unwrap_or_default();
    let mut rest: &[u8] = &kept;
    let mut statements = Vec::new();
    while !rest.is_empty() {
        let Ok(statement) = v1::Attestation::decode_length_delimited(&mut rest) else { break };
        statements.push(statement);
    }
    statements
}
