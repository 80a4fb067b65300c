//! How a node comes to speak to the others: in clear text, or as its certificate says.
//!
//! Owns: which role a kind of node has in certificates, and whether what somebody says of itself is what its certificate
//! says. Never: a handshake; `darner_chassis::tls` does those.

use std::path::Path;
use std::sync::Arc;

use darner_chassis::grpc::{self, TracedChannel};
use darner_chassis::identity::{Peer, Role};
use darner_chassis::settings::Shared;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{Ask, Enrol, Joining, TlsError, Wire};
use darner_proto::v1::identity_client::IdentityClient;
use darner_proto::v1::{self, EnrollRequest};
use tonic::Status;

use super::{Kind, StartError};
use crate::link::NODES;

/// The file in the data directory that keeps a node's certificate.
const KEPT: &str = "identity.pem";

/// Asks the manager over gRPC.
#[derive(Debug)]
struct Asking;

#[tonic::async_trait]
impl Enrol for Asking {
    async fn enrol(&self, manager: TracedChannel, ask: Ask) -> Result<String, String> {
        let Ask { request, role, name, token } = ask;
        let asked = EnrollRequest { request: request.into(), role: role.to_string(), name, token };
        match IdentityClient::new(manager).enroll(asked).await {
            Ok(reply) => Ok(reply.into_inner().chain),
            Err(status) => Err(grpc::words(&status)),
        }
    }
}

impl Kind {
    /// Its role in certificates.
    pub const fn part(self) -> Role {
        match self {
            Self::Daemon => Role::PeerDaemon,
            Self::Seed => Role::SeedPeer,
        }
    }

    /// How the node `id`, which keeps its files in `data`, speaks to the others.
    pub async fn wire(
        self,
        shared: &Shared,
        (id, data): (&str, &Path),
        manager: Option<&str>,
        tasks: &Tasks,
    ) -> Result<Wire, StartError> {
        let joining = manager.map(|manager| Joining {
            manager: manager.to_owned(),
            kept: Some(data.join(KEPT)),
            enrol: Arc::new(Asking),
        });
        Ok(Wire::open(&shared.tls, (self.part(), id), joining, tasks).await?)
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        Self::Config(darner_chassis::config::ConfigError::new(vec![error.to_string()]))
    }
}

/// Whether a caller is a node, and the one it says it is. Without certificates everybody is believed.
pub fn check_caller(peer: &Peer, claimed: Option<&v1::NodeIdentity>) -> Result<(), Status> {
    let denied =
        |mismatch: darner_chassis::identity::Mismatch| Status::permission_denied(mismatch.to_string());
    peer.check_role(NODES).map_err(denied)?;
    let Some(node) = claimed else { return Ok(()) };
    match node.role() {
        v1::Role::Daemon => peer.check_is(Role::PeerDaemon, &node.id),
        v1::Role::Seed => peer.check_is(Role::SeedPeer, &node.id),
        v1::Role::Unspecified => peer.check_named(NODES, &node.id),
    }
    .map_err(denied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_chassis::identity::Identity;

    fn proved(role: Role, name: &str) -> Peer {
        Peer::Proved(Arc::new(Identity::new("t", role, name).unwrap()))
    }

    fn node(role: v1::Role, id: &str) -> v1::NodeIdentity {
        v1::NodeIdentity { id: id.to_owned(), role: role.into(), ..Default::default() }
    }

    #[test]
    fn a_node_speaks_for_itself_only() {
        let daemon = proved(Role::PeerDaemon, "a");
        assert!(check_caller(&daemon, Some(&node(v1::Role::Daemon, "a"))).is_ok());
        for other in
            [node(v1::Role::Daemon, "b"), node(v1::Role::Seed, "a"), node(v1::Role::Unspecified, "b")]
        {
            let code = check_caller(&daemon, Some(&other)).unwrap_err().code();
            assert_eq!(code, tonic::Code::PermissionDenied, "{other:?}");
        }
    }

    #[test]
    fn only_nodes_want_anything_of_a_seed() {
        for peer in [proved(Role::Manager, "m"), proved(Role::Scheduler, "s"), Peer::Nameless] {
            assert!(check_caller(&peer, None).is_err(), "{peer:?}");
        }
        assert!(check_caller(&proved(Role::SeedPeer, "s"), None).is_ok());
    }

    #[test]
    fn without_certificates_everybody_is_believed() {
        assert!(check_caller(&Peer::Unproved, Some(&node(v1::Role::Seed, "any"))).is_ok());
    }
}
