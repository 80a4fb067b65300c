//! A process of the house, seen from outside: exit codes, ready file, signals.

#![allow(clippy::unwrap_used, reason = "this whole file is a test; its helpers fail it too")]

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The example beside this test's own executable.
fn quiet() -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("examples").join("quiet");
    assert!(
        path.try_exists().unwrap(),
        "built by `cargo test`; beside `--test process` say `--examples` too"
    );
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Self { dir };
        let ready = home.ready();
        let text = format!("readyFile: {}\nadmin: {{listen: \"127.0.0.1:0\"}}\n{extra}", ready.display());
        std::fs::write(home.config(), text).unwrap();
        home
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn ready(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }

    fn command(&self) -> Command {
        let mut command = quiet();
        command.arg("--config").arg(self.config());
        command
    }

    /// Starts the process and waits for its ready file.
    fn start(&self, child: &mut Child) -> serde_json::Value {
        loop {
            if let Ok(text) = std::fs::read_to_string(self.ready()) {
                return serde_json::from_str(&text).unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "ended before it was ready");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn ended(child: Child) -> (i32, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn tell(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_version_is_told_without_a_configuration() {
    let output = quiet().arg("--version").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"quiet 1.2.3\n".as_slice()));
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let home = Home::new("password: hunter2\n");
    let output = home.command().args(["--set", "host.zone=z", "--print-config"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains("hunter2"), "{text}");
    assert!(
        text.contains("zone: \"z\" # flag") && text.contains("password: \"<redacted>\" # file"),
        "{text}"
    );
}

#[test]
fn a_wrong_configuration_ends_with_two_and_all_its_mistakes() {
    let home = Home::new("verbos: true\nlog: {format: xml}\n");
    let (code, words) = ended(home.command().env("DARNER__HOST__ZOEN", "z").spawn().unwrap());
    assert_eq!(code, 2);
    for key in ["`verbos`", "`log.format`", "`host.zoen`"] {
        assert!(words.contains(key), "{key} not in: {words}");
    }
    let (code, words) = ended(quiet().arg("--confg").spawn().unwrap());
    assert!(code == 2 && words.contains("--confg") && words.contains("usage:"), "{words}");
    let (code, words) = ended(home.command().args(["--set", "log.level=a=b=c"]).spawn().unwrap());
    assert!(code == 2 && words.contains("`log.format`"), "{words}");
}

#[test]
fn sigterm_ends_a_ready_process_with_zero_and_without_its_ready_file() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let home = Home::new("");
        let mut child = home.command().spawn().unwrap();
        let ready = home.start(&mut child);
        assert_eq!(ready["pid"], child.id());
        let admin = ready["admin"].as_str().unwrap().to_owned();
        assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200"));
        let config = get(&admin, "/config");
        assert!(config.contains(r#""readyFile":{"source":"file","value""#), "{config}");
        tell(&child, signal);
        let (code, words) = ended(child);
        assert_eq!(code, 0, "{words}");
        assert!(!home.ready().try_exists().unwrap());
    }
}

#[test]
fn an_occupied_port_ends_with_one_and_names_the_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let home = Home::new("");
    let child = home.command().arg("--set").arg(format!("admin.listen={address}")).spawn().unwrap();
    let (code, words) = ended(child);
    assert!(code == 1 && words.contains("`admin.listen`") && words.contains("another port"), "{words}");
}

#[test]
fn a_process_that_must_not_outlive_its_parent_ends_with_its_input() {
    let home = Home::new("exitWithParent: true\n");
    let mut child = home.command().stdin(Stdio::piped()).spawn().unwrap();
    home.start(&mut child);
    drop(child.stdin.take());
    let (code, words) = ended(child);
    assert!(code == 0 && words.contains("is gone"), "{words}");
}

#[test]
fn a_killed_process_leaves_a_ready_file_that_the_next_one_replaces() {
    let home = Home::new("");
    let mut child = home.command().spawn().unwrap();
    home.start(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut next = home.command().spawn().unwrap();
    let pid = next.id();
    while home.start(&mut next)["pid"] != pid {}
    tell(&next, rustix::process::Signal::TERM);
    assert_eq!(ended(next).0, 0);
}
