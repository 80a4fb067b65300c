//! A certificate for one door that is known by its host name: the webhook, which the Kubernetes API calls.
//!
//! Owns: a root of its own for that door, whose key is thrown away once it has signed: nobody can make another
//! certificate under it, and who trusts it trusts this door alone. Never: an identity of a part of the house.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{AuthorityError, life, making};

/// Nobody renews it: who wants a shorter life takes the pair from cert-manager.
const LASTS: Duration = Duration::from_hours(10 * 365 * 24);

/// The texts of such a door.
pub struct Door {
    /// PEM of the root that signed: what callers trust.
    pub root: String,
    /// PEM of the door's certificate.
    pub certificate: String,
    /// PEM of its private key.
    pub key: String,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes the pair of a door that is called by this host name.
pub fn door(host: &str, now_ms: u64) -> Result<Door, AuthorityError> {
    let signing = KeyPair::generate().map_err(making)?;
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, format!("Darner, for {host} alone"));
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (root.not_before, root.not_after) = life(now_ms, LASTS)?;
    let certificate = root.self_signed(&signing).map_err(making)?.pem();

    let key = KeyPair::generate().map_err(making)?;
    let mut leaf = CertificateParams::new(vec![host.to_owned()]).map_err(making)?;
    leaf.distinguished_name.push(DnType::CommonName, "Darner webhook");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = life(now_ms, LASTS)?;
    let leaf = leaf.signed_by(&key, &Issuer::new(root, signing)).map_err(making)?;
    Ok(Door { root: certificate, certificate: leaf.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{Error, RootCertStore};

    use super::*;
    use crate::clock::{Clock as _, System};

    fn asked(door: &Door, host: &'static str, root: &str) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(door.certificate.as_bytes()).unwrap();
        let host = ServerName::try_from(host).unwrap();
        verifier.verify_server_cert(&leaf, &[], &host, &[], UnixTime::now()).map(|_verified| ())
    }

    #[test]
    fn it_is_believed_under_its_own_name_and_root_only() {
        let one = door("webhook.corp.svc", System.now_ms()).unwrap();
        let other = door("webhook.corp.svc", System.now_ms()).unwrap();
        assert_eq!(asked(&one, "webhook.corp.svc", &one.root), Ok(()));
        assert!(asked(&one, "kubernetes.default.svc", &one.root).is_err());
        assert!(asked(&one, "webhook.corp.svc", &other.root).is_err());
    }

    #[test]
    fn what_cannot_be_a_host_gets_none() {
        assert!(door("no host at all \u{e9}", 1_000_000).is_err());
    }
}
