//! The door at which parts of the house get their certificates, and the manager's own.
//!
//! Owns: the authority in this process and the order of a question: how often may this address ask, does its token let
//! it join, then the signature. Never: a private key of anybody else; a certificate longer than configured; one for a
//! manager. Losing the manager ends no connection: certificates are renewed with a third of their life to spare.
//! After a crash: nothing to recover, what was issued counts until it ends.

pub mod admission;
pub mod reviewed;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::authority::{Authority, AuthorityError};
use darner_chassis::clock::{Clock as _, System};
use darner_chassis::config::ConfigError;
use darner_chassis::identity::Role;
use darner_chassis::tasks::Tasks;
use darner_chassis::tls::{TlsError, Wire, own_name};
use darner_proto::v1::{self, identity_server};
use tonic::{Request, Response, Status};

use crate::catalog::Change;
use crate::config::{Ca, Config};
use crate::control::Control;
use crate::kubernetes;
use admission::{Admission, Claim, JoinTokens, Refused};
use reviewed::{Accounts, Reviewed};

/// The shortest life worth a signature.
const SHORTEST: Duration = Duration::from_mins(1);
/// The name under which wrong tokens of an address are counted.
const COUNTED_AS: &str = "join token";

/// The gRPC service.
#[derive(Debug, Clone)]
pub struct Enrolment {
    control: Control,
    authority: Arc<Authority>,
    admission: Arc<dyn Admission>,
    lasts: Duration,
}

/// How the manager speaks to the others as configured, and its door for certificates where it is the authority.
pub async fn open(
    config: &Config,
    control: &Control,
    tasks: &Tasks,
) -> Result<(Wire, Option<Enrolment>), ConfigError> {
    let (shared, ca) = (&config.shared, &config.ca);
    let name = own_name(shared);
    let own = (Role::Manager, name.as_str());
    let Some((cert, authority)) = authority(ca)? else {
        let wire = Wire::open(&shared.tls, own, None, tasks).await.map_err(wrong)?;
        return Ok((wire, None));
    };
    let lasts = Duration::from_secs(ca.lifetime_seconds);
    if lasts < SHORTEST {
        return Err(ConfigError::new(vec!["`ca.lifetimeSeconds` is at least 60".to_owned()]));
    }
    let admission = admission(config).await?;
    let authority = Arc::new(authority);
    let issuer = Arc::clone(&authority);
    let (role, named) = (own.0, name.clone());
    let renew = move || {
        let issued = issuer.issue((role, &named), System.now_ms(), lasts);
        issued.map_err(|error: AuthorityError| error.to_string())
    };
    let roots = shared.tls.ca_cert.as_deref().unwrap_or(cert);
    let wire = Wire::issuing(roots, own, renew, tasks).map_err(wrong)?;
    tracing::info!(trust_domain = authority.trust_domain(), "issuing certificates");
    Ok((wire, Some(Enrolment::new(control.clone(), authority, admission, lasts))))
}

/// What lets parts join, as configured.
async fn admission(config: &Config) -> Result<Arc<dyn Admission>, ConfigError> {
    let one = |words: String| ConfigError::new(vec![words]);
    let Some(audience) = config.ca.audience.clone() else {
        let tokens = config.ca.tokens.as_deref().ok_or_else(|| needs("ca.tokens"))?;
        return Ok(Arc::new(JoinTokens::open(tokens).map_err(one)?));
    };
    if config.ca.tokens.is_some() {
        return Err(one("`ca.audience` and `ca.tokens` are two ways to join: set one of them".to_owned()));
    }
    if !config.kubernetes.enabled {
        return Err(one("`ca.audience` needs `kubernetes.enabled`: it is Kubernetes that checks".to_owned()));
    }
    let (client, namespace) =
        kubernetes::client(&config.kubernetes).await.map_err(|error| one(error.to_string()))?;
    let release = config.kubernetes.release.clone();
    Ok(Arc::new(Reviewed::new(client, Accounts { namespace, release, audience })))
}

fn authority(ca: &Ca) -> Result<Option<(&Path, Authority)>, ConfigError> {
    let (cert, key) = match (&ca.cert, &ca.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(needs("ca.key")),
        (None, Some(_)) => return Err(needs("ca.cert")),
    };
    let read = |name: &str, path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(vec![format!("`{name}`: {}: {error}", path.display())]))
    };
    let authority = Authority::of(&read("ca.cert", cert)?, &read("ca.key", key)?)
        .map_err(|error| ConfigError::new(vec![format!("`ca`: {}: {error}", cert.display())]))?;
    Ok(Some((cert, authority)))
}

fn needs(key: &str) -> ConfigError {
    ConfigError::new(vec![format!(
        "`{key}` is missing: an authority needs `ca.cert`, `ca.key` and `ca.tokens`"
    )])
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn wrong(error: TlsError) -> ConfigError {
    ConfigError::new(vec![error.to_string()])
}

impl Enrolment {
    /// The service: `admission` decides, `authority` signs, certificates live for `lasts`.
    pub fn new(
        control: Control,
        authority: Arc<Authority>,
        admission: Arc<dyn Admission>,
        lasts: Duration,
    ) -> Self {
        Self { control, authority, admission, lasts }
    }

    async fn admit(&self, from: IpAddr, token: &str, claim: &Claim) -> Result<(), Status> {
        let now_ms = self.control.now_ms();
        if let Err(seconds) = self.control.attempts().allowed(from, COUNTED_AS, now_ms) {
            let words = format!("too many wrong tokens from this address, again in {seconds} s");
            return Err(Status::resource_exhausted(words));
        }
        let refused = match self.admission.admit(token, claim).await {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let words = refused.to_string();
        if matches!(refused, Refused::Unchecked(_)) {
            return Err(Status::unavailable(words));
        }
        self.control.attempts().failed(from, COUNTED_AS, now_ms);
        self.tell(claim, "refused").await;
        tracing::warn!(role = %claim.role, node = claim.name, %from, "a join token was refused");
        Err(Status::permission_denied(words))
    }

    async fn tell(&self, claim: &Claim, outcome: &'static str) {
        let target = format!("{}/{}", claim.role, claim.name);
        let change = Change { actor: "node", via: "join token", action: "enroll", target: &target, outcome };
        self.control.audit_change(change).await;
    }
}

#[tonic::async_trait]
impl identity_server::Identity for Enrolment {
    async fn enroll(&self, request: Request<v1::EnrollRequest>) -> Result<Response<v1::EnrollReply>, Status> {
        let from = request.remote_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.ip());
        let asked = request.into_inner();
        let role = asked.role.parse().ok().filter(|role| *role != Role::Manager);
        let role = role.ok_or_else(|| {
            Status::invalid_argument("`role` must be one of scheduler, seed-peer, peer-daemon")
        })?;
        let claim = Claim { role, name: asked.name };
        self.admit(from, &asked.token, &claim).await?;
        let named = (claim.role, claim.name.as_str());
        let issued = self.authority.sign(&asked.request, named, System.now_ms(), self.lasts);
        let issued = issued.map_err(|error| match error {
            AuthorityError::Request | AuthorityError::Name(_) => Status::invalid_argument(error.to_string()),
            other => {
                tracing::error!(error = %other, "a certificate could not be made");
                Status::internal("no certificate could be made")
            }
        })?;
        self.tell(&claim, "done").await;
        tracing::info!(role = %claim.role, node = claim.name, ends_ms = issued.ends_ms, "certificate issued");
        Ok(Response::new(v1::EnrollReply { chain: issued.chain, ends_ms: issued.ends_ms }))
    }
}
