//! Where everything lies under the data directory.
//!
//! Owns: the paths. Never: reads or writes content. After a crash: a name alone says what a file is; names that
//! mean nothing here are left alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use darner_lfs::{ObjectKey, Oid, UrlKey};

/// What precedes the digest in the name of a partial of a URL key, so that content chosen to hash like a URL cannot
/// meet it.
const URL_PREFIX: &str = "url-";
/// What follows the name of a partial in the name of its journal.
const JOURNAL_SUFFIX: &str = ".journal";

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    root: PathBuf,
}

/// What a name in the partial directory means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The bytes of a partial.
    Body(ObjectKey),
    /// The journal of a partial.
    Journal(ObjectKey),
    /// Left over from a process that died: to be removed.
    Scrap,
    /// Not ours.
    Foreign,
}

impl Places {
    /// The places under a root.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes the directories.
    pub(crate) fn prepare(&self) -> Result<(), (PathBuf, io::Error)> {
        for dir in [self.root.clone(), self.objects(), self.urls(), self.partials()] {
            fs::create_dir_all(&dir).map_err(|error| (dir.clone(), error))?;
            fs::read_dir(&dir).map_err(|error| (dir.clone(), error))?;
        }
        Ok(())
    }

    /// The data directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The tree of finished objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// The tree of finished contents of URLs.
    pub(crate) fn urls(&self) -> PathBuf {
        self.root.join("urls")
    }

    /// The directory of partials.
    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The index.
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.redb")
    }

    /// The lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// A finished object.
    pub(crate) fn object(&self, key: &ObjectKey) -> PathBuf {
        let tree = match key {
            ObjectKey::Sha256(_) => self.objects(),
            ObjectKey::Url(_) => self.urls(),
        };
        tree.join(Oid::from_bytes(*key.digest()).path())
    }

    /// The bytes of a partial.
    pub(crate) fn partial(&self, key: &ObjectKey) -> PathBuf {
        self.partials().join(partial_name(key))
    }

    /// The journal of a partial.
    pub(crate) fn journal(&self, key: &ObjectKey) -> PathBuf {
        self.partials().join(format!("{}{JOURNAL_SUFFIX}", partial_name(key)))
    }

    /// A file that is about to be removed, or not yet anything.
    pub(crate) fn scrap(&self, turn: u64) -> PathBuf {
        self.partials().join(format!("scrap-{turn}"))
    }

    /// Removes the two directories above an object when they are empty.
    pub(crate) fn remove_empty_parents(&self, key: &ObjectKey) {
        let path = self.object(key);
        for dir in path.ancestors().skip(1).take(2) {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }

    /// Moves a file to a place whose directories may not exist yet.
    pub(crate) fn shift(from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::rename(from, to)
            }
            other => other,
        }
    }

    /// The finished files of both trees, with their sizes. Names that mean nothing are left out.
    pub(crate) fn finished(&self) -> io::Result<Vec<(ObjectKey, u64)>> {
        let mut found = Vec::new();
        for (tree, urls) in [(self.objects(), false), (self.urls(), true)] {
            for path in files_two_levels_down(&tree)? {
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(digest) = name.and_then(|name| name.parse::<Oid>().ok()) else { continue };
                let key = if urls { url_key(digest) } else { ObjectKey::Sha256(digest) };
                let metadata = fs::symlink_metadata(&path);
                if let Ok(metadata) = metadata
                    && metadata.is_file()
                    && self.object(&key) == path
                {
                    found.push((key, metadata.len()));
                }
            }
        }
        Ok(found)
    }

    /// What lies in the directory of partials.
    pub(crate) fn unfinished(&self) -> io::Result<Vec<(Found, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.partials())? {
            let path = entry?.path();
            let meaning = path.file_name().and_then(|name| name.to_str()).map_or(Found::Foreign, meaning_of);
            found.push((meaning, path));
        }
        Ok(found)
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_quietly(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a file could not be removed");
        }
        _ => {}
    }
}

fn partial_name(key: &ObjectKey) -> String {
    let digest = Oid::from_bytes(*key.digest());
    match key {
        ObjectKey::Sha256(_) => digest.to_string(),
        ObjectKey::Url(_) => format!("{URL_PREFIX}{digest}"),
    }
}

fn url_key(digest: Oid) -> ObjectKey {
    ObjectKey::Url(UrlKey::from_bytes(*digest.as_bytes()))
}

fn meaning_of(name: &str) -> Found {
    if name.starts_with("scrap-") {
        return Found::Scrap;
    }
    let (stem, journal) = name.strip_suffix(JOURNAL_SUFFIX).map_or((name, false), |stem| (stem, true));
    let key = match stem.strip_prefix(URL_PREFIX) {
        Some(digest) => digest.parse::<Oid>().map(url_key),
        None => stem.parse::<Oid>().map(ObjectKey::Sha256),
    };
    match key {
        Ok(key) if journal => Found::Journal(key),
        Ok(key) => Found::Body(key),
        Err(_) => Found::Foreign,
    }
}

fn files_two_levels_down(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let mut level = vec![tree.to_owned()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for dir in level {
            match fs::read_dir(&dir) {
                Ok(entries) => next.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        level = next;
    }
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_object_lies_where_git_lfs_would_put_it() {
        let places = Places::new("/data");
        let key = ObjectKey::Sha256(Oid::EMPTY);
        assert_eq!(places.object(&key), PathBuf::from(format!("/data/objects/e3/b0/{}", Oid::EMPTY)));
        let url = ObjectKey::Url(UrlKey::from_bytes([7; 32]));
        assert!(places.object(&url).starts_with("/data/urls/07/07"));
    }

    #[test]
    fn a_url_and_an_object_of_one_digest_do_not_meet() {
        let places = Places::new("/data");
        let url = ObjectKey::Url(UrlKey::from_bytes(*Oid::EMPTY.as_bytes()));
        let object = ObjectKey::Sha256(Oid::EMPTY);
        assert_ne!(places.partial(&url), places.partial(&object));
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(meaning_of(&name(places.partial(&url))), Found::Body(url));
        assert_eq!(meaning_of(&name(places.journal(&url))), Found::Journal(url));
        assert_eq!(meaning_of(&name(places.partial(&object))), Found::Body(object));
        assert_eq!(meaning_of(&name(places.scrap(3))), Found::Scrap);
        assert_eq!(meaning_of("notes.txt"), Found::Foreign);
    }

    #[test]
    fn files_in_a_wrong_place_are_not_objects() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path());
        places.prepare().unwrap();
        let right = places.object(&ObjectKey::Sha256(Oid::EMPTY));
        fs::create_dir_all(right.parent().unwrap()).unwrap();
        fs::write(&right, b"abc").unwrap();
        fs::create_dir_all(dir.path().join("objects/aa/bb")).unwrap();
        fs::write(dir.path().join("objects/aa/bb").join(Oid::EMPTY.to_string()), b"wrong place").unwrap();
        fs::write(dir.path().join("objects/readme"), b"not a directory").unwrap();
        assert_eq!(places.finished().unwrap(), vec![(ObjectKey::Sha256(Oid::EMPTY), 3)]);
    }
}
