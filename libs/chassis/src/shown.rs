//! The certificate that a port shows to callers who only ask whom they reached: git's port, the webhook's.
//!
//! Owns: what is shown now. The files (a mounted Secret, made by a hook or by cert-manager) are looked at again every few
//! seconds; a pair that cannot be used is said once and the former one stays. Never: makes a certificate, asks the caller
//! for one (`tls` does that), or ends a connection that stands.

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
pub enum ShownError {
    /// A file cannot be read as PEM.
    #[error("`{key}`: {} cannot be read: {words}", path.display())]
    Unreadable {
        /// The configuration key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// The two do not belong together, or are of no use to TLS.
    #[error("`{block}`: the certificate and its key cannot be used: {source}")]
    Unusable {
        /// The configuration block that names both files.
        block: &'static str,
        /// What TLS says.
        source: rustls::Error,
    },
}

/// The certificate in force; clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Shown(Arc<Pair>);

#[derive(Debug)]
struct Pair {
    block: &'static str,
    cert: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Shown {
    /// Reads the files once; `block` is the configuration block whose `cert` and `key` name them.
    pub fn load(block: &'static str, cert: &Path, key: &Path) -> Result<Self, ShownError> {
        let now = RwLock::new(Arc::new(read(block, cert, key)?));
        Ok(Self(Arc::new(Pair { block, cert: cert.to_owned(), key: key.to_owned(), now })))
    }

    /// A server that shows what is in force at each handshake.
    pub fn server(&self) -> Result<ServerConfig, ShownError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let block = self.0.block;
        let versions = builder.with_safe_default_protocol_versions();
        let versions = versions.map_err(|source| ShownError::Unusable { block, source })?;
        let mut server = versions.with_no_client_auth().with_cert_resolver(self.0.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }

    /// Looks at the files again; true when another pair is shown from now on.
    pub fn look(&self) -> Result<bool, ShownError> {
        let pair = read(self.0.block, &self.0.cert, &self.0.key)?;
        let mut now = self.0.now.write().unwrap_or_else(PoisonError::into_inner);
        let changed = now.cert != pair.cert;
        if changed {
            *now = Arc::new(pair);
        }
        Ok(changed)
    }

    /// Follows the files for ever.
    pub async fn follow(self) {
        let mut said = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look() {
                Ok(true) => {
                    said.clear();
                    tracing::info!(block = self.0.block, "a renewed certificate is shown");
                }
                Ok(false) => said.clear(),
                Err(error) if error.to_string() == said => {}
                Err(error) => {
                    said = error.to_string();
                    tracing::warn!(%error, "the former certificate is shown on");
                }
            }
        }
    }
}

fn read(block: &'static str, cert: &Path, key: &Path) -> Result<CertifiedKey, ShownError> {
    let unreadable = |field: &str, path: &Path, words: String| ShownError::Unreadable {
        key: format!("{block}.{field}"),
        path: path.to_owned(),
        words,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("cert", cert, error.to_string()))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error.to_string()))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|source| ShownError::Unusable { block, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "git.tls";

    fn made(directory: &Path) -> (PathBuf, PathBuf) {
        let pair = rcgen::generate_simple_self_signed(["port.svc".to_owned()]).unwrap();
        let (cert, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_renewed_pair_is_shown_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = made(directory.path());
        let shown = Shown::load(BLOCK, &cert, &key).unwrap();
        assert!(!shown.look().unwrap());
        made(directory.path());
        assert!(shown.look().unwrap());
        let now = shown.0.now.read().unwrap().cert.clone();
        std::fs::write(&cert, "junk").unwrap();
        assert!(shown.look().is_err());
        assert_eq!(shown.0.now.read().unwrap().cert, now);
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused_by_key() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((cert, _), (_, key)) = (made(one.path()), made(other.path()));
        let words = Shown::load(BLOCK, &cert, &key).unwrap_err().to_string();
        assert!(words.contains("`git.tls`"), "{words}");
        let missing = Shown::load(BLOCK, &one.path().join("none"), &key).unwrap_err().to_string();
        assert!(missing.contains("`git.tls.cert`"), "{missing}");
    }
}
