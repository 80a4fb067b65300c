//! Key files: `kid base64(32 bytes)` per line, `#` comments, read again when the file changes.
//!
//! Owns: the form, the ids (`[A-Za-z0-9_-]`, 1 to 64), writing with mode 0600, and noticing a change by (inode, length,
//! mtime, ctime) at every use: a `stat` costs a microsecond, and a mounted Secret changes behind a symbolic link. Never: logs
//! a key. A file that is damaged or gone after it was read once keeps the keys it had, with one warning per change.

use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("key file {path}: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of it is not a key.
    #[error("key file {path}, line {line}: expected `KID BASE64` with 32 bytes", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error("key file {path} holds no key", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A key id is not one.
    #[error("`{kid}` is no key id: 1 to 64 of A-Z a-z 0-9 _ -")]
    Kid {
        /// What was given.
        kid: String,
    },
}

/// One key of a file.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) bytes: [u8; 32],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// What tells one state of a file from the next: inode, length, modification and change time.
pub(crate) type Stamp = (u64, u64, i64, i64, i64, i64);

/// A key file that follows its file.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    keys: ArcSwap<Vec<Key>>,
    seen: ArcSwap<Option<Stamp>>,
    /// Held by whoever reads the file anew.
    reading: Mutex<()>,
}

impl KeyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, KeyFileError> {
        // The stamp is taken first: a change during the read is then seen at the next use.
        let stamp = stamp(path);
        let keys = read(path)?;
        if keys.is_empty() {
            return Err(KeyFileError::Empty { path: path.to_owned() });
        }
        let (keys, seen) = (ArcSwap::from_pointee(keys), ArcSwap::from_pointee(stamp));
        Ok(Self { path: path.to_owned(), keys, seen, reading: Mutex::new(()) })
    }

    /// The keys as the file has them now.
    pub(crate) fn current(&self) -> Arc<Vec<Key>> {
        let now = stamp(&self.path);
        if **self.seen.load() == now {
            return self.keys.load_full();
        }
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if **self.seen.load() != now {
            match read(&self.path) {
                Ok(keys) if !keys.is_empty() => self.keys.store(Arc::new(keys)),
                Ok(_) => {
                    tracing::warn!(file = %self.path.display(), "key file holds no key; keeping the old ones");
                }
                Err(error) => tracing::warn!(%error, "key file unusable; keeping the old keys"),
            }
            // Last: who finds the stamp finds its keys.
            self.seen.store(Arc::new(now));
        }
        drop(reading);
        self.keys.load_full()
    }
}

pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

/// Whether this text can be a key id.
pub(crate) fn is_kid(kid: &str) -> bool {
    (1..=64).contains(&kid.len())
        && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Reads all keys of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KeyFileError::Unreadable { path: path.to_owned(), source })?;
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, words)| parse(words).ok_or_else(|| KeyFileError::Line { path: path.to_owned(), line }))
        .collect()
}

fn parse(line: &str) -> Option<Key> {
    let (kid, key) = line.split_once(char::is_whitespace)?;
    let bytes = STANDARD.decode(key.trim()).ok()?.try_into().ok()?;
    is_kid(kid).then(|| Key { kid: kid.to_owned(), bytes })
}

/// Writes a new file with one random key; the id is returned. An existing file is left alone.
pub(crate) fn generate(path: &Path) -> io::Result<String> {
    let mut random = [0; 32 + 4];
    crate::clock::Random::fill(&crate::clock::System, &mut random);
    let (key, id) = random.split_at(32);
    let kid = format!("k{}", hex::encode(id));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{kid} {}\n", STANDARD.encode(key)).as_bytes())?;
    file.sync_all()?;
    Ok(kid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn line(kid: &str, byte: u8) -> String {
        format!("{kid} {}\n", STANDARD.encode([byte; 32]))
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, format!("# ours\n\n{}  {}", line("a", 1), line("b-2_C", 2))).unwrap();
        let keys = read(&path).unwrap();
        let kids: Vec<_> = keys.iter().map(|key| key.kid.as_str()).collect();
        assert_eq!(kids, ["a", "b-2_C"]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_its_content_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        for bad in ["kid", "kid c2hvcnQ=", "ki/d AAAA", "kid !!!!"] {
            std::fs::write(&path, format!("{}{bad}\n", line("a", 1))).unwrap();
            let words = read(&path).unwrap_err().to_string();
            assert!(words.contains("line 2") && !words.contains(bad), "{words}");
        }
    }

    #[test]
    fn a_file_without_keys_is_refused_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        assert!(KeyFile::open(&path).unwrap_err().to_string().contains("keys"));
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(KeyFile::open(&path), Err(KeyFileError::Empty { .. })));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_damaged_one_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, line("a", 1)).unwrap();
        let file = KeyFile::open(&path).unwrap();
        std::fs::write(&path, format!("{}{}", line("b", 2), line("a", 1))).unwrap();
        assert_eq!(file.current().len(), 2);
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(file.current().len(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.current().len(), 2);
        std::fs::write(&path, line("c", 3)).unwrap();
        assert_eq!(file.current().first().unwrap().kid, "c");
    }

    #[test]
    fn a_generated_file_belongs_to_its_owner_only_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let kid = generate(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().first().unwrap().kid, kid);
        assert_eq!(generate(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn no_key_is_shown_in_debug_output() {
        let key = Key { kid: "a".to_owned(), bytes: [0xAB; 32] };
        assert!(!format!("{key:?}").contains("171"));
    }
}
