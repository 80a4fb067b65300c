//! A whole cluster as a person starts it: `darner up --json`, real processes, known by the one line it prints.
//! Dropping a [`Cluster`] ends its processes by their ids, so a failing test leaves nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{apart, http, wait};

/// What `darner up` is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--peers`.
    pub peers: usize,
    /// `--seeds`.
    pub seeds: usize,
    /// `--data`; a new directory when absent.
    pub data: Option<PathBuf>,
    /// `--allow-upstream`, each.
    pub upstreams: Vec<String>,
    /// Anything else, as it is.
    pub more: Vec<String>,
    /// What to mount for its eyes only (see `apart`), as a script; `$HOME_OF` is the data directory.
    pub apart: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { peers: 1, seeds: 1, data: None, upstreams: Vec::new(), more: Vec::new(), apart: None }
    }
}

/// One process, as `darner up --json` tells it; which addresses it has depends on what it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Admin port, `host:port`.
    pub admin: String,
    /// Log file.
    pub log: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Git-facing port of a daemon, `host:port`.
    pub proxy: String,
    /// Piece port, `host:port`.
    pub piece: String,
    /// gRPC port, `host:port`.
    pub grpc: String,
    /// The manager's address, a URL.
    pub url: String,
    /// Zone label of a daemon.
    pub zone: String,
}

/// Where the first password of the console is.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    /// User name.
    pub user: String,
    /// File with the password.
    #[serde(rename = "passwordFile")]
    pub password_file: PathBuf,
}

/// The line `darner up --json` prints.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The manager.
    pub manager: Process,
    /// The schedulers.
    pub schedulers: Vec<Process>,
    /// The seed peers.
    pub seed_peers: Vec<Process>,
    /// The daemons.
    pub peer_daemons: Vec<Process>,
    /// First account of the console.
    pub admin: Admin,
}

impl Line {
    /// Every process but `darner up` itself.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        let rest = self.schedulers.iter().chain(&self.seed_peers).chain(&self.peer_daemons);
        [&self.manager].into_iter().chain(rest)
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    up: Child,
    line: Line,
    complaints: tempfile::NamedTempFile,
    data: PathBuf,
    owned: Option<tempfile::TempDir>,
    /// True once every process is gone: another cluster may live in the same directory since.
    ended: bool,
}

impl std::ops::Deref for Cluster {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}

/// A built program of the workspace, found beside the test executable or in `DARNER_BIN_DIR`.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let directory = if let Some(directory) = std::env::var_os("DARNER_BIN_DIR") {
        PathBuf::from(directory)
    } else {
        let own = std::env::current_exe()?;
        let directory = own.parent().context("a program lies in a directory")?;
        let in_deps = directory.file_name().is_some_and(|name| name == "deps");
        directory.parent().filter(|_| in_deps).unwrap_or(directory).to_owned()
    };
    let path = directory.join(name);
    anyhow::ensure!(path.try_exists()?, "{} is not built: run `cargo build --workspace`", path.display());
    Ok(path)
}

impl Cluster {
    /// Starts a cluster and waits for its line.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let owned = match options.data {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("darner-cluster-").tempdir()?),
        };
        let data = options.data.clone().or_else(|| owned.as_ref().map(|owned| owned.path().to_owned()));
        let data = data.context("a data directory")?;
        let mut command = command(options, &data)?;
        command.args(["up", "--json", "--port", "0", "--data"]).arg(&data);
        command.args(["--peers", &options.peers.to_string(), "--seeds", &options.seeds.to_string()]);
        for upstream in &options.upstreams {
            command.args(["--allow-upstream", upstream]);
        }
        // For a person who looks for something: `DARNER_E2E_VALUES` may turn logs up.
        if let Some(values) =
            std::env::var_os("DARNER_E2E_VALUES").filter(|_| !options.more.contains(&"--config".to_owned()))
        {
            command.arg("--config").arg(values);
        }
        command.args(&options.more).stdin(Stdio::null()).stdout(Stdio::piped());
        let complaints = tempfile::NamedTempFile::new()?;
        let mut up = command.stderr(complaints.reopen()?).spawn().context("darner up")?;
        let Some(line) = first_line(&mut up).await? else {
            up.start_kill().ok();
            anyhow::bail!("darner up said nothing: {}", std::fs::read_to_string(complaints.path())?);
        };
        let line = serde_json::from_str(&line).with_context(|| format!("the line of darner up: {line}"))?;
        Ok(Self { up, line, complaints, data, owned, ended: false })
    }

    /// The cluster's data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What `darner up` has said on stderr so far.
    pub fn complaints(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.complaints.path())?)
    }

    /// The processes of this cluster that still run: id to command line.
    pub fn running(&self) -> anyhow::Result<BTreeMap<i32, String>> {
        let mut found = leftovers(&self.data)?;
        for process in self.line.all() {
            // A zombie has no command line any more.
            let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let name = line.split([' ', '\n']).next().and_then(|path| path.rsplit('/').next());
            if ["manager", "scheduler", "seed-peer", "peer-daemon"].map(Some).contains(&name) {
                found.insert(process.pid, line);
            }
        }
        Ok(found)
    }

    /// Git-facing address of one daemon.
    pub fn proxy(&self, daemon: usize) -> anyhow::Result<&str> {
        let daemon = self.line.peer_daemons.get(daemon).context("so many daemons")?;
        Ok(&daemon.proxy)
    }

    /// Asks the cluster to end as a person would, and checks that it does: exit 0 and no process left.
    pub async fn stop(mut self) -> anyhow::Result<Option<tempfile::TempDir>> {
        let pid = i32::try_from(self.up.id().context("darner up is gone already")?)?;
        signal(pid, Signal::TERM)?;
        let status = tokio::time::timeout(Duration::from_secs(40), self.up.wait()).await;
        let status = status.context("darner up does not end at SIGTERM")??;
        anyhow::ensure!(status.success(), "darner up ended with {status}");
        let left = self.running()?;
        anyhow::ensure!(left.is_empty(), "processes left behind: {left:?}");
        Ok(self.owned.take())
    }

    /// Ends every process at once, by `kill -9`; the data stays.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.end();
        self.up.wait().await?;
        let gone = || async { Ok(self.running()?.is_empty().then_some(())) };
        wait::until("every process is gone", gone).await?;
        self.ended = true;
        Ok(())
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        for pid in self.running().unwrap_or_default().keys() {
            signal(*pid, Signal::KILL).ok();
        }
        self.up.start_kill().ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

/// `darner`, in a namespace of its own where that is wanted.
fn command(options: &Options, data: &Path) -> anyhow::Result<Command> {
    let Some(script) = &options.apart else { return Ok(Command::new(program("darner")?)) };
    let words = apart::command(script);
    let (first, rest) = words.split_first().context("a command")?;
    let mut command = Command::new(first);
    command.args(rest).arg(program("darner")?).env("HOME_OF", data);
    Ok(command)
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid).context("a process id is positive")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// The processes whose command line names this directory: id to command line.
pub fn leftovers(data: &Path) -> anyhow::Result<BTreeMap<i32, String>> {
    let data = data.to_str().context("a path in UTF-8")?;
    let mut found = BTreeMap::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(data) {
            found.insert(pid, line);
        }
    }
    Ok(found)
}

/// The first line of `darner up`, within a minute.
async fn first_line(up: &mut Child) -> anyhow::Result<Option<String>> {
    let stdout = up.stdout.take().context("stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await;
    Ok(line.unwrap_or(Ok(None))?)
}

/// What a process counts, as it stands now.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// Reads `/metrics` of an admin port.
    pub async fn of(admin: &str) -> anyhow::Result<Self> {
        Ok(Self(http::get(admin, "/metrics").await?.text()))
    }

    /// The sum of a metric over all lines that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let lines = self.0.lines().filter(|line| {
            let (found, rest) = line.split_at_checked(name.len()).unwrap_or_default();
            found == name && rest.starts_with(['{', ' '])
        });
        let labelled = lines.filter(|line| {
            labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        });
        labelled.filter_map(|line| line.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_lines_that_carry_the_labels() {
        let metrics = Metrics(
            "# HELP x\nx_total{kind=\"content\",role=\"seed\"} 2\nx_total{kind=\"probe\",role=\"seed\"} 3\n\
             x_total_other 9\ny 4\n"
                .to_owned(),
        );
        assert_eq!(metrics.sum("x_total", &[("role", "seed")]), 5);
        assert_eq!(metrics.sum("x_total", &[("kind", "probe")]), 3);
        assert_eq!(metrics.sum("y", &[]), 4);
        assert_eq!(metrics.sum("z", &[]), 0);
    }

    #[test]
    fn this_process_is_found_by_what_its_command_line_names() {
        let own = std::env::args().next().unwrap();
        let found = leftovers(Path::new(&own)).unwrap();
        assert!(found.contains_key(&i32::try_from(std::process::id()).unwrap()));
    }
}
