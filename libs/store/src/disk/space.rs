//! What is free on the file system.
//!
//! Owns: nothing. Never: decides what is evicted. After a crash: nothing to say.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatfs, statvfs};
use rustix::io::Errno;

/// Preallocating on tmpfs takes the memory at once and clears it, which costs more than it gains.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Below this a file is not worth a preallocation.
const PREALLOCATE_FROM_BYTES: u64 = 1 << 20;

/// What is free for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Free {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Inodes; without end where the file system does not count them.
    pub(crate) inodes: u64,
}

/// Asks the file system; an unanswered question counts as plenty, since writing will tell.
pub(crate) fn free(path: &Path) -> Free {
    let plenty = Free { bytes: u64::MAX, inodes: u64::MAX };
    statvfs(path).map_or(plenty, |told| Free {
        bytes: told.f_bavail.saturating_mul(told.f_frsize),
        inodes: if told.f_files == 0 { u64::MAX } else { told.f_favail },
    })
}

/// Takes the room of a file beforehand, where that is cheap. Only a full disk is an error.
pub(crate) fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes < PREALLOCATE_FROM_BYTES || fstatfs(file).is_ok_and(|told| told.f_type == TMPFS_MAGIC) {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(errno.into()),
        _ => Ok(()),
    }
}

/// Whether the error says that the disk, or the quota, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_recognised_by_its_error() {
        assert!(is_full(&Errno::NOSPC.into()));
        assert!(is_full(&Errno::DQUOT.into()));
        assert!(!is_full(&Errno::IO.into()));
    }

    #[test]
    fn preallocating_takes_the_room_and_leaves_the_length() {
        let file = tempfile::tempfile().unwrap();
        preallocate(&file, 2 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert!(free(Path::new("/")).bytes > 0);
        assert_eq!(free(Path::new("/no/such/place")).bytes, u64::MAX);
    }
}
