//! TLS towards upstreams: always verified, one crypto provider, HTTP/1.1.
//!
//! Owns: the client configuration (platform roots and the operator's own). Never: a way to switch verification off.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// The configuration for all upstreams; what is wrong with `upstream_ca` is a line in `mistakes`.
pub(crate) fn client_config(
    upstream_ca: Option<&Path>,
    mistakes: &mut Vec<String>,
) -> Option<Arc<ClientConfig>> {
    let extra = match upstream_ca.map(certificates).transpose() {
        Ok(extra) => extra.unwrap_or_default(),
        Err(words) => {
            mistakes.push(format!("`upstreamCa`: {words}"));
            return None;
        }
    };
    match build(extra) {
        Ok(config) => Some(Arc::new(config)),
        Err(error) => {
            mistakes.push(format!("`upstreamCa`: {error}"));
            None
        }
    }
}

fn build(extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let has_extra = !extra.is_empty();
    let mut config = match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => {
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        Err(error) if has_extra => return Err(error),
        Err(error) => {
            // A machine without any root may still speak to plain http upstreams: TLS then fails, by name.
            tracing::warn!(%error, "no root certificates: https upstreams will be refused");
            versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    // HTTP/1.1 only: one download per connection, and closing one never harms another.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The configuration for upstreams with certificates of their own, beside those of the file.
pub(crate) fn with_roots(upstream_ca: Option<&Path>, pem: &str) -> Result<Arc<ClientConfig>, String> {
    let mut extra = upstream_ca.map(certificates).transpose()?.unwrap_or_default();
    extra.extend(parsed(pem.as_bytes(), "its certificate authority")?);
    build(extra).map(Arc::new).map_err(|error| error.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display().to_string();
    let pem = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    parsed(&pem, &shown)
}

fn parsed(pem: &[u8], shown: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{shown} is no PEM: {error}"))?;
    if found.is_empty() { Err(format!("{shown} holds no certificate")) } else { Ok(found) }
}
