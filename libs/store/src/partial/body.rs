//! Where the bytes of a growing object are: a file, or memory when the disk is full.
//!
//! Owns: the file handle or the pieces in memory. Never: knows which bytes are whole. After a crash: the file is there
//! with what reached the page cache (kill -9) or the disk (power cut); memory is gone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use darner_lfs::{Layout, PieceIndex};

use crate::disk::read;
use crate::guard::lock;

/// The bytes.
#[derive(Debug)]
pub(crate) enum Body {
    /// In a file, opened at its first use.
    File {
        /// Where it lies while it grows.
        path: PathBuf,
        /// The handle.
        open: Mutex<Option<Arc<File>>>,
    },
    /// In memory, piece by piece.
    Memory(Mutex<BTreeMap<PieceIndex, Vec<u8>>>),
}

/// A place in a piece: where the piece begins, and the offset in the object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) piece: PieceIndex,
    pub(crate) start: u64,
    pub(crate) offset: u64,
}

impl Body {
    /// A file that is opened when it is needed.
    pub(crate) fn at(path: &Path) -> Self {
        Self::File { path: path.to_owned(), open: Mutex::default() }
    }

    /// A file that is open.
    pub(crate) fn open(path: &Path, file: Arc<File>) -> Self {
        Self::File { path: path.to_owned(), open: Mutex::new(Some(file)) }
    }

    /// Nothing, in memory.
    pub(crate) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// The same bytes for a successor. Pieces in memory do not move on: nobody resumes them.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::File { path, open } => {
                Self::File { path: path.clone(), open: Mutex::new(lock(open).clone()) }
            }
            Self::Memory(_) => Self::in_memory(),
        }
    }

    /// Whether the bytes are in memory.
    pub(crate) const fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// The file; one that was removed meanwhile comes back empty, and its pieces fail their digests.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        let Self::File { path, open } = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut open = lock(open);
        if let Some(file) = &*open {
            return Ok(Arc::clone(file));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map(Arc::new)?;
        *open = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Lets go of the handle of a partial nobody uses.
    pub(crate) fn close(&self) {
        if let Self::File { open, .. } = self {
            lock(open).take();
        }
    }

    /// Another file has the bytes now.
    pub(crate) fn replace(&self, file: Arc<File>) {
        if let Self::File { open, .. } = self {
            *lock(open) = Some(file);
        }
    }

    /// Writes bytes of a piece.
    pub(crate) fn write(&self, place: Place, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File { .. } => self.file()?.write_all_at(bytes, place.offset),
            Self::Memory(pieces) => {
                let mut pieces = lock(pieces);
                let piece = pieces.entry(place.piece).or_default();
                piece.truncate(usize::try_from(place.offset - place.start).map_err(io::Error::other)?);
                piece.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The bytes of a range within a piece, fewer where they end before.
    pub(crate) fn range(&self, layout: &Layout, range: &Range<u64>) -> io::Result<Vec<u8>> {
        match self {
            Self::File { .. } => read::range(self.file()?.as_ref(), range),
            Self::Memory(_) => Ok(self.in_memory_range(layout, range).to_vec()),
        }
    }

    /// Reads into this space from an offset, as far as it goes (in memory: within one piece); how many bytes.
    pub(crate) fn fill(&self, layout: &Layout, offset: u64, space: &mut [u8]) -> io::Result<usize> {
        if let Self::File { .. } = self {
            return read::fill(self.file()?.as_ref(), space, offset);
        }
        let end = offset.saturating_add(u64::try_from(space.len()).unwrap_or(u64::MAX));
        let bytes = self.in_memory_range(layout, &(offset..end));
        if let Some(space) = space.get_mut(..bytes.len()) {
            space.copy_from_slice(&bytes);
        }
        Ok(bytes.len())
    }

    /// Bytes in memory, up to the end of their piece.
    pub(crate) fn in_memory_range(&self, layout: &Layout, range: &Range<u64>) -> Bytes {
        let Self::Memory(pieces) = self else { return Bytes::new() };
        let piece = layout.piece_of(range.start);
        let start = layout.piece_start(piece);
        let pieces = lock(pieces);
        let Some(bytes) = pieces.get(&piece) else { return Bytes::new() };
        let end = usize::try_from(range.end - start).unwrap_or(usize::MAX).min(bytes.len());
        let from = usize::try_from(range.start - start).unwrap_or(usize::MAX);
        bytes.get(from..end).map(Bytes::copy_from_slice).unwrap_or_default()
    }

    /// Drops the pieces in memory before this one.
    pub(crate) fn drop_before(&self, piece: PieceIndex) {
        if let Self::Memory(pieces) = self {
            let mut pieces = lock(pieces);
            let kept = pieces.split_off(&piece);
            *pieces = kept;
        }
    }

    /// Bytes held in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::File { .. } => 0,
            Self::Memory(pieces) => lock(pieces).values().map(Vec::len).sum(),
        }
    }
}
