//! The files that keep what the feed said: replaced whole, off the async threads.
//!
//! Owns: the write-aside-and-rename. Never: a partly written file, nor an end of the feed because a disk is full: a file
//! that cannot be replaced stays as it was, with a warning.

use std::io;
use std::path::Path;

/// Replaces a file; `what` it keeps is named when that fails.
pub(super) async fn replace(path: &Path, content: Vec<u8>, what: &str) {
    let target = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&target, &content)).await;
    if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
        tracing::warn!(path = %path.display(), %error, "{what} cannot be kept");
    }
}

/// The same, waited for where one may block.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content)?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, path)
}
