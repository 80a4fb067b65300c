//! Who a part of the house is to the others: a role and a name in a trust domain, as its certificate says it.
//!
//! Owns: the form `spiffe://<trust domain>/darner/<role>/<name>`, and the comparison of what somebody claims with what
//! its certificate proves. Never: reads a certificate's signature (`tls` has done that before an [`Identity`] exists),
//! nor decides who may do what. A connection in clear text proves nothing and contradicts nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The parts of the house that speak to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// What the operator wants and sees; issues the others' certificates.
    Manager,
    /// Who should take what from whom.
    Scheduler,
    /// The door to the origin.
    SeedPeer,
    /// The door for git on a node.
    PeerDaemon,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Manager, Self::Scheduler, Self::SeedPeer, Self::PeerDaemon];

    /// Its word in certificates, token files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Scheduler => "scheduler",
            Self::SeedPeer => "seed-peer",
            Self::PeerDaemon => "peer-daemon",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No role of the house.
    #[error("`{0}` is no role: one of manager, scheduler, seed-peer, peer-daemon")]
    Role(String),
    /// No name.
    #[error("`{0}` cannot be a name in a certificate: 1 to 128 of A-Z a-z 0-9 . _ -")]
    Name(String),
    /// No identity at all.
    #[error("`{0}` is not spiffe://TRUST-DOMAIN/darner/ROLE/NAME")]
    Form(String),
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| IdentityError::Role(text.to_owned()))
    }
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    trust_domain: String,
    role: Role,
    name: String,
}

/// What a URI of ours begins with.
const SCHEME: &str = "spiffe://";
/// Longest name; node ids are no longer either.
const LONGEST: usize = 128;

impl Identity {
    /// An identity, if the texts can be one.
    pub fn new(trust_domain: &str, role: Role, name: &str) -> Result<Self, IdentityError> {
        for text in [trust_domain, name] {
            if !is_name(text) {
                return Err(IdentityError::Name(text.to_owned()));
            }
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), role, name: name.to_owned() })
    }

    /// Whose word counts: the same for all parts of one cluster.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What it is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which one it is: the node id.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The trust domain of `spiffe://<trust domain>`, with or without a path.
pub(crate) fn trust_domain_of(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix(SCHEME)?;
    let domain = rest.split_once('/').map_or(rest, |(domain, _)| domain);
    is_name(domain).then_some(domain)
}

/// The URI that names a trust domain itself, as the certificate of an authority carries it.
pub(crate) fn trust_domain_uri(domain: &str) -> String {
    format!("{SCHEME}{domain}")
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/darner/{}/{}", self.trust_domain, self.role, self.name)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || IdentityError::Form(text.to_owned());
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(form)?.split('/');
        let (domain, house) = (parts.next(), parts.next());
        let (role, name, end) = (parts.next(), parts.next(), parts.next());
        match (domain, house, role, name, end) {
            (Some(domain), Some("darner"), Some(role), Some(name), None) => {
                Self::new(domain, role.parse()?, name)
            }
            _ => Err(form()),
        }
    }
}

/// Why somebody is not who it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It shows a certificate of somebody else.
    #[error("the certificate is that of {role} `{name}`, not of {wanted}")]
    Other {
        /// What the certificate says it is.
        role: Role,
        /// Which one it says it is.
        name: String,
        /// Who it should be.
        wanted: String,
    },
    /// It shows none.
    #[error("no certificate was shown: {0} must show its own")]
    Nameless(String),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The connection is in clear text, because this process speaks no other: whoever it says it is.
    Unproved,
    /// The connection is encrypted and no certificate was shown: whoever wants one.
    Nameless,
    /// Its certificate says so.
    Proved(Arc<Identity>),
}

impl Peer {
    /// Who sent a request: what the listener wrote beside it. A request without that came through no listener.
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self::Unproved)
    }

    /// The same for a gRPC request.
    pub fn of_call(extensions: &tonic::Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self::Unproved)
    }

    /// Whether it may speak as this very one.
    pub fn check_is(&self, role: Role, name: &str) -> Result<(), Mismatch> {
        let wanted = || format!("{role} `{name}`");
        self.check(|identity| identity.role == role && identity.name == name, wanted)
    }

    /// Whether it may speak as one of these kinds.
    pub fn check_role(&self, roles: &[Role]) -> Result<(), Mismatch> {
        let wanted = || {
            let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            format!("a {}", words.join(" or "))
        };
        self.check(|identity| roles.contains(&identity.role), wanted)
    }

    /// Whether it may speak under this name, as one of these kinds.
    pub fn check_named(&self, roles: &[Role], name: &str) -> Result<(), Mismatch> {
        self.check_role(roles)?;
        self.check(|identity| identity.name == name, || format!("`{name}`"))
    }

    fn check(
        &self,
        fits: impl FnOnce(&Identity) -> bool,
        wanted: impl FnOnce() -> String,
    ) -> Result<(), Mismatch> {
        match self {
            Self::Unproved => Ok(()),
            Self::Nameless => Err(Mismatch::Nameless(wanted())),
            Self::Proved(identity) if fits(identity) => Ok(()),
            Self::Proved(identity) => {
                Err(Mismatch::Other { role: identity.role, name: identity.name.clone(), wanted: wanted() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proved(role: Role, name: &str) -> Peer {
        Peer::Proved(Arc::new(Identity::new("t", role, name).unwrap()))
    }

    #[test]
    fn an_identity_survives_being_written() {
        for role in Role::ALL {
            let identity = Identity::new("darner.example", role, "node-1.a_b").unwrap();
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for wrong in [
            "",
            "spiffe://t",
            "spiffe://t/darner/seed-peer",
            "spiffe://t/darner/seed-peer/",
            "spiffe://t/darner/seed-peer/a/b",
            "spiffe://t/darner/root/a",
            "spiffe://t/other/seed-peer/a",
            "spiffe:///darner/seed-peer/a",
            "https://t/darner/seed-peer/a",
            "spiffe://t/darner/seed-peer/a b",
            "spiffe://t/darner/seed-peer/a%2fb",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
        assert!(Identity::new("t", Role::SeedPeer, &"x".repeat(129)).is_err());
    }

    #[test]
    fn a_certificate_speaks_for_its_own_role_and_name_only() {
        let daemon = proved(Role::PeerDaemon, "a");
        assert_eq!(daemon.check_is(Role::PeerDaemon, "a"), Ok(()));
        assert!(daemon.check_is(Role::PeerDaemon, "b").is_err());
        assert!(daemon.check_is(Role::SeedPeer, "a").is_err());
        assert!(daemon.check_named(&[Role::PeerDaemon, Role::SeedPeer], "a").is_ok());
        assert!(daemon.check_named(&[Role::PeerDaemon, Role::SeedPeer], "b").is_err());
        assert!(daemon.check_role(&[Role::SeedPeer, Role::Scheduler]).is_err());
        let words = daemon.check_is(Role::SeedPeer, "s").unwrap_err().to_string();
        assert_eq!(words, "the certificate is that of peer-daemon `a`, not of seed-peer `s`");
    }

    #[test]
    fn who_shows_nothing_speaks_for_nobody_and_clear_text_for_anybody() {
        assert!(Peer::Nameless.check_role(&Role::ALL).is_err());
        assert!(Peer::Nameless.check_is(Role::Manager, "m").is_err());
        assert!(Peer::Unproved.check_is(Role::Manager, "m").is_ok());
    }

    #[test]
    fn a_trust_domain_is_read_from_its_uri() {
        assert_eq!(trust_domain_of(&trust_domain_uri("a.b")), Some("a.b"));
        assert_eq!(trust_domain_of("spiffe://a.b/darner/x/y"), Some("a.b"));
        assert_eq!(trust_domain_of("https://a.b"), None);
    }
}
