//! Skeleton.
use std::sync::Arc;

use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, PieceDigest, PieceIndex};

use crate::error::ReadError;
use crate::record::Media;

/// A finished object, open for reading. It is not evicted while a clone lives.
#[derive(Debug, Clone)]
pub struct Stored(Arc<()>);

impl Stored {
    /// The object.
    pub fn key(&self) -> ObjectKey {
        unimplemented!("{:?}", self.0)
    }
    /// Its bytes.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Its cut.
    pub fn layout(&self) -> Layout {
        unimplemented!()
    }
    /// The digest of a piece.
    pub fn digest(&self, _piece: PieceIndex) -> Option<PieceDigest> {
        unimplemented!()
    }
    /// All digests, in order.
    pub fn digests(&self) -> Vec<PieceDigest> {
        unimplemented!()
    }
    /// The confirmed attestation, opaque here.
    pub fn attestation(&self) -> Option<Bytes> {
        unimplemented!()
    }
    /// Keeps the confirmed attestation.
    pub fn set_attestation(&self, _attestation: Bytes) {
        unimplemented!()
    }
    /// Where it was read from.
    pub fn upstreams(&self) -> Vec<String> {
        unimplemented!()
    }
    /// What the origin said of it.
    pub fn media(&self) -> Media {
        unimplemented!()
    }
    /// At most `max` bytes from `offset` (fewer is possible before the end, none only at the end).
    pub async fn read(&self, _offset: u64, _max: usize) -> Result<Bytes, ReadError> {
        unimplemented!()
    }
}
