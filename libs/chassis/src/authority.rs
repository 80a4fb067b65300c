//! The cluster's certificate authority: makes itself once, then certificates for the parts of the house.
//!
//! Owns: the key of the authority, and what stands in a certificate: one URI, both key usages, a short life. Never:
//! decides who gets one (whoever calls it has), nor takes a name, a usage or a life from a request: of that only the
//! public key counts. Keeps no list: a certificate ends by its own time.

pub mod door;
pub mod founding;

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;

use crate::identity::{Identity, IdentityError, Role, trust_domain_of, trust_domain_uri};
use crate::tls::uris;

/// Clocks of a cluster differ: a certificate is good from a little before it was made.
const BACKDATED: Duration = Duration::from_mins(5);
/// The life of an authority made here.
const AUTHORITY_LASTS: Duration = Duration::from_hours(10 * 365 * 24);
/// Largest request worth reading; ours is 300 bytes.
const LARGEST_REQUEST: usize = 8 << 10;

/// Why the authority cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its certificate is none.
    #[error("the certificate of the authority cannot be read: {0}")]
    Certificate(String),
    /// Its key is none, or another's.
    #[error("the key of the authority cannot be used: {0}")]
    Key(String),
    /// It says nothing of whose it is.
    #[error(
        "the certificate of the authority names no trust domain: it needs a URI like spiffe://TRUST-DOMAIN"
    )]
    TrustDomain,
    /// A request is none.
    #[error("this is no certificate request with a key that was shown to be the sender's")]
    Request,
    /// A name is none.
    #[error(transparent)]
    Name(#[from] IdentityError),
    /// The library failed.
    #[error("no certificate could be made: {0}")]
    Making(String),
}

/// A certificate and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// PEM, the leaf first.
    pub chain: String,
    /// Milliseconds since the Unix epoch.
    pub begins_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub ends_ms: u64,
}

/// A certificate with its key.
pub struct Pair {
    /// The certificate.
    pub issued: Issued,
    /// PEM of the private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("issued", &self.issued).finish_non_exhaustive()
    }
}

/// The texts of an authority just made: its certificate and its key.
pub struct Founded {
    /// PEM of the certificate: the root everybody is given.
    pub certificate: String,
    /// PEM of the private key.
    pub key: String,
}

impl std::fmt::Debug for Founded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Founded").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust_domain: String,
    /// Sent along: an authority below another one is not a root of those who check.
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

/// Makes an authority for a trust domain.
pub fn found(trust_domain: &str, now_ms: u64) -> Result<Founded, AuthorityError> {
    // The same rule as for every identity that will carry it.
    Identity::new(trust_domain, Role::Manager, "any")?;
    let key = KeyPair::generate().map_err(making)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Darner {trust_domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&trust_domain_uri(trust_domain))?];
    (params.not_before, params.not_after) = life(now_ms, AUTHORITY_LASTS)?;
    let certificate = params.self_signed(&key).map_err(making)?;
    Ok(Founded { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A request for a certificate and the key it is for; the key stays with the caller.
pub fn request() -> Result<(Vec<u8>, String), AuthorityError> {
    let key = KeyPair::generate().map_err(making)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(making)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}

impl Authority {
    /// The authority of these PEM texts.
    pub fn of(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let pair = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        let leaf = webpki::EndEntityCert::try_from(&der)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let public = leaf.subject_public_key_info();
        if public.as_ref() != rcgen::PublicKeyData::subject_public_key_info(&pair) {
            return Err(AuthorityError::Key("it is not the key of the certificate".to_owned()));
        }
        let named = uris(&der).iter().find_map(|uri| trust_domain_of(uri).map(str::to_owned));
        let trust_domain = named.ok_or(AuthorityError::TrustDomain)?;
        let issuer = Issuer::from_ca_cert_der(&der, pair)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        Ok(Self { issuer, trust_domain, certificate: certificate.to_owned() })
    }

    /// Whose identities it makes.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for the key of a request; nothing else of the request counts.
    pub fn sign(
        &self,
        request: &[u8],
        (role, name): (Role, &str),
        now_ms: u64,
        lasts: Duration,
    ) -> Result<Issued, AuthorityError> {
        if request.len() > LARGEST_REQUEST {
            return Err(AuthorityError::Request);
        }
        let asked = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|_unreadable| AuthorityError::Request)?;
        let identity = Identity::new(&self.trust_domain, role, name)?;
        self.certify(&asked.public_key, &identity, now_ms, lasts)
    }

    /// A certificate with a key made for it.
    pub fn issue(
        &self,
        (role, name): (Role, &str),
        now_ms: u64,
        lasts: Duration,
    ) -> Result<Pair, AuthorityError> {
        let identity = Identity::new(&self.trust_domain, role, name)?;
        let key = KeyPair::generate().map_err(making)?;
        let issued = self.certify(&key, &identity, now_ms, lasts)?;
        Ok(Pair { issued, key: key.serialize_pem() })
    }

    fn certify(
        &self,
        key: &impl rcgen::PublicKeyData,
        identity: &Identity,
        now_ms: u64,
        lasts: Duration,
    ) -> Result<Issued, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, identity.name());
        params.subject_alt_names = vec![uri(&identity.to_string())?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = life(now_ms, lasts)?;
        let leaf = params.signed_by(key, &self.issuer).map_err(making)?;
        let ms = |at: OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or(0).saturating_mul(1000);
        Ok(Issued {
            chain: format!("{}{}", leaf.pem(), self.certificate),
            begins_ms: ms(params.not_before),
            ends_ms: ms(params.not_after),
        })
    }
}

/// From a little before now until `lasts` after it; certificates know whole seconds.
fn life(now_ms: u64, lasts: Duration) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let now = i64::try_from(now_ms / 1000).map_err(making)?;
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).map_err(making);
    let whole = |length: Duration| i64::try_from(length.as_secs()).map_err(making);
    Ok((at(now.saturating_sub(whole(BACKDATED)?))?, at(now.saturating_add(whole(lasts)?))?))
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(text.try_into().map_err(making)?))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn making(error: impl ToString) -> AuthorityError {
    AuthorityError::Making(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, System};

    const HOUR: Duration = Duration::from_hours(1);

    fn authority() -> Authority {
        let founded = found("test.darner", System.now_ms()).unwrap();
        Authority::of(&founded.certificate, &founded.key).unwrap()
    }

    fn uris_of(chain: &str) -> Vec<String> {
        uris(&CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
    }

    #[test]
    fn an_authority_survives_being_written_and_knows_its_trust_domain() {
        assert_eq!(authority().trust_domain(), "test.darner");
    }

    #[test]
    fn the_key_of_another_authority_is_refused() {
        let (one, other) = (found("a", 1_000_000).unwrap(), found("a", 1_000_000).unwrap());
        let words = Authority::of(&one.certificate, &other.key).unwrap_err().to_string();
        assert!(words.contains("not the key of the certificate"), "{words}");
        assert!(Authority::of("junk", &one.key).is_err() && Authority::of(&one.certificate, "junk").is_err());
    }

    #[test]
    fn a_certificate_carries_what_was_granted_and_ends_in_time() {
        let (request, key) = request().unwrap();
        let now_ms = 1_800_000_000_000;
        let issued = authority().sign(&request, (Role::SeedPeer, "seed-1"), now_ms, HOUR).unwrap();
        assert_eq!(uris_of(&issued.chain), ["spiffe://test.darner/darner/seed-peer/seed-1"]);
        assert_eq!((issued.begins_ms, issued.ends_ms), (now_ms - 300_000, now_ms + 3_600_000));
        assert!(key.contains("PRIVATE KEY") && !issued.chain.contains("PRIVATE"));
    }

    #[test]
    fn a_request_cannot_ask_for_a_name() {
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::default();
        greedy.subject_alt_names = vec![uri("spiffe://test.darner/darner/manager/m").unwrap()];
        let request = greedy.serialize_request(&key).unwrap();
        let issued = authority().sign(request.der(), (Role::PeerDaemon, "d"), 1_000_000, HOUR).unwrap();
        assert_eq!(uris_of(&issued.chain), ["spiffe://test.darner/darner/peer-daemon/d"]);
    }

    #[test]
    fn junk_and_a_request_whose_key_is_not_the_senders_are_refused() {
        let (mut forged, _) = request().unwrap();
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        for wrong in [forged, Vec::new(), vec![0x30; 100], vec![0; LARGEST_REQUEST + 1]] {
            let refused = authority().sign(&wrong, (Role::PeerDaemon, "d"), 1_000_000, HOUR);
            assert!(matches!(refused, Err(AuthorityError::Request)), "{refused:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_gets_no_certificate() {
        assert!(authority().issue((Role::PeerDaemon, "a/b"), 1_000_000, HOUR).is_err());
        assert!(found("a/b", 1_000_000).is_err());
    }

    #[test]
    fn no_key_is_shown_in_debug_output() {
        let pair = authority().issue((Role::PeerDaemon, "a"), 1_000_000, HOUR).unwrap();
        assert!(!format!("{pair:?} {:?}", found("a", 1).unwrap()).contains("PRIVATE"));
    }
}
