//! The signed statements kept with a finished object, so that whoever holds it can hand its digests on.

use bytes::Bytes;
use darner_proto::v1;
use darner_store::Stored;
use prost::Message as _;

/// Keeps the statements of a partial with the object it became: taken before `finish`, kept after it.
pub fn keep(statements: &[Bytes], stored: &Stored) {
    let decoded = statements.iter().filter_map(|bytes| v1::Attestation::decode(bytes.clone()).ok());
    let kept: Vec<u8> = decoded.flat_map(|statement| statement.encode_length_delimited_to_vec()).collect();
    if !kept.is_empty() {
        stored.set_attestation(kept.into());
    }
}

/// What [`keep`] kept.
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
