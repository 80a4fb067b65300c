//! A certificate authority of the origin's own, and one certificate for every name it answers to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// The authority's certificate on disk, and what accepts TLS with a certificate it made.
pub struct Authority {
    /// PEM of the authority: what clients have to trust.
    pub ca: PathBuf,
    /// Accepts connections; ALPN is HTTP/1.1 only.
    pub acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes both for these names and addresses; the PEM goes to `root`.
    pub fn new(root: &Path, names: &[String]) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "darner test origin");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&ca_key)?;
        let ca = root.join("ca.pem");
        std::fs::write(&ca, certificate.pem())?;
        let issuer = Issuer::new(params, ca_key);

        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(names.to_vec())?.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![leaf.der().clone(), certificate.der().clone()];
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}
