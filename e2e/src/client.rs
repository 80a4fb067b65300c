//! A person with git and git-lfs: a home of their own, no configuration of the machine, no proxy of its environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use darner_lfs::Oid;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

/// Longer than anything a test waits for; a client that hangs is a failure with words.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its output.
    pub out: String,
    /// Its complaints.
    pub err: String,
}

impl Ran {
    /// This, when it ended well; its complaints otherwise.
    pub fn well(self) -> anyhow::Result<Self> {
        anyhow::ensure!(self.ok, "the command failed\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        Ok(self)
    }
}

/// One person's home.
#[derive(Debug)]
pub struct Client {
    home: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Client {
    /// A new home with a name, an address and the LFS filter, nothing else.
    pub fn new() -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("darner-client-").tempdir()?;
        let settings = "[user]\n\tname = Tester\n\temail = tester@example.org\n\
            [init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n\
            [filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n\
            \tprocess = git-lfs filter-process\n\trequired = true\n";
        std::fs::write(home.path().join(".gitconfig"), settings)?;
        Ok(Self { home, environment: Vec::new() })
    }

    /// A place in the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Sets a variable for all its commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a line to the global configuration.
    pub async fn config(&self, key: &str, value: &str) -> anyhow::Result<()> {
        self.git(None, ["config", "--global", "--add", key, value]).await?.well()?;
        Ok(())
    }

    /// Runs git, in a directory of the home or in the home itself.
    pub async fn git<A: AsRef<OsStr>>(
        &self,
        directory: Option<&str>,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Ran> {
        self.run("git", directory, arguments).await
    }

    /// Runs a program as this person.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        directory: Option<&str>,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Ran> {
        let mut command = Command::new(program.as_ref());
        command
            .args(arguments)
            .current_dir(directory.map_or_else(|| self.home.path().to_owned(), |name| self.path(name)));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("LC_ALL", "C");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let name = program.as_ref().to_string_lossy().into_owned();
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output =
            output.with_context(|| format!("{name} hangs"))?.with_context(|| format!("running {name}"))?;
        Ok(Ran {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Clones into a directory of the home and checks out every LFS file.
    pub async fn clone(&self, url: &str, into: &str) -> anyhow::Result<Ran> {
        self.git(None, ["clone", "-q", url, into]).await
    }

    /// Says which planted files of a clone are not, byte for byte, what was planted.
    pub fn check(&self, clone: &str, planted: &[(String, Oid, u64)]) -> anyhow::Result<()> {
        for (path, oid, size) in planted {
            let file = self.path(clone).join(path);
            let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
            anyhow::ensure!(u64::try_from(content.len())? == *size, "{path} has {} bytes", content.len());
            let found = Oid::from_bytes(Sha256::digest(&content).into());
            anyhow::ensure!(found == *oid, "{path} hashes to {found}, not {oid}");
        }
        Ok(())
    }

    /// The home itself.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}
