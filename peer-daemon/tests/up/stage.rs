//! A directory with `darner` and services that are scripts beside it, and a cluster started from there.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// What a script does once it "listens": `$R` is its ready file, a number of its own stands for its port.
pub(crate) const SAY_READY: &str = r#"echo "{\"pid\":$$,\"grpc\":\"127.0.0.1:$$\",\"proxy\":\"127.0.0.1:$$\",\"url\":\"http://127.0.0.1:$$\"}" > "$R.new"; mv "$R.new" "$R""#;

/// The stage.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    /// `darner` and four scripts that get ready, wait for the end of their input or SIGTERM, and end.
    pub(crate) fn set() -> Self {
        let stage = Self { directory: tempfile::tempdir().expect("a directory") };
        let darner = stage.path("bin/darner");
        std::fs::create_dir_all(stage.path("bin")).expect("make");
        let built = Path::new(env!("CARGO_BIN_EXE_darner"));
        if std::fs::hard_link(built, &darner).is_err() {
            std::fs::copy(built, &darner).expect("copy");
        }
        for name in ["manager", "scheduler", "seed-peer", "peer-daemon"] {
            stage.service(name, &format!("trap 'exit 0' TERM; {SAY_READY}; while read line; do :; done"));
        }
        stage
    }

    /// Replaces a service by a script; `$R` is its ready file.
    pub(crate) fn service(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        let find = r#"R=$(sed -n 's/^readyFile: //p' "$2")"#;
        std::fs::write(&path, format!("#!/bin/sh\n{find}\n{body}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("mode");
    }

    pub(crate) fn without(&self, name: &str) {
        std::fs::remove_file(self.path("bin").join(name)).expect("it was there");
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(crate) fn has(&self, below: &str) -> bool {
        self.data().join(below).try_exists().expect("look")
    }

    pub(crate) fn read(&self, below: &str) -> Vec<u8> {
        std::fs::read(self.data().join(below)).expect("it is there")
    }

    pub(crate) fn config(&self, process: &str) -> Value {
        let text = String::from_utf8(self.read(&format!("{process}/config.yaml"))).expect("text");
        serde_saphyr::from_str(&text).expect("YAML")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    }

    /// How many scripts of this stage run.
    pub(crate) fn running(&self) -> usize {
        let ours = self.path("bin").to_string_lossy().into_owned();
        let all = std::fs::read_dir("/proc").expect("processes");
        all.flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| line.contains(&ours) && line.contains("config.yaml"))
            .count()
    }

    /// Looks again and again until it is so.
    pub(crate) fn wait_until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LONG;
        while !so(self) {
            assert!(Instant::now() < until, "not within a minute: {what}");
            look_again();
        }
    }

    /// `darner up --json` on any port in this stage's directory.
    pub(crate) fn up(&self, flags: &[&str]) -> Up {
        self.up_on("0", flags)
    }

    pub(crate) fn up_on(&self, port: &str, flags: &[&str]) -> Up {
        let data = self.data().to_string_lossy().into_owned();
        self.start(&[&["--port", port, "--data", &data], flags].concat())
    }

    /// Without a directory of its own.
    pub(crate) fn passing(&self) -> Up {
        self.start(&["--port", "0"])
    }

    fn start(&self, flags: &[&str]) -> Up {
        let complaints = self.directory.path().join(format!("complaints-{}", counted()));
        let mut child = Command::new(self.path("bin/darner"))
            .args(["up", "--json"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints).expect("a file"))
            .spawn()
            .expect("darner starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Up { child, output, complaints }
    }
}

/// Between two looks: the other core has work to do.
fn look_again() {
    std::thread::park_timeout(Duration::from_millis(10));
}

/// A number nobody else gets.
fn counted() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

pub(crate) fn kill(pid: i64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it runs");
}

/// A running `darner up`.
pub(crate) struct Up {
    child: Child,
    output: BufReader<ChildStdout>,
    complaints: PathBuf,
}

impl Up {
    /// The line it prints.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output");
        assert!(line.ends_with('\n'), "no line, but: {}", self.said());
        serde_json::from_str(&line).expect("JSON")
    }

    /// True when nothing came after the line and the output is still open.
    pub(crate) fn says_nothing_more(&mut self) -> bool {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let flags = fcntl_getfl(self.output.get_ref()).expect("flags");
        fcntl_setfl(self.output.get_ref(), flags | OFlags::NONBLOCK).expect("flags");
        let more = self.output.fill_buf().map(<[u8]>::len);
        fcntl_setfl(self.output.get_ref(), flags).expect("flags");
        more.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.complaints).expect("its complaints")
    }

    pub(crate) fn wait_for_words(&self, words: &str) {
        let until = Instant::now() + LONG;
        while !self.said().contains(words) {
            assert!(Instant::now() < until, "{words} not in {}", self.said());
            look_again();
        }
    }

    /// Its exit code, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Sends the signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> Option<i32> {
        self.end_within(signal, LONG)
    }

    pub(crate) fn end_within(&mut self, signal: Signal, within: Duration) -> Option<i32> {
        kill(i64::from(self.child.id()), signal);
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {}", self.said());
            look_again();
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its children follow by themselves.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
