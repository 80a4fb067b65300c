//! The certificate of the webhook's port, read from files that somebody else renews.
//!
//! Owns: what is shown now. The files (a mounted Secret, made by the chart's job or by cert-manager) are looked at again
//! every few seconds; a pair that cannot be used is said once and the former one stays. Never: makes a certificate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Between two looks at the files; Kubernetes itself takes a minute to renew a mounted Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read as PEM.
    #[error("`kubernetes.webhook.{key}`: {} cannot be read: {words}", path.display())]
    Unreadable {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// The two do not belong together, or are of no use to TLS.
    #[error("`kubernetes.webhook`: the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate in force; clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    cert: PathBuf,
    key: PathBuf,
    pair: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Certificate {
    /// Read the files once.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let pair = RwLock::new(Arc::new(read(cert, key)?));
        Ok(Self(Arc::new(Shown { cert: cert.to_owned(), key: key.to_owned(), pair })))
    }

    /// A server that shows what is in force at each handshake.
    pub fn server(&self) -> Result<ServerConfig, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }

    /// Look at the files again; true when another pair is shown from now on.
    pub fn look(&self) -> Result<bool, CertificateError> {
        let pair = read(&self.0.cert, &self.0.key)?;
        let mut shown = self.0.pair.write().unwrap_or_else(PoisonError::into_inner);
        let changed = shown.cert != pair.cert;
        if changed {
            *shown = Arc::new(pair);
        }
        Ok(changed)
    }

    /// Follow the files for ever.
    pub async fn follow(self) {
        let mut said = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look() {
                Ok(true) => tracing::info!("the webhook shows a renewed certificate"),
                Ok(false) => said.clear(),
                Err(error) if error.to_string() == said => {}
                Err(error) => {
                    said = error.to_string();
                    tracing::warn!(%error, "the webhook keeps its former certificate");
                }
            }
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let unreadable =
        |key, path: &Path, words: String| CertificateError::Unreadable { key, path: path.to_owned(), words };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("cert", cert, error.to_string()))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error.to_string()))?;
    Ok(CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(directory: &Path) -> (PathBuf, PathBuf) {
        let pair = rcgen::generate_simple_self_signed(["webhook.svc".to_owned()]).unwrap();
        let (cert, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_renewed_pair_is_shown_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = made(directory.path());
        let certificate = Certificate::load(&cert, &key).unwrap();
        assert!(!certificate.look().unwrap());
        made(directory.path());
        assert!(certificate.look().unwrap());
        let shown = certificate.0.pair.read().unwrap().cert.clone();
        std::fs::write(&cert, "junk").unwrap();
        assert!(certificate.look().is_err());
        assert_eq!(certificate.0.pair.read().unwrap().cert, shown);
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused_by_key() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((cert, _), (_, key)) = (made(one.path()), made(other.path()));
        let words = Certificate::load(&cert, &key).unwrap_err().to_string();
        assert!(words.contains("`kubernetes.webhook`"), "{words}");
        let missing = Certificate::load(&one.path().join("none"), &key).unwrap_err().to_string();
        assert!(missing.contains("`kubernetes.webhook.cert`"), "{missing}");
    }
}
