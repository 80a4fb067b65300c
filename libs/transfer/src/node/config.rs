//! The configuration blocks a daemon and a seed have in common.
//!
//! Owns: their keys, their defaults and what absence means. Never: reads a file, nor acts on a value.

use std::fmt;
use std::path::Path;

use darner_chassis::config::ByteSize;
use darner_store::StoreConfig;
use serde::{Deserialize, Serialize, Serializer};

/// `origin.*`
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OriginKeys {
    /// `[http://][user:password@]HOST:PORT` of a CONNECT proxy to reach upstreams through. Absent: they are dialled.
    /// Shown without its user and password.
    #[serde(serialize_with = "without_userinfo")]
    pub proxy: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde hands the field over like this")]
fn without_userinfo<S: Serializer>(proxy: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    proxy.as_deref().map(redacted).serialize(serializer)
}

impl fmt::Debug for OriginKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginKeys").field("proxy", &self.proxy.as_deref().map(redacted)).finish()
    }
}

fn redacted(proxy: &str) -> String {
    match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (_, None) => proxy.to_owned(),
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://<redacted>@{host}"),
        (None, Some((_, host))) => format!("<redacted>@{host}"),
    }
}

/// `storage.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Storage {
    /// Bytes objects may take. Absent: 90 % of what was free at start.
    pub budget: Option<ByteSize>,
    /// Files objects may take. Absent: derived from the file system.
    pub inodes: Option<u64>,
    /// Bytes that stay free on the disk whatever the budget says.
    pub reserve: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        Self { budget: None, inodes: None, reserve: ByteSize(1 << 30) }
    }
}

impl Storage {
    /// The store in `data` under these limits.
    pub(super) fn store(&self, data: &Path) -> StoreConfig {
        StoreConfig {
            budget_bytes: self.budget.map(|budget| budget.0),
            budget_inodes: self.inodes,
            free_floor_bytes: self.reserve.0,
            ..StoreConfig::at(data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OriginKeys;

    #[test]
    fn a_proxy_is_logged_without_its_password() {
        let keys = OriginKeys { proxy: Some("http://user:s3cret@squid.example:3128".to_owned()) };
        let shown = format!("{keys:?}");
        assert!(shown.contains("<redacted>@squid.example:3128"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
