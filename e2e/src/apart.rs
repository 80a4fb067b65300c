//! A cluster that sees file systems of its own: a mount namespace that ends with its processes, so that nothing of it is
//! ever left on the machine.
//!
//! Needs root, or a kernel that lets users make namespaces. Where neither is so, a test says that it shows nothing; in CI
//! it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program and first arguments that run what follows them after `script`, in a namespace of its own.
pub fn command(script: &str) -> Vec<String> {
    let mut words = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["--", "sh", "-ec"]);
    let script = format!("{script}\nexec \"$@\"");
    words.into_iter().map(str::to_owned).chain([script, "sh".to_owned()]).collect()
}

/// Whether it can be done here. Says so in words where not.
pub fn possible() -> anyhow::Result<bool> {
    let words = command("mount -t tmpfs -o size=1m none /tmp");
    let mut tried = Command::new("unshare");
    tried.args(words.iter().skip(1)).arg("true").stdin(Stdio::null()).stdout(Stdio::null());
    let why = match tried.output() {
        Ok(output) if output.status.success() => return Ok(true),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let told = format!("nothing can be mounted here ({why}): run as root");
    anyhow::ensure!(std::env::var_os("CI").is_none(), "{told}");
    #[expect(clippy::print_stderr, reason = "a test that shows nothing says so")]
    {
        eprintln!("SKIPPED: {told}");
    }
    Ok(false)
}

/// Where a path of the namespace of process `pid` is found from here.
pub fn seen(pid: i32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(path))
}
