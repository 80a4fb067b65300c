//! The last epoch on disk: a scheduler whose clock went back still speaks of later epochs than before.
//!
//! After a crash the file may lag by the epochs of the last moments; the clock covers those.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

/// Where the last epoch is kept, and what it was.
#[derive(Debug)]
pub(super) struct Kept {
    path: Option<PathBuf>,
    last: u64,
}

impl Kept {
    /// Reads the file of this data directory; an empty path keeps nothing.
    pub(super) async fn open(data: &Path) -> std::io::Result<Self> {
        if data.as_os_str().is_empty() {
            return Ok(Self { path: None, last: 0 });
        }
        tokio::fs::create_dir_all(data).await?;
        let path = data.join("epoch");
        let last = match tokio::fs::read_to_string(&path).await {
            // A damaged file counts as none: the clock is enough then.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path: Some(path), last })
    }

    /// The newest epoch of earlier runs.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Writes every epoch that is still the newest when its turn comes.
    pub(super) async fn keep(self, mut epochs: watch::Receiver<u64>) {
        let Some(path) = self.path else { return };
        let beside = path.with_extension("new");
        loop {
            let epoch = *epochs.borrow_and_update();
            let written = tokio::fs::write(&beside, epoch.to_string()).await;
            let kept = match written {
                Ok(()) => tokio::fs::rename(&beside, &path).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                tracing::warn!(%error, "epoch cannot be kept");
            }
            if epochs.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_epoch_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path()).await.unwrap();
        assert_eq!(kept.last(), 0);
        let (said, epochs) = watch::channel(41);
        said.send_replace(42);
        drop(said);
        kept.keep(epochs).await;
        assert_eq!(Kept::open(folder.path()).await.unwrap().last(), 42);
    }

    #[tokio::test]
    async fn a_damaged_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("epoch"), "not a number").unwrap();
        assert_eq!(Kept::open(folder.path()).await.unwrap().last(), 0);
    }

    #[tokio::test]
    async fn a_data_directory_that_is_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Kept::open(&file).await.is_err());
    }
}
