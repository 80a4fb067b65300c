//! A finished object, open for reading.
//!
//! Owns: the public handle and its file descriptor. Never: gives out a byte of a piece that was not checked against
//! its digest since this process started or since the file last changed (its inode, times and size say so). After a
//! crash or a flipped bit: the first read of the piece finds it, the object is quarantined, and what still checks out
//! becomes a partial. A file deleted or evicted under a reader stays readable to its end. Small objects stay in memory
//! once they were read and checked, for as long as they are on the shelf and their file's stamp is the same.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

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
    /// Open, unless the content is in memory.
    pub(crate) file: Mutex<Option<Arc<File>>>,
    pub(crate) checked: Arc<Checked>,
    pub(crate) digests: Vec<PieceDigest>,
    pub(crate) attestation: Mutex<Option<Bytes>>,
    /// All of a small object, checked, and the stamp of the file it was read from.
    pub(crate) content: OnceLock<(Stamp, Bytes)>,
}

impl Object {
    /// The bytes, where they are in memory.
    pub(crate) fn content(&self) -> Option<&Bytes> {
        self.content.get().map(|(_, bytes)| bytes)
    }

    /// Whether the bytes in memory are those of the file with this stamp.
    pub(crate) fn is_of(&self, on_disk: &Stamp) -> bool {
        self.content.get().is_some_and(|(stamp, _)| stamp == on_disk)
    }
}

/// Objects up to this length are kept in memory: one read and one check serve all their readers.
pub(crate) const SMALL_BYTES: u64 = 64 << 10;

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

    /// Whether it was read from, or shown equal through, this upstream.
    pub fn has_upstream(&self, upstream: &str) -> bool {
        self.room.has_upstream(&self.object.key, upstream)
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
        if let Some(content) = object.content() {
            return Ok(sliced(content, offset, end));
        }
        let file = self.file()?;
        let stamp = Stamp::of(&file)?;
        if object.size <= SMALL_BYTES {
            return Ok(sliced(&self.settle(&file, stamp).await?, offset, end));
        }
        let pieces = object.layout.pieces_of(&(offset..end));
        let first = pieces.start;
        let doubtful = pieces.clone().find(|piece| !object.checked.has(&stamp, *piece));
        if doubtful == Some(first) {
            let (range, bytes) = self.check(stamp, first).await?;
            return Ok(sliced(&bytes, offset - range.start, end - range.start));
        }
        let end = doubtful.map_or(end, |piece| object.layout.piece_start(piece));
        let wanted = usize::try_from(end - offset).unwrap_or(MAX_BUFFER_BYTES);
        let bytes = self.room.reader().read(&file, offset, wanted).await?;
        if bytes.is_empty() {
            return Err(self.damaged(first).await);
        }
        Ok(bytes)
    }

    /// Reads and checks a piece whatever is known of it.
    pub(crate) async fn recheck(&self, piece: PieceIndex) -> Result<(), ReadError> {
        let stamp = Stamp::of(&*self.file()?)?;
        self.check(stamp, piece).await.map(drop)
    }

    /// The open file. One whose content is in memory is opened anew.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        let mut open = lock(&self.object.file);
        if let Some(file) = &*open {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.room.path(&self.object.key))?);
        if self.object.content().is_none() {
            *open = Some(Arc::clone(&file));
        }
        Ok(file)
    }

    /// Reads and checks a small object, which stays in memory from then on.
    async fn settle(&self, file: &Arc<File>, stamp: Stamp) -> Result<Bytes, ReadError> {
        let object = &self.object;
        let size = usize::try_from(object.size).unwrap_or(MAX_BUFFER_BYTES);
        let read = self.room.reader().read(file, 0, size).await;
        let sound = |read: &Bytes| read.len() == size && self.digest(0) == Some(PieceDigest::of(read));
        let Some(read) = read.ok().filter(sound) else {
            // Damaged, or a disk that does not say at once: the slow way tells which, and deals with it.
            return self.check(stamp, 0).await.map(|(_, bytes)| bytes);
        };
        object.checked.note(stamp, 0);
        // A copy: what was read lies in a much larger buffer, which goes back.
        let content = Bytes::copy_from_slice(&read);
        self.reside(stamp, content.clone());
        Ok(content)
    }

    /// Keeps the checked bytes of a small object in memory.
    pub(crate) fn reside(&self, stamp: Stamp, content: Bytes) {
        if self.object.content.set((stamp, content)).is_ok() {
            *lock(&self.object.file) = None;
            self.room.reside(&self.object);
        }
    }

    async fn check(&self, stamp: Stamp, piece: PieceIndex) -> Result<(Range<u64>, Bytes), ReadError> {
        let beyond = || ReadError::Beyond { offset: self.object.layout.piece_start(piece) };
        let range = self.object.layout.piece_range(piece).ok_or_else(beyond)?;
        let digest = self.digest(piece);
        let (object, file, wanted) = (Arc::clone(&self.object), self.file()?, range.clone());
        // A disk that cannot give the bytes back has damaged them.
        let read = blocking(move || {
            let bytes = read::range(&file, &wanted)?;
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

/// The bytes of `from..until` as far as they are there.
fn sliced(bytes: &Bytes, from: u64, until: u64) -> Bytes {
    let until = usize::try_from(until).unwrap_or(usize::MAX).min(bytes.len());
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(until);
    bytes.slice(from..until)
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({}, {} bytes)", self.object.key, self.object.size)
    }
}

#[cfg(test)]
mod tests;
