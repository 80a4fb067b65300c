//! Why a node does not start, in words an operator can act on.

use std::io;
use std::path::{Path, PathBuf};

use darner_chassis::config::ConfigError;
use darner_chassis::net::BindError;
use darner_store::StoreError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener does not know its address.
    #[error("listening address: {0}")]
    Address(io::Error),
    /// The data directory cannot be used.
    #[error("`data`: {}: {source}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key file that the configuration names.
    #[error("`{key}`: {words}")]
    Key {
        /// The configuration key that names the file.
        key: &'static str,
        /// What is wrong with it.
        words: String,
    },
    /// The node's own key cannot be made.
    #[error("the node's key: {0}")]
    OwnKey(String),
    /// The store.
    #[error("`data`: {0}")]
    Store(#[from] StoreError),
}

impl StartError {
    /// A key file that cannot be used.
    pub fn key(key: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Key { key, words: error.to_string() }
    }

    /// A file or directory that cannot be used.
    pub fn data(path: &Path, source: io::Error) -> Self {
        Self::Data { path: path.to_owned(), source }
    }
}
