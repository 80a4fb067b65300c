//! Whether a file is still the one whose pieces were checked.
//!
//! Owns: what was checked of one finished object since this process started, and the stamp (device, inode, times,
//! size) it was checked under. Never: keeps a verdict across processes: a power cut may lose bytes that were checked.
//! After a crash: everything is checked again at its first read.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use darner_lfs::{Holding, PieceIndex};

use crate::guard::lock;

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    size: u64,
}

impl Stamp {
    /// The stamp of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from_metadata(&metadata))
    }

    /// The stamp in a file's metadata.
    pub(crate) fn from_metadata(metadata: &std::fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }

    /// The length.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Whether both are the same file, whatever happened to its content.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

/// The pieces that were checked under a stamp.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    under: Mutex<(Option<Stamp>, Holding)>,
}

impl Checked {
    /// All pieces, as they were hashed while they came.
    pub(crate) fn all(stamp: Stamp, pieces: u32) -> Self {
        Self { under: Mutex::new((Some(stamp), Holding::full(pieces))) }
    }

    /// Whether a piece was checked under this stamp.
    pub(crate) fn has(&self, stamp: &Stamp, piece: PieceIndex) -> bool {
        let under = lock(&self.under);
        under.0.as_ref() == Some(stamp) && under.1.contains(piece)
    }

    /// Notes a piece checked under a stamp taken before it was read; another stamp voids what was known.
    pub(crate) fn note(&self, stamp: Stamp, piece: PieceIndex) {
        let mut under = lock(&self.under);
        if under.0 != Some(stamp) {
            *under = (Some(stamp), Holding::empty());
        }
        under.1.insert(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_checked_holds_until_the_file_changes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let before = Stamp::of(&file).unwrap();
        let checked = Checked::all(before, 2);
        assert!(checked.has(&before, 1));
        file.write_all(b"two").unwrap();
        let after = Stamp::of(&file).unwrap();
        assert!(before.same_file(&after));
        assert!(!checked.has(&after, 1));
        checked.note(after, 1);
        assert!(checked.has(&after, 1) && !checked.has(&after, 0) && !checked.has(&before, 1));
    }
}
