//! What a start yields: addresses, or the words for what is in the way.

use std::net::SocketAddr;

use darner_chassis::config::ConfigError;
use darner_chassis::grpc::GrpcError;
use darner_chassis::net::BindError;
use darner_store::StoreError;
use tokio::net::TcpListener;

use crate::edge::CertificateError;
use crate::node::NodeError;

/// The addresses a daemon really listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The git-facing port.
    pub proxy: SocketAddr,
    /// The piece link.
    pub piece: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
}

/// Why a daemon does not start.
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
    Address(std::io::Error),
    /// The data directory or the node's key.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The certificate of the git-facing port.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A key file.
    #[error("`{key}`: {words}")]
    Key {
        /// The configuration key that names the file.
        key: &'static str,
        /// What is wrong with it.
        words: String,
    },
    /// The store.
    #[error("`data`: {0}")]
    Store(#[from] StoreError),
    /// The unix socket.
    #[error("`grpc.socket`: {0}")]
    Socket(#[from] GrpcError),
}

impl StartError {
    /// A key file that cannot be used.
    pub(super) fn key(key: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Key { key, words: error.to_string() }
    }
}

impl Addresses {
    pub(super) fn of(git: &TcpListener, grpc: &TcpListener, piece: &TcpListener) -> Result<Self, StartError> {
        let (proxy, grpc, piece) = (super::address(git)?, super::address(grpc)?, super::address(piece)?);
        Ok(Self { proxy, piece, grpc })
    }
}
