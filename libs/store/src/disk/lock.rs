//! One process per directory.
//!
//! Owns: the lock on `<data>/lock`. Never: waits for another process. After a crash: the system releases the lock
//! with the process, also after kill -9; the file itself stays and means nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock of a directory.
    pub(crate) fn take(path: &Path, root: &Path) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                let holder = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { path: root.to_owned(), holder });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        write_pid(&mut file).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = LockFile::take(&path, dir.path()).unwrap();
        let refusal = LockFile::take(&path, dir.path()).unwrap_err();
        assert!(
            matches!(refusal, StoreError::Locked { holder: Some(pid), .. } if pid == std::process::id()),
            "{refusal}"
        );
        assert!(refusal.to_string().contains("in use by another process (pid "), "{refusal}");
        drop(first);
        LockFile::take(&path, dir.path()).unwrap();
    }
}
