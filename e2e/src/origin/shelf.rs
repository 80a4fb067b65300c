//! Repositories, their users, and the objects on disk. Objects are kept once; which repository has which object is
//! a link, so a forge here never grants what was not pushed to that very repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use darner_lfs::Oid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Who may do what with one repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// Reading needs a user.
    pub private: bool,
    /// User name to password. With none at all anybody may write.
    pub users: BTreeMap<String, String>,
}

/// What an `Authorization` header amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// No credential.
    Nobody,
    /// A user of this repository.
    User(String),
    /// A credential that is not good.
    Stranger,
}

#[derive(Debug, Default)]
struct Repository {
    access: Access,
    objects: BTreeMap<Oid, u64>,
}

/// A file for a repository made without a client: LFS content of `size` bytes grown from `seed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planted {
    /// Path in the work tree.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Two files of one seed and size are the same object.
    pub seed: u64,
}

/// All repositories of one origin.
#[derive(Debug)]
pub struct Shelf {
    root: PathBuf,
    repositories: Mutex<BTreeMap<String, Repository>>,
}

impl Shelf {
    /// An empty shelf under `root`.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        for part in ["git", "objects", "files", "incoming"] {
            std::fs::create_dir_all(root.join(part))?;
        }
        Ok(Self { root: root.to_owned(), repositories: Mutex::default() })
    }

    /// Where bare repositories lie: `org/name.git`.
    pub fn git_root(&self) -> PathBuf {
        self.root.join("git")
    }

    /// Where plain files lie.
    pub fn files_root(&self) -> PathBuf {
        self.root.join("files")
    }

    /// A place for bytes on their way in.
    pub fn incoming(&self) -> anyhow::Result<tempfile::NamedTempFile> {
        Ok(tempfile::NamedTempFile::new_in(self.root.join("incoming"))?)
    }

    /// Where an object lies.
    pub fn object(&self, oid: Oid) -> PathBuf {
        let name = oid.to_string();
        let (a, b) = (name.get(..2).unwrap_or_default(), name.get(2..4).unwrap_or_default());
        self.root.join("objects").join(a).join(b).join(&name)
    }

    /// Keeps bytes that were checked by the caller to hash to `oid`.
    pub fn keep(&self, oid: Oid, content: tempfile::NamedTempFile) -> anyhow::Result<()> {
        let place = self.object(oid);
        std::fs::create_dir_all(place.parent().context("an object has a directory")?)?;
        content.persist(place)?;
        Ok(())
    }

    /// A new, empty bare repository.
    pub fn create(&self, name: &str, access: Access) -> anyhow::Result<()> {
        let path = self.git_root().join(format!("{name}.git"));
        run(git(None).args(["init", "-q", "--bare", "--initial-branch=main"]).arg(&path))?;
        run(git(Some(&path)).args(["config", "http.receivepack", "true"]))?;
        self.with(|all| all.insert(name.to_owned(), Repository { access, ..Repository::default() }));
        Ok(())
    }

    /// Commits LFS files to a repository as a client would have pushed them; the objects come into being here.
    pub fn plant(&self, name: &str, files: &[Planted]) -> anyhow::Result<Vec<(String, Oid, u64)>> {
        let mut stream = String::from(
            "commit refs/heads/main\ncommitter Origin <origin@example.org> 1700000000 +0000\ndata 5\nplant\n",
        );
        let tip = ["rev-parse", "-q", "--verify", "refs/heads/main"];
        let path = self.git_root().join(format!("{name}.git"));
        if git(Some(&path)).args(tip).output()?.status.success() {
            stream.push_str("from refs/heads/main^0\n");
        }
        push_file(&mut stream, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        let mut planted = Vec::new();
        for file in files {
            let oid = self.grow(file)?;
            let pointer =
                format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", file.size);
            push_file(&mut stream, &file.path, &pointer);
            self.link(name, oid, file.size);
            planted.push((file.path.clone(), oid, file.size));
        }
        let mut import = git(Some(&path));
        import.args(["fast-import", "--quiet"]).stdin(std::process::Stdio::piped());
        let mut child = import.spawn().context("git fast-import")?;
        child.stdin.take().context("stdin")?.write_all(stream.as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "git fast-import failed");
        Ok(planted)
    }

    /// Writes the content of a planted file.
    fn grow(&self, file: &Planted) -> anyhow::Result<Oid> {
        let mut place = self.incoming()?;
        let mut hash = Sha256::new();
        let mut sown = Sown::new(file.seed);
        let mut left = file.size;
        let mut buffer = vec![0_u8; 256 * 1024];
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..take).context("within the buffer")?;
            sown.fill(part);
            hash.update(&*part);
            place.write_all(part)?;
            left -= u64::try_from(take)?;
        }
        let oid = Oid::from_bytes(hash.finalize().into());
        self.keep(oid, place)?;
        Ok(oid)
    }

    /// The repository has the object.
    pub fn link(&self, name: &str, oid: Oid, size: u64) {
        self.with(|all| {
            if let Some(repository) = all.get_mut(name) {
                repository.objects.insert(oid, size);
            }
        });
    }

    /// The size of an object of a repository.
    pub fn linked(&self, name: &str, oid: Oid) -> Option<u64> {
        self.with(|all| all.get(name)?.objects.get(&oid).copied())
    }

    /// Whether the repository exists.
    pub fn has(&self, name: &str) -> bool {
        self.with(|all| all.contains_key(name))
    }

    /// All repositories and the objects in them.
    pub fn list(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.with(|all| {
            let oids = |repository: &Repository| repository.objects.keys().map(ToString::to_string).collect();
            all.iter().map(|(name, repository)| (name.clone(), oids(repository))).collect()
        })
    }

    /// Changes who may do what.
    pub fn set_access(&self, name: &str, access: Access) -> bool {
        self.with(|all| all.get_mut(name).map(|repository| repository.access = access).is_some())
    }

    /// Who presents this `Authorization` header to a repository.
    pub fn caller(&self, name: &str, authorization: Option<&str>) -> Caller {
        let Some(authorization) = authorization else { return Caller::Nobody };
        let decoded = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, text)| STANDARD.decode(text.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Caller::Stranger;
        };
        let known = self.with(|all| {
            all.get(name).is_some_and(|repository| {
                repository.access.users.get(user).is_some_and(|expected| expected == password)
            })
        });
        if known { Caller::User(user.to_owned()) } else { Caller::Stranger }
    }

    /// Whether a caller may read (or write).
    pub fn may(&self, name: &str, caller: &Caller, write: bool) -> bool {
        self.with(|all| {
            let Some(repository) = all.get(name) else { return false };
            let open = if write { repository.access.users.is_empty() } else { !repository.access.private };
            open || matches!(caller, Caller::User(_))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Repository>) -> T) -> T {
        act(&mut self.repositories.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes grown from a seed (xorshift): they do not compress and no two pieces are alike.
#[derive(Debug)]
pub struct Sown(u64);

impl Sown {
    /// The bytes of one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// The next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for word in out.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bytes = self.0.to_le_bytes();
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }
}

/// A git that reads nobody's configuration.
pub fn git(directory: Option<&Path>) -> std::process::Command {
    let mut git = std::process::Command::new("git");
    if let Some(directory) = directory {
        git.arg("-C").arg(directory);
    }
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git
}

fn run(command: &mut std::process::Command) -> anyhow::Result<()> {
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn push_file(stream: &mut String, path: &str, content: &str) {
    let length = content.len().to_string();
    for part in ["M 100644 inline ", path, "\ndata ", &length, "\n", content, "\n"] {
        stream.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn a_private_repository_opens_to_its_users_only() {
        let home = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(home.path()).unwrap();
        let users = BTreeMap::from([("ann".to_owned(), "pw".to_owned())]);
        shelf.create("o/r", Access { private: true, users }).unwrap();
        let ann = shelf.caller("o/r", Some(&basic("ann:pw")));
        assert_eq!(ann, Caller::User("ann".to_owned()));
        assert!(shelf.may("o/r", &ann, true));
        let eve = shelf.caller("o/r", Some(&basic("ann:guess")));
        assert_eq!(eve, Caller::Stranger);
        assert!(!shelf.may("o/r", &eve, false));
        assert!(!shelf.may("o/r", &Caller::Nobody, false));
    }

    #[test]
    fn planted_files_are_commits_with_pointers_and_objects_on_disk() {
        let home = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(home.path()).unwrap();
        shelf.create("o/r", Access::default()).unwrap();
        let file = |seed| Planted { path: format!("{seed}.bin"), size: 100_000, seed };
        let planted = shelf.plant("o/r", &[file(1), file(2)]).unwrap();
        shelf.plant("o/r", &[file(3)]).unwrap();
        let (_, oid, size) = planted[0];
        assert_eq!(std::fs::metadata(shelf.object(oid)).unwrap().len(), size);
        assert_eq!(shelf.linked("o/r", oid), Some(100_000));
        let tree = git(Some(&home.path().join("git/o/r.git"))).args(["ls-tree", "main"]).output().unwrap();
        assert_eq!(String::from_utf8(tree.stdout).unwrap().lines().count(), 4);
    }

    #[test]
    fn one_seed_grows_one_content() {
        let (mut a, mut b) = ([0; 100], [0; 100]);
        Sown::new(5).fill(&mut a);
        Sown::new(5).fill(&mut b);
        assert_eq!(a, b);
        Sown::new(6).fill(&mut b);
        assert_ne!(a, b);
    }
}
