//! The data directory of a local cluster: who may use it now, and what is left of the last time.
//!
//! Owns: the directory and its lock, the temporary one of a cluster that keeps nothing, the place of the unix sockets,
//! and waiting for processes that an earlier, killed `up` left behind. Never: looks into what a process holds. After a
//! crash the lock is gone with its process; children end by themselves (their input closes), and `clear` waits for it.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::keys::private_directory;
use super::process::{Place, Process};
use crate::cli::failure::{Failure, io};

/// Longest path a unix socket may have on every system we run on (104 with the ending zero on some).
const SOCKET_PATH_BYTES: usize = 100;
/// How long an orphan may take to drain before it is killed.
const ORPHAN_DRAIN: Duration = Duration::from_secs(8);
/// How long a killed orphan may take to be gone.
const ORPHAN_DEATH: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A data directory in use by this process.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Dropped with the home; the lock goes with it.
    _lock: File,
    passing: bool,
    /// Sockets whose path would be too long below `path`.
    sockets: Option<PathBuf>,
}

impl Home {
    /// Takes the given directory, or a temporary one that is removed at the end.
    pub fn take(wanted: Option<&Path>) -> Result<Self, Failure> {
        let (path, passing) = match wanted {
            Some(path) => {
                let path = std::path::absolute(path).map_err(|error| io("find", path, &error))?;
                // An existing directory keeps its mode: it may be shared with more than this cluster.
                let mut made = DirBuilder::new();
                made.recursive(true).mode(0o700).create(&path).map_err(|error| io("make", &path, &error))?;
                (path, false)
            }
            None => (passing_directory("up")?, true),
        };
        let lock_path = path.join("up.lock");
        let lock = File::create(&lock_path).map_err(|error| io("write", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock, passing, sockets: None }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::negative(format!("{} is in use by another `darner up`", path.display()))
                    .hint("stop that one first, or choose another directory with --data"))
            }
            Err(TryLockError::Error(error)) => Err(io("lock", &lock_path, &error)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a daemon's unix socket goes; a short place is made when the directory's own path is too long.
    pub fn socket(&mut self, place: &Place, process: Process) -> Result<PathBuf, Failure> {
        let near = place.home.join("daemon.sock");
        if near.as_os_str().len() <= SOCKET_PATH_BYTES {
            return Ok(near);
        }
        let short = match &self.sockets {
            Some(short) => short.clone(),
            None => self.sockets.insert(passing_directory("sock")?).clone(),
        };
        Ok(short.join(format!("{}.sock", process.index)))
    }

    /// Waits until nobody of an earlier run lives in this place any more, and makes it ready for the next.
    pub async fn clear(&self, place: &Place) -> Result<(), Failure> {
        private_directory(&place.home)?;
        private_directory(&place.data)?;
        if !gone(&place.config, ORPHAN_DRAIN).await {
            for pid in living(&place.config) {
                end(pid, Signal::KILL);
            }
            if !gone(&place.config, ORPHAN_DEATH).await {
                let told = format!("a process of an earlier run does not end: {}", place.config.display());
                return Err(Failure::negative(told).hint("stop it, then try again"));
            }
        }
        match std::fs::remove_file(&place.ready) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", &place.ready, &error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let passing = self.passing.then_some(&self.path);
        for directory in passing.into_iter().chain(&self.sockets) {
            // Whoever cleans the temporary directory finds what we could not remove.
            drop(std::fs::remove_dir_all(directory));
        }
    }
}

/// A new directory of our own in the system's temporary one.
pub fn passing_directory(what: &str) -> Result<PathBuf, Failure> {
    let base = std::env::temp_dir();
    let mut number = 0_u32;
    loop {
        let path = base.join(format!("darner-{what}-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(io("make", &path, &error)),
        }
    }
}

/// Asks a process to end.
pub fn end(pid: Pid, signal: Signal) {
    // It may have ended just now; that is what was wanted.
    kill_process(pid, signal).unwrap_or_default();
}

/// Processes of ours that run with this very configuration; their numbers may be written nowhere any more.
fn living(config: &Path) -> Vec<Pid> {
    let config = config.as_os_str().as_encoded_bytes();
    let ours = rustix::process::geteuid().as_raw();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    all.flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let commanded = std::fs::read(entry.path().join("cmdline")).ok()?;
            let same = commanded.split(|&byte| byte == 0).any(|word| word == config);
            (same && entry.metadata().ok()?.uid() == ours).then_some(pid)
        })
        .collect()
}

async fn gone(config: &Path, within: Duration) -> bool {
    let until = Instant::now() + within;
    while !living(config).is_empty() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::process::Part;
    use super::*;

    const DAEMON: Process = Process { part: Part::PeerDaemon, index: 0 };

    #[test]
    fn a_directory_serves_one_cluster_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Home::take(Some(directory.path())).expect("free");
        let told = Home::take(Some(directory.path())).expect_err("taken").to_string();
        assert!(told.contains("in use"), "{told}");
        drop(first);
        assert!(Home::take(Some(directory.path())).is_ok());
    }

    #[test]
    fn a_temporary_home_leaves_nothing_and_a_named_one_stays() {
        let passing = Home::take(None).expect("a home");
        let path = passing.path().to_owned();
        drop(passing);
        assert!(!path.try_exists().expect("look"));
        let directory = tempfile::tempdir().expect("a directory");
        drop(Home::take(Some(directory.path())).expect("a home"));
        assert!(directory.path().try_exists().expect("look"));
    }

    #[test]
    fn a_socket_moves_to_a_short_place_when_the_directory_is_deep() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut home = Home::take(Some(directory.path())).expect("a home");
        let near = home.socket(&DAEMON.place(Path::new("/short")), DAEMON).expect("a place");
        assert_eq!(near, Path::new("/short/peer-daemon-0/daemon.sock"));
        let deep = Path::new("/deep").join("x".repeat(120));
        let short = home.socket(&DAEMON.place(&deep), DAEMON).expect("a place");
        assert!(short.as_os_str().len() <= SOCKET_PATH_BYTES, "{}", short.display());
        let kept = short.parent().expect("a directory").to_owned();
        drop(home);
        assert!(!kept.try_exists().expect("look"));
    }

    #[tokio::test]
    async fn the_ready_file_of_an_earlier_run_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::take(Some(directory.path())).expect("a home");
        let place = DAEMON.place(home.path());
        std::fs::create_dir_all(&place.home).expect("make");
        std::fs::write(&place.ready, "{}").expect("write");
        home.clear(&place).await.expect("clear");
        assert!(!place.ready.try_exists().expect("look"));
    }

    #[tokio::test]
    async fn an_orphan_of_an_earlier_run_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::take(Some(directory.path())).expect("a home");
        let place = DAEMON.place(home.path());
        std::fs::create_dir_all(&place.home).expect("make");
        let mut orphan = tokio::process::Command::new("sh")
            .args(["-c", "read line"])
            .arg(&place.config)
            .stdin(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sh");
        let number = orphan.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        // Between fork and exec it does not carry its own words yet.
        while living(&place.config) != number.into_iter().collect::<Vec<_>>() {
            tokio::task::yield_now().await;
        }
        let input = orphan.stdin.take();
        let ended = async {
            drop(input);
            orphan.wait().await
        };
        let (cleared, ended) = tokio::join!(home.clear(&place), ended);
        cleared.expect("clear");
        assert!(ended.is_ok());
    }

    #[test]
    fn a_file_in_the_way_is_told_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "x").expect("write");
        let told = Home::take(Some(&path)).expect_err("a file").to_string();
        assert!(told.contains("file"), "{told}");
    }
}
