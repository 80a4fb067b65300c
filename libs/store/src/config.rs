//! What the store is told at its opening.
//!
//! Owns: the settings and their defaults. Never: reads a file of settings. After a crash: the same settings apply.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since some fixed point; used for the order of eviction only.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The settings of a store.
#[derive(Clone)]
pub struct StoreConfig {
    /// The directory the store owns alone.
    pub root: PathBuf,
    /// Bytes on disk that objects and partials may take, directories included. Absent: 90 % of what is free at
    /// start and what the store holds already. The index (a few hundred bytes per object) is not counted.
    pub budget_bytes: Option<u64>,
    /// Files and directories that may be used. Absent: 90 % of the free inodes, likewise.
    pub budget_inodes: Option<u64>,
    /// Bytes of the file system that stay free whatever the budget says.
    pub free_floor_bytes: u64,
    /// The clock.
    pub now: Now,
}

impl StoreConfig {
    /// The defaults for a directory, with the system's clock.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        Self {
            root: root.into(),
            budget_bytes: None,
            budget_inodes: None,
            free_floor_bytes: 0,
            now: Arc::new(now),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("root", &self.root)
            .field("budget_bytes", &self.budget_bytes)
            .field("budget_inodes", &self.budget_inodes)
            .field("free_floor_bytes", &self.free_floor_bytes)
            .finish_non_exhaustive()
    }
}
