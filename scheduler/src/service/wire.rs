//! How the scheduler speaks to the nodes: in clear text, or under its certificate.

use std::sync::Arc;

use darner_chassis::config::ConfigError;
use darner_chassis::grpc::{self, TracedChannel};
use darner_chassis::identity::Role;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{self, Ask, Enrol, Joining, Wire};
use darner_proto::v1::EnrollRequest;
use darner_proto::v1::identity_client::IdentityClient;

use crate::config::Config;

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

/// As the configuration says. A scheduler keeps its certificate where it keeps its epoch.
pub(super) async fn open(config: &Config, tasks: &Tasks) -> Result<Wire, ConfigError> {
    let shared = &config.shared;
    let joining = config.manager.as_ref().map(|manager| Joining {
        manager: manager.clone(),
        kept: (!shared.data.as_os_str().is_empty()).then(|| shared.data.join("identity.pem")),
        enrol: Arc::new(Asking),
    });
    let name = tls::own_name(shared);
    Wire::open(&shared.tls, (Role::Scheduler, &name), joining, tasks)
        .await
        .map_err(|error| ConfigError::new(vec![error.to_string()]))
}
