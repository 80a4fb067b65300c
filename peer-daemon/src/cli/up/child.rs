//! One process of the cluster while it runs.
//!
//! Owns: the operating system's process, the open end of its input, and the last words it printed. Never: restarts it.
//! The child's input is a pipe this process holds: when we end in whatever way, kill -9 included, the kernel closes it
//! and the child (`exitWithParent`) ends too.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::home::end;
use super::process::{Place, Process};
use super::ready::{Ready, serves};
use crate::cli::failure::{Failure, io};

/// How often a starting process is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Lines of a process's last words that are kept and told.
const LAST_LINES: usize = 20;
/// A longer line is cut: the words are for a person.
const LINE_BYTES: usize = 2000;
/// Configuration for services comes from their files only: what is set for one would be refused by another.
const ENVIRONMENT: &str = "DARNER__";

/// A running process.
#[derive(Debug)]
pub struct Child {
    /// Which one.
    pub process: Process,
    /// Its files.
    pub place: Place,
    /// What it said when it was ready.
    pub ready: Ready,
    running: tokio::process::Child,
    /// Held open for as long as the child shall live.
    input: Option<ChildStdin>,
    words: LastWords,
    readers: JoinSet<()>,
}

impl Child {
    /// Starts the executable with its configuration.
    pub fn start(executable: &Path, process: Process, place: Place) -> Result<Self, Failure> {
        let mut command = plain(executable, &place);
        command.args(["--set", "exitWithParent=true"]);
        // Ctrl-C reaches the whole group of the terminal; the order of the end is ours to choose.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| io("start", executable, &error))?;
        let words = LastWords::default();
        let mut readers = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            readers.spawn(keep(output, words.clone()));
        }
        if let Some(errors) = child.stderr.take() {
            readers.spawn(keep(errors, words.clone()));
        }
        let input = child.stdin.take();
        Ok(Self { process, place, ready: Ready::default(), running: child, input, words, readers })
    }

    /// Waits until it has written its ready file and its admin port answers; the failure tells its last words.
    pub async fn become_ready(&mut self, within: Duration) -> Result<(), Failure> {
        let until = Instant::now() + within;
        loop {
            if let Some(ended) = self.ended() {
                return Err(self.early(ended).await);
            }
            if let Some(ready) = Ready::read(&self.place.ready) {
                if ready.admin.is_none() {
                    self.ready = ready;
                    return Ok(());
                }
                if serves(ready.admin.as_deref().unwrap_or_default()).await {
                    self.ready = ready;
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                let told = format!("{} is not ready after {} s", self.process.name(), within.as_secs());
                return Err(self.told(told));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.try_wait().ok().flatten()
    }

    /// Resolves when it ends.
    pub async fn wait(&mut self) -> Option<ExitStatus> {
        self.running.wait().await.ok()
    }

    /// Words for a process that ended though nobody asked it to.
    pub async fn early(&mut self, status: ExitStatus) -> Failure {
        // Its last words may still be on their way through the pipe; a grandchild could hold it open for ever.
        let readers = &mut self.readers;
        let drained = async { while readers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(Duration::from_secs(1), drained).await);
        self.told(format!("{} ended by itself ({status})", self.process.name()))
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        if let Some(pid) = self.pid() {
            end(pid, Signal::TERM);
        }
    }

    /// Waits for its end until `until`, then kills it. True when it ended by itself.
    pub async fn gone_by(&mut self, until: Instant) -> bool {
        if tokio::time::timeout_at(until, self.running.wait()).await.is_ok() {
            self.input = None;
            return true;
        }
        if let Some(pid) = self.pid() {
            end(pid, Signal::KILL);
        }
        drop(self.running.wait().await);
        false
    }

    /// Its number, while it has not been waited for.
    fn pid(&self) -> Option<Pid> {
        self.running.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
    }

    fn told(&self, what: String) -> Failure {
        let words = self.words.tell();
        let log = self.place.log.display();
        if words.is_empty() {
            Failure::negative(what).hint(format!("its log is {log}"))
        } else {
            let indented: Vec<String> = words.iter().map(|line| format!("  | {line}")).collect();
            Failure::negative(format!("{what}; its last words:\n{}", indented.join("\n")))
                .hint(format!("its log is {log}"))
        }
    }
}

/// Asks the executable to check the configuration without running; the failure is what it says of it.
pub async fn check(executable: &Path, process: Process, place: &Place) -> Result<(), Failure> {
    let mut command = plain(executable, place);
    command.arg("--print-config").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| io("start", executable, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let section = process.part.section();
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::usage(format!(
        "`{section}.config` is not right for {}:\n{}",
        process.name(),
        said.trim_end()
    )))
}

fn plain(executable: &Path, place: &Place) -> Command {
    let mut command = Command::new(executable);
    command.arg("--config").arg(&place.config);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(ENVIRONMENT) {
            command.env_remove(name);
        }
    }
    command
}

/// The last lines of a process, for a failure.
#[derive(Debug, Clone, Default)]
struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LastWords {
    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn tell(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

async fn keep(output: impl AsyncRead + Unpin, words: LastWords) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        match output.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let taken = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
                let room = LINE_BYTES.saturating_sub(line.len());
                line.extend_from_slice(bytes.get(..taken.min(room)).unwrap_or_default());
                let ended = bytes.get(taken.saturating_sub(1)) == Some(&b'\n');
                output.consume(taken);
                if ended {
                    words.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            }
        }
    }
    if !line.is_empty() {
        words.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests;
