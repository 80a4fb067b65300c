//! Certificates and keys as files hold them, and what is wrong with them in words.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, RootCertStore};

use crate::identity::Identity;
use crate::settings::Shared;

/// Why the process cannot speak as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A pair is named, or a token, and nobody whose word counts.
    #[error("`tls.caCert` is missing: without it there is nobody to trust")]
    NoAuthority,
    /// An authority is named and nothing of one's own.
    #[error("`tls.caCert` needs `tls.cert` and `tls.key`, or `tls.joinToken`: a part must show who it is")]
    NoPair,
    /// Only one of the two files is named.
    #[error("`tls.cert` and `tls.key` belong together: set both or none")]
    Half,
    /// A join token and nowhere to show it.
    #[error("`tls.joinToken` needs `manager`: it is the manager who issues certificates")]
    NoManager,
    /// A file cannot be used.
    #[error("`{key}`: {}: {words}", path.display())]
    File {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// The process's own certificate, made in the process, is of no use.
    #[error("the certificate just issued is of no use: {0}")]
    Issued(String),
}

/// A certificate chain and its key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Pair {
    pub(super) fn of(chain: &str, key: &str) -> Result<Self, String> {
        let chain = certificates(chain.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_unreadable| NO_KEY.to_owned())?;
        Ok(Self { chain, key })
    }

    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let told =
            |name, path: &Path, words: String| TlsError::File { key: name, path: path.to_owned(), words };
        let chain = file(cert).and_then(|pem| certificates(&pem)).map_err(|words| told(CERT, cert, words))?;
        let pem = file(key).map_err(|words| told(KEY, key, words))?;
        let private =
            PrivateKeyDer::from_pem_slice(&pem).map_err(|_unreadable| told(KEY, key, NO_KEY.to_owned()))?;
        Ok(Self { chain, key: private })
    }

    pub(super) fn copy(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The configuration keys of the files.
pub(super) const CERT: &str = "tls.cert";
pub(super) const KEY: &str = "tls.key";
pub(super) const CA: &str = "tls.caCert";
const NO_KEY: &str = "it holds no private key in PEM";

pub(super) fn file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("it holds no certificate in PEM".to_owned()),
    }
}

/// The roots of a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let told = |words| TlsError::File { key: CA, path: path.to_owned(), words };
    let found = file(path).and_then(|pem| certificates(&pem)).map_err(told)?;
    let mut roots = RootCertStore::empty();
    for root in found {
        roots.add(root).map_err(|error| told(format!("a certificate of it cannot be used: {error}")))?;
    }
    Ok(roots)
}

/// The URIs a certificate carries.
pub(crate) fn uris(leaf: &CertificateDer<'_>) -> Vec<String> {
    let parsed = webpki::EndEntityCert::try_from(leaf);
    parsed.map(|leaf| leaf.valid_uri_names().map(str::to_owned).collect()).unwrap_or_default()
}

/// Who a certificate says its owner is.
pub(super) fn identity(leaf: &CertificateDer<'_>) -> Result<Identity, String> {
    let named = uris(leaf).iter().find_map(|uri| uri.parse().ok());
    named.ok_or_else(|| "it carries no URI like spiffe://TRUST-DOMAIN/darner/ROLE/NAME".to_owned())
}

/// The name in the certificate that a file holds; nothing where there is none to be read.
pub fn name_in(cert: &Path) -> Option<String> {
    let chain = certificates(&file(cert).ok()?).ok()?;
    Some(identity(chain.first()?).ok()?.name().to_owned())
}

/// The name of a part that has no other: the configured id, the name in the certificate of the configured file, or the
/// machine's, as far as a certificate can carry it.
pub fn own_name(shared: &Shared) -> String {
    let machine = || {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        name.replace(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter), "-")
    };
    let named = shared.host.id.clone().or_else(|| name_in(shared.tls.cert.as_deref()?));
    named.unwrap_or_else(machine)
}

/// What is wrong with a certificate, for whoever has to replace it.
pub(super) fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?".to_owned()
        }
        // Two authorities may bear one name: then it is the signature that tells them apart.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority of `tls.caCert` issued it".to_owned()
        }
        other => format!("{other}"),
    }
}
