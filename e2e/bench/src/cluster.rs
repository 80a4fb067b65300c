//! A cluster of real processes by `darner up`, and what can be read off it from outside.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::client::Target;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    child: Child,
    pub(crate) told: Value,
    _stdout: BufReader<ChildStdout>,
    data: tempfile::TempDir,
}

impl Cluster {
    /// `darner up --json` with these further arguments.
    pub(crate) fn up(bin: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("darner-bench-").tempdir()?;
        let mut child = Command::new(bin.join("darner"))
            .args(["up", "--json", "--port", "0", "--data"])
            .arg(data.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("darner up")?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let told = serde_json::from_str(&line).with_context(|| format!("darner up said {line:?}"))?;
        Ok(Self { child, told, _stdout: stdout, data })
    }

    /// Ends it; its data, which goes when it is dropped.
    pub(crate) fn end(mut self) -> anyhow::Result<tempfile::TempDir> {
        Ok(std::mem::replace(&mut self.data, tempfile::tempdir()?))
    }

    /// `host:port` of the git-facing port of a daemon.
    pub(crate) fn proxy(&self, daemon: usize) -> anyhow::Result<String> {
        let text = self.told.pointer(&format!("/peerDaemons/{daemon}/proxy")).and_then(Value::as_str);
        Ok(text.context("a daemon's proxy")?.to_owned())
    }

    /// Process ids by part.
    pub(crate) fn pids(&self) -> Vec<(String, u64)> {
        let mut pids = Vec::new();
        let mut add = |name: &str, value: Option<&Value>| {
            if let Some(pid) = value.and_then(|part| part.get("pid")).and_then(Value::as_u64) {
                pids.push((name.to_owned(), pid));
            }
        };
        add("manager", self.told.get("manager"));
        for (part, name) in
            [("schedulers", "scheduler"), ("seedPeers", "seed-peer"), ("peerDaemons", "peer-daemon")]
        {
            for value in self.told.get(part).and_then(Value::as_array).into_iter().flatten() {
                add(name, Some(value));
            }
        }
        pids
    }

    /// A Batch through a daemon (mode B): where and how to GET each object.
    pub(crate) fn batch(
        &self,
        daemon: usize,
        forge: &str,
        repository: &str,
        objects: &[(String, u64)],
    ) -> anyhow::Result<Vec<Target>> {
        let endpoint = format!("http://{}/http/{forge}/{repository}.git/info/lfs", self.proxy(daemon)?);
        batch(&endpoint, objects)
    }
}

/// A Batch at an endpoint: where and how to GET each object.
pub(crate) fn batch(endpoint: &str, objects: &[(String, u64)]) -> anyhow::Result<Vec<Target>> {
    let json = "application/vnd.git-lfs+json".to_owned();
    let headers = vec![("accept".to_owned(), json.clone()), ("content-type".to_owned(), json)];
    let list: Vec<Value> =
        objects.iter().map(|(oid, size)| serde_json::json!({"oid": oid, "size": size})).collect();
    let body = serde_json::json!({"operation": "download", "transfers": ["basic"], "objects": list});
    let answer =
        Target::parse(&format!("{endpoint}/objects/batch"), headers)?.post(body.to_string().as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let granted = answer.get("objects").and_then(Value::as_array).context("objects")?;
    granted.iter().map(target).collect()
}

fn target(object: &Value) -> anyhow::Result<Target> {
    let action = object.pointer("/actions/download").with_context(|| format!("not granted: {object}"))?;
    let headers = action.get("header").and_then(Value::as_object).into_iter().flatten();
    let headers =
        headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Target::parse(action.get("href").and_then(Value::as_str).context("href")?, headers)
}

/// Resident memory of a process, MiB: now, and at its highest.
pub(crate) fn rss_mib(pid: u64) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find(|line| line.starts_with(name)).context("a field of /proc")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse::<f64>()? / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// CPU a process has taken so far, user and system together.
pub(crate) fn cpu(pid: u64) -> anyhow::Result<Duration> {
    ticks(&format!("/proc/{pid}/stat"), 11)
}

/// CPU that the ended children of this process had taken, user and system together.
pub(crate) fn cpu_of_ended() -> anyhow::Result<Duration> {
    ticks("/proc/self/stat", 13)
}

/// Two neighbouring fields of a `stat`, the first so many after the name (proc(5)).
fn ticks(stat: &str, first: usize) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(stat)?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks = fields.split_whitespace().skip(first).take(2).map(str::parse::<u64>);
    // A tick is 10 ms on every Linux there is.
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        if Command::new("kill").args(["-TERM", &pid]).status().is_err() {
            eprintln!("the cluster {pid} could not be ended");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("the cluster {pid}: {error}");
        }
    }
}
