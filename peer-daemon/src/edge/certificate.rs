//! The certificate of the git-facing port: the operator's own, followed as it is renewed, or one made here and kept beside
//! the data.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use darner_chassis::shown::{Shown, ShownError};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why the port has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Only one of the two files is named.
    #[error("`git.tls.cert` and `git.tls.key` belong together: set both or none")]
    Half,
    /// The files cannot be used.
    #[error(transparent)]
    Unusable(#[from] ShownError),
    /// None could be made.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// It could not be kept.
    #[error("cannot keep the certificate in {}: {source}", path.display())]
    Keeping {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the port shows to TLS clients.
#[derive(Debug, Clone)]
pub struct Certificate {
    server: Arc<ServerConfig>,
    shown: Shown,
    /// The file clients may be told to trust; absent where the operator named their own.
    pub made: Option<PathBuf>,
}

impl Certificate {
    /// The operator's files, else the one kept in `directory`, else a new one for these names.
    pub fn load(tls: &Tls, directory: &Path, names: &[String]) -> Result<Self, CertificateError> {
        let (cert, key, made) = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone(), None),
            (None, None) => {
                let (cert, key) = (directory.join("git-cert.pem"), directory.join("git-key.pem"));
                if !(cert.is_file() && key.is_file()) {
                    make(names, &cert, &key)?;
                }
                (cert.clone(), key, Some(cert))
            }
            _ => return Err(CertificateError::Half),
        };
        let shown = Shown::load("git.tls", &cert, &key)?;
        Ok(Self { server: Arc::new(shown.server()?), shown, made })
    }

    /// What follows the operator's files for as long as the process lives; nothing where the pair was made here.
    pub fn follow(&self) -> Option<impl Future<Output = ()> + use<>> {
        self.made.is_none().then(|| self.shown.clone().follow())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }
}

fn make(names: &[String], cert: &Path, key: &Path) -> Result<(), CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Darner peer daemon");
    for name in names {
        let san = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_name) => match name.as_str().try_into() {
                Ok(name) => SanType::DnsName(name),
                Err(_odd) => continue,
            },
        };
        params.subject_alt_names.push(san);
    }
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    keep(key, &pair.serialize_pem())?;
    keep(cert, &made.pem())
}

fn keep(path: &Path, text: &str) -> Result<(), CertificateError> {
    darner_chassis::files::replace(path, text)
        .map_err(|source| CertificateError::Keeping { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_certificate_is_kept_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "odd name".to_owned()];
        let load = || Certificate::load(&Tls::default(), directory.path(), &names).unwrap();
        let first = std::fs::read(load().made.unwrap()).unwrap();
        assert_eq!(std::fs::read(load().made.unwrap()).unwrap(), first);
    }

    #[test]
    fn half_a_pair_and_junk_are_refused_by_key() {
        let directory = tempfile::tempdir().unwrap();
        let junk = directory.path().join("junk");
        std::fs::write(&junk, "junk").unwrap();
        let half = Tls { cert: Some(junk.clone()), key: None };
        let words = Certificate::load(&half, directory.path(), &[]).unwrap_err().to_string();
        assert!(words.contains("`git.tls.key`"), "{words}");
        let both = Tls { cert: Some(junk.clone()), key: Some(junk) };
        assert!(Certificate::load(&both, directory.path(), &[]).is_err());
    }
}
