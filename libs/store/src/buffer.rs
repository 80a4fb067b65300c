//! Read buffers that are used again, so that the read path neither allocates nor zeroes.
//!
//! Owns: the free lists. Never: hands out a buffer twice at a time. After a crash: nothing to say. Bounded: at most
//! 28 MiB are kept for later; what is in use is bounded by the readers.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::guard::lock;

/// Sizes of buffers and how many free ones are kept: found with 64 KiB .. 1 MiB frames on the serve path, where
/// smaller ones cost twice the CPU and larger ones gain nothing.
const CLASSES: [(usize, usize); 3] = [(64 << 10, 64), (256 << 10, 32), (1 << 20, 16)];
/// The largest buffer.
pub(crate) const MAX_BUFFER_BYTES: usize = 1 << 20;

/// The free lists.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<[Vec<Box<[u8]>>; 3]>,
}

impl Pool {
    /// A buffer for up to `wanted` bytes, capped at the largest class.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize) -> Buffer {
        let wanted = wanted.min(MAX_BUFFER_BYTES);
        let class = CLASSES.iter().position(|(bytes, _)| wanted <= *bytes).unwrap_or(CLASSES.len() - 1);
        let reused = lock(&self.free).get_mut(class).and_then(Vec::pop);
        let fresh = || {
            let bytes = CLASSES.get(class).map_or(MAX_BUFFER_BYTES, |(bytes, _)| *bytes);
            vec![0; bytes].into_boxed_slice()
        };
        Buffer { bytes: reused.unwrap_or_else(fresh), used: wanted, pool: Arc::clone(self) }
    }

    fn give_back(&self, bytes: Box<[u8]>) {
        let Some(class) = CLASSES.iter().position(|(size, _)| *size == bytes.len()) else { return };
        let kept = CLASSES.get(class).map_or(0, |(_, kept)| *kept);
        if let Some(list) = lock(&self.free).get_mut(class)
            && list.len() < kept
        {
            list.push(bytes);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    used: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// The part to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.used).unwrap_or_default()
    }

    /// The first `filled` bytes, shared; the buffer goes back when the last share is dropped.
    pub(crate) fn freeze(mut self, filled: usize) -> Bytes {
        self.used = filled.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_share_is_dropped() {
        let pool = Arc::new(Pool::default());
        let mut buffer = pool.take(10);
        buffer.space().copy_from_slice(b"0123456789");
        let bytes = buffer.freeze(4);
        let share = bytes.slice(1..);
        drop(bytes);
        assert_eq!(lock(&pool.free)[0].len(), 0);
        assert_eq!(&share[..], b"123");
        drop(share);
        assert_eq!(lock(&pool.free)[0].len(), 1);
        assert_eq!(pool.take(64 << 10).space().len(), 64 << 10);
    }

    #[test]
    fn the_free_lists_are_bounded() {
        let pool = Arc::new(Pool::default());
        let many: Vec<Buffer> = (0..100).map(|_| pool.take(usize::MAX)).collect();
        assert!(many.iter().all(|buffer| buffer.used == MAX_BUFFER_BYTES));
        drop(many);
        assert_eq!(lock(&pool.free)[2].len(), CLASSES[2].1);
    }
}
