//! The canonical bytes of an attestation: what its signature covers.

use darner_lfs::PieceDigest;
use darner_lfs::layout::{Layout, PieceIndex};
use prost::Message as _;

use crate::convert::{self, Malformed};
use crate::v1;

/// Separates these signatures from every other use of the same key.
const DOMAIN: &[u8] = b"darner attestation 1\n";

/// The bytes to sign or to check: the message without its signature, in protobuf's deterministic field order.
pub fn signed_bytes(attestation: &v1::Attestation) -> Vec<u8> {
    let unsigned = v1::Attestation { signature: bytes::Bytes::new(), ..attestation.clone() };
    [DOMAIN, &unsigned.encode_to_vec()].concat()
}

/// The pieces an attestation speaks of: the first one and their digests. Refused where there are more digests than pieces.
pub fn pieces(attestation: &v1::Attestation) -> Result<(Layout, PieceIndex, Vec<PieceDigest>), Malformed> {
    let layout = convert::layout(attestation.layout.as_ref())?;
    let digests = PieceDigest::list(&attestation.digests).ok_or(Malformed::Length("attestation.digests"))?;
    let end = u64::from(attestation.first_piece) + u64::try_from(digests.len()).unwrap_or(u64::MAX);
    if layout.piece_count().is_some_and(|count| end > u64::from(count)) {
        return Err(Malformed::Length("attestation.digests"));
    }
    Ok((layout, attestation.first_piece, digests))
}
