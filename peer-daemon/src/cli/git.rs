//! Calls to the user's own git.
//!
//! Owns: how git is run and what counts as its answer. Never: a git library of our own; the user's configuration,
//! helpers and includes are exactly what git makes of them.

use std::io::Write;
use std::process::{Command, Stdio};

use super::failure::Failure;

/// What git said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// True for exit code 0.
    pub well: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error; empty when it went to the terminal.
    pub err: String,
}

/// Runs git and keeps what it says.
pub fn ask(arguments: &[&str]) -> Result<Said, Failure> {
    let output =
        Command::new("git").args(arguments).stdin(Stdio::null()).output().map_err(|error| missing(&error))?;
    Ok(Said {
        well: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The trimmed answer of git, when it has one.
pub fn answer(arguments: &[&str]) -> Option<String> {
    let said = ask(arguments).ok()?;
    said.well.then(|| said.out.trim_end_matches(['\n', '\r']).to_owned())
}

/// Runs git with words on its standard input; what it says to a person goes to the terminal.
pub fn tell(arguments: &[&str], input: &str) -> Result<Said, Failure> {
    let mut child = Command::new("git")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| missing(&error))?;
    if let Some(mut to) = child.stdin.take() {
        // Git may stop reading early; its exit code says whether that was an error.
        drop(to.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(|error| missing(&error))?;
    Ok(Said {
        well: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::new(),
    })
}

fn missing(error: &std::io::Error) -> Failure {
    Failure::negative(format!("cannot run git: {error}")).hint("install git and put it on the PATH")
}
