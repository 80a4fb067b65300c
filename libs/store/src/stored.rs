//! A finished object, open for reading.
//!
//! Owns: the public handle and its file descriptor. Never: gives out a byte of a piece that was not checked against
//! its digest since this process started or since the file last changed (its inode, times and size say so). After a
//! crash or a flipped bit: the first read of the piece finds it, the object is quarantined, and what still checks out
//! becomes a partial. A file deleted or evicted under a reader stays readable to its end.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, PieceDigest, PieceIndex};

use crate::buffer::MAX_BUFFER_BYTES;
use crate::disk::read::{self, blocking};
use crate::disk::stamp::{Checked, Stamp};
use crate::error::ReadError;
use crate::guard::lock;
use crate::record::Media;
use crate::store::room::Room;

/// The open file, shared by all handles; the object is not evicted while it lives.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: ObjectKey,
    pub(crate) layout: Layout,
    pub(crate) size: u64,
    pub(crate) file: Arc<File>,
    pub(crate) checked: Arc<Checked>,
    pub(crate) digests: Vec<PieceDigest>,
    pub(crate) attestation: Mutex<Option<Bytes>>,
}

/// A finished object. It is not evicted while a clone lives.
#[derive(Clone)]
pub struct Stored {
    object: Arc<Object>,
    room: Arc<Room>,
}

impl Stored {
    pub(crate) fn new(object: Arc<Object>, room: Arc<Room>) -> Self {
        Self { object, room }
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The object.
    pub fn key(&self) -> ObjectKey {
        self.object.key
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.object.size
    }

    /// Its cut.
    pub fn layout(&self) -> Layout {
        self.object.layout
    }

    /// The digest of a piece.
    pub fn digest(&self, piece: PieceIndex) -> Option<PieceDigest> {
        usize::try_from(piece).ok().and_then(|at| self.object.digests.get(at)).copied()
    }

    /// All digests, in order.
    pub fn digests(&self) -> Vec<PieceDigest> {
        self.object.digests.clone()
    }

    /// The confirmed attestation, opaque here.
    pub fn attestation(&self) -> Option<Bytes> {
        let mut known = lock(&self.object.attestation);
        if known.is_none() {
            *known = self.room.index().attestation(&self.object.key);
        }
        known.clone()
    }

    /// Keeps the confirmed attestation.
    pub fn set_attestation(&self, attestation: Bytes) {
        *lock(&self.object.attestation) = Some(attestation.clone());
        self.room.note_attestation(&self.object.key, attestation);
    }

    /// Where it was read from.
    pub fn upstreams(&self) -> Vec<String> {
        self.room.record(&self.object.key).map(|record| record.upstreams).unwrap_or_default()
    }

    /// What the origin said of it.
    pub fn media(&self) -> Media {
        self.room.record(&self.object.key).map(|record| record.media).unwrap_or_default()
    }

    /// At most `max` bytes from `offset`: at least one before the end, none at the end. Fewer than `max` is usual: at
    /// most 1 MiB at a time.
    pub async fn read(&self, offset: u64, max: usize) -> Result<Bytes, ReadError> {
        let object = &self.object;
        let max = u64::try_from(max.min(MAX_BUFFER_BYTES)).unwrap_or(u64::MAX);
        let end = object.size.min(offset.saturating_add(max));
        if offset >= end {
            return Ok(Bytes::new());
        }
        let stamp = Stamp::of(&object.file)?;
        let pieces = object.layout.pieces_of(&(offset..end));
        let first = pieces.start;
        let doubtful = pieces.clone().find(|piece| !object.checked.has(&stamp, *piece));
        if doubtful == Some(first) {
            let (range, bytes) = self.check(stamp, first).await?;
            let from = usize::try_from(offset - range.start).unwrap_or(usize::MAX).min(bytes.len());
            let until = usize::try_from(end - range.start).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(bytes.slice(from..until));
        }
        let end = doubtful.map_or(end, |piece| object.layout.piece_start(piece));
        let wanted = usize::try_from(end - offset).unwrap_or(MAX_BUFFER_BYTES);
        let bytes = self.room.reader().read(&object.file, offset, wanted).await?;
        if bytes.is_empty() {
            return Err(self.damaged(first).await);
        }
        Ok(bytes)
    }

    /// Reads and checks a piece whatever is known of it.
    pub(crate) async fn recheck(&self, piece: PieceIndex) -> Result<(), ReadError> {
        let stamp = Stamp::of(&self.object.file)?;
        self.check(stamp, piece).await.map(drop)
    }

    async fn check(&self, stamp: Stamp, piece: PieceIndex) -> Result<(Range<u64>, Bytes), ReadError> {
        let beyond = || ReadError::Beyond { offset: self.object.layout.piece_start(piece) };
        let range = self.object.layout.piece_range(piece).ok_or_else(beyond)?;
        let digest = self.digest(piece);
        let (object, wanted) = (Arc::clone(&self.object), range.clone());
        // A disk that cannot give the bytes back has damaged them.
        let read = blocking(move || {
            let bytes = read::range(&object.file, &wanted)?;
            let sound = Some(PieceDigest::of(&bytes)) == digest;
            if sound {
                object.checked.note(stamp, piece);
            }
            Ok(sound.then_some(bytes))
        });
        match read.await {
            Ok(Some(bytes)) => Ok((range, bytes.into())),
            Ok(None) => Err(self.damaged(piece).await),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Err(self.damaged(piece).await)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn damaged(&self, piece: PieceIndex) -> ReadError {
        let (room, object) = (Arc::clone(&self.room), Arc::clone(&self.object));
        let quarantined = blocking(move || {
            room.quarantine(&object.key, &object.checked, Some(piece));
            Ok(())
        });
        if let Err(error) = quarantined.await {
            return error.into();
        }
        ReadError::Damaged { piece }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({}, {} bytes)", self.object.key, self.object.size)
    }
}

#[cfg(test)]
mod tests;
