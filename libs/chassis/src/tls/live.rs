//! The certificate in force, and how it follows its files.
//!
//! Owns: noticing a change (a `stat` of each file at every handshake: a mounted Secret changes behind a symbolic link),
//! and that only a pair that would be believed takes the place of the former: issued by the configured authorities, for
//! this part, in its time, with its own key. A bad one is told once per change, with the file's name, and the old pair
//! stays. Never: touches a connection that stands.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use super::pem::{self, CERT, KEY, Pair, TlsError};
use super::verify::{Chain, provider};
use crate::identity::{Identity, Role};
use crate::keyfile::{Stamp, stamp};

/// Who this process must be.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) role: Role,
    pub(super) name: String,
    /// Let in who shows no certificate.
    pub(super) nameless: bool,
}

/// What handshakes are made with.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) identity: Arc<Identity>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) ends_ms: u64,
}

impl Live {
    /// Who showed this certificate, of the same trust domain.
    pub(super) fn identity_of(&self, leaf: &CertificateDer<'_>) -> io::Result<Identity> {
        let told = |words: String| io::Error::new(io::ErrorKind::PermissionDenied, words);
        let identity = pem::identity(leaf).map_err(|words| told(format!("its certificate: {words}")))?;
        if identity.trust_domain() != self.identity.trust_domain() {
            return Err(told(format!("it belongs to another trust domain: {identity}")));
        }
        Ok(identity)
    }
}

/// Where the certificate comes from.
#[derive(Debug)]
pub(super) struct Source {
    own: Own,
    authorities: PathBuf,
    files: Option<(PathBuf, PathBuf)>,
    /// What was issued, where it does not come from files.
    issued: Mutex<Option<Pair>>,
    live: ArcSwapOption<Live>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl Source {
    /// With `files`: the pair must be good now. Without: there is none until one is put in.
    pub(super) fn open(
        own: Own,
        authorities: PathBuf,
        files: Option<(PathBuf, PathBuf)>,
    ) -> Result<Self, TlsError> {
        let source = Self {
            own,
            authorities,
            files,
            issued: Mutex::default(),
            live: ArcSwapOption::empty(),
            seen: Mutex::default(),
        };
        // Taken first: a change during the read is then seen at the next use.
        *source.seen.lock().unwrap_or_else(PoisonError::into_inner) = source.stamps();
        pem::roots(&source.authorities)?;
        source.refresh()?;
        Ok(source)
    }

    /// What is in force, as the files have it now.
    pub(super) fn current(&self) -> Option<Arc<Live>> {
        let now = self.stamps();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != now {
            *seen = now;
            match self.refresh() {
                Ok(()) => tracing::info!(certificate = %self.words(), "certificate files were read again"),
                Err(error) => {
                    tracing::error!(%error, "changed certificate files are of no use, the old ones stay in force");
                }
            }
        }
        drop(seen);
        self.live.load_full()
    }

    /// Puts a pair in force that was issued to this process.
    pub(super) fn put(&self, chain: &str, key: &str) -> Result<(), TlsError> {
        let pair = Pair::of(chain, key).map_err(TlsError::Issued)?;
        let live = self.build(&pair).map_err(TlsError::Issued)?;
        *self.issued.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
        self.live.store(Some(Arc::new(live)));
        Ok(())
    }

    pub(super) const fn own(&self) -> &Own {
        &self.own
    }

    /// For whoever has no certificate yet and asks for one: the server is verified, nothing is shown.
    pub(super) fn nameless(&self) -> Result<ClientConfig, TlsError> {
        let roots = Arc::new(pem::roots(&self.authorities)?);
        let config = client(&roots).map_err(|error| TlsError::Issued(error.to_string()))?;
        Ok(tuned(config.with_no_client_auth()))
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let pair = self.files.iter().flat_map(|(cert, key)| [cert, key]);
        std::iter::once(&self.authorities).chain(pair).map(|path| stamp(path)).collect()
    }

    fn words(&self) -> String {
        self.live.load().as_ref().map_or_else(|| "none".to_owned(), |live| live.identity.to_string())
    }

    fn refresh(&self) -> Result<(), TlsError> {
        let live = if let Some((cert, key)) = &self.files {
            let pair = Pair::read(cert, key)?;
            Some(self.build(&pair).map_err(|words| named(cert, key, words))?)
        } else {
            let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
            let pair = issued.as_ref().map(Pair::copy);
            drop(issued);
            pair.map(|pair| self.build(&pair)).transpose().map_err(TlsError::Issued)?
        };
        if let Some(live) = live {
            self.live.store(Some(Arc::new(live)));
        }
        Ok(())
    }

    fn build(&self, pair: &Pair) -> Result<Live, String> {
        let roots = Arc::new(pem::roots(&self.authorities).map_err(|error| error.to_string())?);
        let (leaf, between) = pair.chain.split_first().ok_or("it holds no certificate")?;
        let identity = pem::identity(leaf)?;
        let own = &self.own;
        if (identity.role(), identity.name()) != (own.role, own.name.as_str()) {
            return Err(format!("it is that of {identity}, and this is {} `{}`", own.role, own.name));
        }
        let checked = Chain::new(Arc::clone(&roots)).check(leaf, between, UnixTime::now());
        checked.map_err(|error| in_words(&error))?;
        let (client, server) = self.configs(&roots, pair, between).map_err(|error| in_words(&error))?;
        let ends_ms = end_of(&roots, leaf);
        Ok(Live { identity: Arc::new(identity), client: Arc::new(client), server: Arc::new(server), ends_ms })
    }

    fn configs(
        &self,
        roots: &Arc<RootCertStore>,
        pair: &Pair,
        between: &[CertificateDer<'_>],
    ) -> Result<(ClientConfig, ServerConfig), Error> {
        let client = client(roots)?.with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::new(provider()));
        let verifier = if self.own.nameless { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
        if let Some(leaf) = pair.chain.first() {
            verifier.verify_client_cert(leaf, between, UnixTime::now())?;
        }
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(pair.chain.clone(), pair.key.clone_key())?;
        // A resumed session would carry an identity past the end of its certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok((tuned(client), server))
    }
}

type WantsClientCert = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client(roots: &Arc<RootCertStore>) -> Result<WantsClientCert, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Chain::new(Arc::clone(roots)))))
}

fn tuned(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

fn named(cert: &Path, key: &Path, words: String) -> TlsError {
    if words == in_words(&Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) {
        return TlsError::File { key: KEY, path: key.to_owned(), words };
    }
    TlsError::File { key: CERT, path: cert.to_owned(), words }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => pem::certificate_words(why),
        Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
        other => other.to_string(),
    }
}

/// When a certificate ends. The library tells it only to those who come too late.
fn end_of(roots: &Arc<RootCertStore>, leaf: &CertificateDer<'_>) -> u64 {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    match Chain::new(Arc::clone(roots)).check(leaf, &[], end_of_time) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            not_after.as_secs().saturating_mul(1000)
        }
        _ => u64::MAX,
    }
}
