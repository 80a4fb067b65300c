//! What the tests of this crate share: a store in a directory of its own, contents that differ everywhere, and the
//! ways an object comes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use darner_lfs::{Layout, ObjectKey, Oid, PieceIndex, RunningSha256, UrlKey};
use tempfile::TempDir;

use crate::{Outcome, Partial, Store, StoreConfig, Stored};

/// The smallest piece.
pub(crate) const PIECE: usize = 256 << 10;

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn content(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// The name of a content.
pub(crate) fn oid_of(content: &[u8]) -> Oid {
    let mut hash = RunningSha256::default();
    hash.update(content);
    hash.finish()
}

/// The key of a content.
pub(crate) fn key_of(content: &[u8]) -> ObjectKey {
    ObjectKey::Sha256(oid_of(content))
}

/// Some URL.
pub(crate) fn url_key(n: u8) -> ObjectKey {
    ObjectKey::Url(UrlKey::from_bytes([n; 32]))
}

/// The cut of a content.
pub(crate) fn layout_of(content: &[u8]) -> Layout {
    Layout::of_size(content.len() as u64)
}

/// Settings with a clock that ticks at each look.
pub(crate) fn config(dir: &TempDir) -> StoreConfig {
    let ticks = AtomicU64::new(0);
    let now = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed));
    StoreConfig { now, budget_bytes: Some(1 << 30), ..StoreConfig::at(dir.path()) }
}

/// A store in a directory of its own.
pub(crate) async fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    (dir, store)
}

/// A store with little room.
pub(crate) async fn small_store(budget_bytes: u64) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { budget_bytes: Some(budget_bytes), ..config(&dir) };
    let store = Store::open(config).await.unwrap();
    (dir, store)
}

/// The bytes of a piece.
pub(crate) fn piece_of(content: &[u8], layout: &Layout, piece: PieceIndex) -> Vec<u8> {
    let range = layout.with_size(content.len() as u64).piece_range(piece).unwrap();
    content[range.start as usize..range.end as usize].to_vec()
}

/// Writes one piece.
pub(crate) fn write_piece(partial: &Partial, content: &[u8], piece: PieceIndex) {
    let mut writer = partial.begin(piece, false).unwrap();
    writer.write(&piece_of(content, &partial.layout(), piece)).unwrap();
    writer.finish(None).unwrap();
}

/// Writes every missing piece and finishes.
pub(crate) fn fill(partial: &Partial, content: &[u8]) -> Stored {
    for piece in 0..partial.layout().piece_count().unwrap() {
        if !partial.has(piece) {
            write_piece(partial, content, piece);
        }
    }
    match partial.finish().unwrap() {
        Outcome::Finished(stored) => stored,
        other => unreachable!("{other:?}"),
    }
}

/// Brings an object in piece by piece.
pub(crate) async fn bring(store: &Store, content: &[u8]) -> Stored {
    fill(&store.partial(key_of(content), layout_of(content)).await.unwrap(), content)
}

/// Reads a finished object to its end.
pub(crate) async fn read_all(stored: &Stored) -> Result<Vec<u8>, crate::ReadError> {
    let mut all = Vec::new();
    loop {
        let bytes = stored.read(all.len() as u64, 100_000).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

/// Reads what is whole of a partial, from the start.
pub(crate) async fn read_partial(partial: &Partial) -> Result<Vec<u8>, crate::ReadError> {
    let mut all = Vec::new();
    while partial.readable(all.len() as u64, crate::Unchecked::None) > all.len() as u64 {
        all.extend_from_slice(&partial.read(all.len() as u64, 100_000).await?);
    }
    Ok(all)
}

/// Where an object lies.
pub(crate) fn path_of(dir: &TempDir, key: &ObjectKey) -> std::path::PathBuf {
    crate::disk::places::Places::new(dir.path()).object(key)
}

/// Where a partial lies.
pub(crate) fn partial_path_of(dir: &TempDir, key: &ObjectKey) -> std::path::PathBuf {
    crate::disk::places::Places::new(dir.path()).partial(key)
}

/// Flips a bit of a file.
pub(crate) fn flip(path: &std::path::Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Copies a data directory as a kill -9 would leave it: no handle is closed, nothing is committed.
pub(crate) fn as_after_a_kill(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut waiting = vec![std::path::PathBuf::new()];
    while let Some(part) = waiting.pop() {
        std::fs::create_dir_all(copy.path().join(&part)).unwrap();
        for entry in std::fs::read_dir(dir.path().join(&part)).unwrap() {
            let entry = entry.unwrap();
            let below = part.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(below);
            } else {
                match std::fs::copy(entry.path(), copy.path().join(&below)) {
                    // The index thread removes journals at its own time.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    copied => drop(copied.unwrap()),
                }
            }
        }
    }
    copy
}

/// Bytes and inodes under the trees and the partials, as `du` counts them.
pub(crate) fn on_disk(dir: &TempDir) -> (u64, u64) {
    let (mut bytes, mut inodes) = (0, 0);
    let mut waiting: Vec<_> =
        ["objects", "urls", "partial"].iter().map(|name| dir.path().join(name)).collect();
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            inodes += 1;
            bytes += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}
