//! The file that lets a node start without its manager.
//!
//! Owns: its text (one line `darner-feed 1 VERSION SEQUENCE`, then the configuration as it was pushed). Never: a
//! partly written file: it is written beside and renamed. A file that cannot be read or understood counts as absent,
//! with a warning: the node then keeps to its own file until the manager answers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use darner_proto::wanted::Wanted;
use tokio::sync::watch;

use super::{ConfigVersion, kept};

const FIRST_WORDS: &str = "darner-feed 1";

/// What a node remembers of the feed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) config: ConfigVersion,
    pub(super) tombstone_sequence: u64,
}

/// What the file says; nothing when there is none.
pub(super) fn read(path: &Path) -> Kept {
    match std::fs::read(path) {
        Ok(content) => parse(&content).unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "the kept configuration is not understood and ignored");
            Kept::default()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the kept configuration cannot be read");
            Kept::default()
        }
    }
}

fn parse(content: &[u8]) -> Option<Kept> {
    let end = content.iter().position(|&byte| byte == b'\n')?;
    let (head, rest) = content.split_at_checked(end)?;
    let json = rest.get(1..)?;
    let mut words = std::str::from_utf8(head).ok()?.strip_prefix(FIRST_WORDS)?.split_ascii_whitespace();
    let version = words.next()?.parse().ok()?;
    let tombstone_sequence = words.next()?.parse().ok()?;
    let wanted = Wanted::parse(json).ok()?;
    Some(Kept { config: ConfigVersion { version, wanted, json: json.to_vec() }, tombstone_sequence })
}

fn text(config: &ConfigVersion, tombstone_sequence: u64) -> Vec<u8> {
    let mut text = format!("{FIRST_WORDS} {} {tombstone_sequence}\n", config.version).into_bytes();
    text.extend_from_slice(if config.json.is_empty() { b"{}" } else { &config.json });
    text
}

/// Write the file at every change, for as long as the feed lives.
pub(super) async fn keep(
    path: PathBuf,
    mut config: watch::Receiver<Arc<ConfigVersion>>,
    mut applied: watch::Receiver<u64>,
) {
    loop {
        let changed = tokio::select! {
            changed = config.changed() => changed,
            changed = applied.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let content = text(&config.borrow_and_update(), *applied.borrow_and_update());
        kept::replace(&path, content, "the configuration").await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(version: u64, json: &str) -> ConfigVersion {
        ConfigVersion {
            version,
            wanted: Wanted::parse(json.as_bytes()).unwrap(),
            json: json.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feed.state");
        let wanted = config(7, r#"{"serve":false}"#);
        kept::write(&path, &text(&wanted, 12)).unwrap();
        assert_eq!(read(&path), Kept { config: wanted, tombstone_sequence: 12 });
    }

    #[test]
    fn an_absent_or_damaged_file_is_no_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feed.state");
        assert_eq!(read(&path), Kept::default());
        for damaged in
            ["", "darner-feed 1 7", "darner-feed 2 7 1\n{}", "darner-feed 1 x 1\n{}", "darner-feed 1 7 1\n{"]
        {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), Kept::default(), "{damaged}");
        }
    }

    #[tokio::test]
    async fn every_change_reaches_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feed.state");
        let configs = watch::Sender::new(Arc::new(ConfigVersion::default()));
        let applied = watch::Sender::new(0);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(keep(path.clone(), configs.subscribe(), applied.subscribe()));
        configs.send_replace(Arc::new(config(3, r#"{"public":[]}"#)));
        applied.send_replace(9);
        drop((configs, applied));
        tasks.join_all().await;
        let kept = read(&path);
        assert_eq!((kept.config.version, kept.tombstone_sequence), (3, 9));
    }
}
