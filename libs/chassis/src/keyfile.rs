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
type Stamp = (u64, u64, i64, i64, i64, i64);

/// A key file that follows its file.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    keys: ArcSwap<Vec<Key>>,
    stamp: Mutex<Option<Stamp>>,
}

impl KeyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, KeyFileError> {
        // The stamp is taken first: a change during the read is then seen at the next use.
        let stamp = stamp(path);
        let keys = read(path)?;
        if keys.is_empty() {
            return Err(KeyFileError::Empty { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), keys: ArcSwap::from_pointee(keys), stamp: Mutex::new(stamp) })
    }

    /// The keys as the file has them now.
    pub(crate) fn current(&self) -> Arc<Vec<Key>> {
        let now = stamp(&self.path);
        let mut seen = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != now {
            *seen = now;
            match read(&self.path) {
                Ok(keys) if !keys.is_empty() => self.keys.store(Arc::new(keys)),
                Ok(_) => tracing::warn!(file = %self.path.display(), "key file holds no key; keeping the old ones"),
                Err(error) => tracing::warn!(%error, "key file unusable; keeping the old keys"),
            }
        }
        drop(seen);
        self.keys.load_full()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

/// Whether this text can be a key id.
pub(crate) fn is_kid(kid: &str) -> bool {
    (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
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

/// Writes a file readable by its owner only, replacing an old one in one step.
pub(crate) fn write(path: &Path, content: &str) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fresh = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    // A leftover of a killed process may have other permissions.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
