//! What a start yields: addresses, or the words for what is in the way.

use std::net::SocketAddr;

use darner_chassis::grpc::GrpcError;
use darner_transfer::node;
use tokio::net::TcpListener;

use crate::edge::CertificateError;

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
    /// What any node may lack.
    #[error(transparent)]
    Node(#[from] node::StartError),
    /// The certificate of the git-facing port.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The unix socket.
    #[error("`grpc.socket`: {0}")]
    Socket(#[from] GrpcError),
}

impl Addresses {
    pub(super) fn of(git: &TcpListener, grpc: &TcpListener, piece: &TcpListener) -> Result<Self, StartError> {
        let (proxy, grpc, piece) = (node::address(git)?, node::address(grpc)?, node::address(piece)?);
        Ok(Self { proxy, piece, grpc })
    }
}
