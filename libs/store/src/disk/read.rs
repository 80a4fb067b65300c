//! The fast read: straight from the page cache on the caller's thread, and only what is not cached on a thread that
//! may block.
//!
//! Owns: the buffers and what this file system was found able to do. Never: blocks an async thread on a disk.
//! After a crash: nothing to say. Some file systems (overlay variants, NFS) do not know `RWF_NOWAIT`; the first
//! refusal is remembered and every later read goes to a blocking thread.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use crate::buffer::{Buffer, Pool};

/// Reads files.
#[derive(Debug)]
pub(crate) struct Reader {
    pool: Arc<Pool>,
    nowait: AtomicBool,
}

impl Reader {
    /// A reader that tries the fast way first.
    pub(crate) fn new() -> Self {
        Self { pool: Arc::default(), nowait: AtomicBool::new(true) }
    }

    /// At most `max` bytes from `offset`; empty at the end of the file.
    pub(crate) async fn read(&self, file: &Arc<File>, offset: u64, max: usize) -> io::Result<Bytes> {
        let mut buffer = self.pool.take(max);
        if self.nowait.load(Ordering::Relaxed) {
            match at_once(file, &mut buffer, offset) {
                Ok(read) => return Ok(buffer.freeze(read)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.nowait.store(false, Ordering::Relaxed);
                    tracing::debug!("reads without waiting are not known here, blocking threads are used");
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        let file = Arc::clone(file);
        blocking(move || {
            let read = fill(&file, buffer.space(), offset)?;
            Ok(buffer.freeze(read))
        })
        .await
    }

    #[cfg(test)]
    pub(crate) fn forget_the_fast_way(&self) {
        self.nowait.store(false, Ordering::Relaxed);
    }
}

/// Runs on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The bytes of a range, fewer where the file ends before.
pub(crate) fn range(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let wanted = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; wanted];
    let read = fill(file, &mut bytes, range.start)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn at_once(file: &File, buffer: &mut Buffer, offset: u64) -> Result<usize, Errno> {
    let mut space = [IoSliceMut::new(buffer.space())];
    rustix::io::preadv2(file, &mut space, offset, ReadWriteFlags::NOWAIT)
}

/// Fills the space as far as the file goes.
pub(crate) fn fill(file: &File, mut space: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !space.is_empty() {
        let at = offset.saturating_add(u64::try_from(total).unwrap_or(u64::MAX));
        match file.read_at(space, at) {
            Ok(0) => break,
            Ok(read) => {
                total += read;
                space = space.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_with(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn both_ways_of_reading_give_the_same_bytes() {
        let file = file_with(b"0123456789");
        let reader = Reader::new();
        assert_eq!(&reader.read(&file, 2, 4).await.unwrap()[..], b"2345");
        reader.forget_the_fast_way();
        assert_eq!(&reader.read(&file, 2, 4).await.unwrap()[..], b"2345");
        assert_eq!(&reader.read(&file, 8, 4).await.unwrap()[..], b"89");
        assert!(reader.read(&file, 10, 4).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_system_in_memory_is_read_too() {
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return };
        file.write_all(b"abc").unwrap();
        assert_eq!(&Reader::new().read(&Arc::new(file), 0, 10).await.unwrap()[..], b"abc");
    }

    #[test]
    fn a_range_past_the_end_is_short() {
        let file = file_with(b"0123456789");
        assert_eq!(range(&file, &(4..20)).unwrap(), b"456789");
        assert!(range(&file, &(40..50)).unwrap().is_empty());
    }
}
