//! The handle everybody holds: configuration in, upstreams out.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use darner_chassis::clock::Clock;
use darner_chassis::metrics::{Kind, Metrics, Role};
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::allow::AllowList;
use crate::capability::Capabilities;
use crate::dial::{Dialer, Trust};
use crate::error::{ConfigWords, OriginError};
use crate::follow::{self, trust_of};
use crate::headers::of_credential;
use crate::proxy::Proxy;
use crate::read::{Read, Reading};
use crate::resolve::{Resolve, SystemResolver};
use crate::rules::{Added, Ground, Rules};
use crate::send::{Body, Sender};
use crate::target::{Scheme, Site, Target};
use crate::{exchange, tls};

/// The longest window of a probe.
pub const MAX_WINDOW_BYTES: u32 = 4096;
/// How far a probe reads into an answer without ranges before it gives up.
const MAX_UNRANGED_BYTES: u64 = 4 * 1024 * 1024;

/// Who may be dialled, and how.
#[derive(Debug, Clone)]
pub struct OriginConfig {
    /// `[http://|https://]HOST[:PORT]`, https when not said; `A -> B` also lets redirects of A reach an internal B.
    pub upstreams: Vec<String>,
    /// `HOST:PORT:ADDRESS`, as curl.
    pub resolve: Vec<String>,
    /// PEM file with certificates trusted beside the platform's.
    pub upstream_ca: Option<PathBuf>,
    /// `[http://][user:password@]HOST:PORT` of a CONNECT proxy for everything; absent: none.
    pub proxy: Option<String>,
    /// Whether the built-in forges may be reached on 443 (the vocabulary of the seed documents).
    pub connect_forges: bool,
    /// Under which role requests are counted.
    pub role: Role,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            resolve: Vec::new(),
            upstream_ca: None,
            proxy: None,
            connect_forges: false,
            role: Role::Daemon,
        }
    }
}

/// Some bytes of an object, read to be compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Window {
    /// The bytes; fewer than asked for only at the object's end.
    pub content: Bytes,
    /// Bytes of the whole object, where the answer says it.
    pub total: Option<u64>,
    /// Strong entity tag.
    pub etag: Option<String>,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window {{ {} of {:?} bytes }}", self.content.len(), self.total)
    }
}

/// Everything that is said to upstreams. Cheap to clone.
#[derive(Clone)]
pub struct Origin {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Arc<Ground>,
    dialer: Arc<Dialer>,
    sender: Sender,
    capabilities: Capabilities,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("rules", &self.inner.ground.now().list).finish_non_exhaustive()
    }
}

impl Origin {
    /// Reads the configuration; all its mistakes are told at once.
    pub fn new(config: &OriginConfig, metrics: Metrics, clock: Arc<dyn Clock>) -> Result<Self, ConfigWords> {
        Self::with_resolver(config, metrics, clock, Arc::new(SystemResolver))
    }

    /// As [`Origin::new`], with another source of addresses.
    pub fn with_resolver(
        config: &OriginConfig,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ConfigWords> {
        let mut mistakes = Vec::new();
        let list = AllowList::parse(&config.upstreams, &config.resolve, config.connect_forges, &mut mistakes);
        let proxy = config.proxy.as_deref().map(Proxy::parse);
        if matches!(proxy, Some(None)) {
            mistakes.push("`origin.proxy` is not [http://][user:password@]HOST:PORT".to_owned());
        }
        let tls = tls::client_config(config.upstream_ca.as_deref(), &mut mistakes);
        let (Some(tls), true) = (tls, mistakes.is_empty()) else { return Err(ConfigWords(mistakes)) };
        let public_names = Mutex::new(HashSet::new());
        let ground = Arc::new(Ground::new(Rules::new(list, tls), config.upstream_ca.clone()));
        let dialer = Dialer { ground: ground.clone(), resolver, proxy: proxy.flatten(), public_names };
        let dialer = Arc::new(dialer);
        let sender = Sender::new(&dialer, metrics, clock, config.role);
        Ok(Self { inner: Arc::new(Inner { ground, dialer, sender, capabilities: Capabilities::default() }) })
    }

    /// From now on these upstreams of the cluster are dialled too, beside the configured ones, and none that was added
    /// before and is not among them. What is refused comes back as name and reason; the others are in force.
    pub fn add(&self, added: &[Added]) -> Vec<(String, String)> {
        self.inner.ground.add(added)
    }

    /// From now on only these of all upstreams (entries as in `upstreams`, forges included) are dialled; absent: all of
    /// them. What is not configured is not dialled whatever stands here.
    pub fn leave(&self, entries: Option<&[String]>) {
        self.inner.ground.leave(entries);
    }

    /// Grows with every change of who may be dialled; what was found before it grew may be outdated.
    pub fn version(&self) -> u64 {
        self.inner.ground.version()
    }

    /// Whether a request to this address would be sent at all; an error says what to set.
    pub fn check(&self, url: &str) -> Result<(), OriginError> {
        let rules = self.inner.ground.now();
        let target = rules.list.upgraded(Target::parse(url)?);
        trust_of(&rules.list, &target.site).map(|_trust| ())
    }

    /// Whether requests to this upstream are let through.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let site = Scheme::parse(scheme).and_then(|scheme| Site::new(scheme, host, port));
        site.is_some_and(|site| trust_of(&self.inner.ground.now().list, &site).is_ok())
    }

    /// The address a request is really sent to: `http://h/` on the default port becomes https where only that is listed.
    /// What is no address comes back as it is.
    pub fn upgrade(&self, url: &str) -> String {
        match Target::parse(url) {
            Ok(target) if target.site.scheme == Scheme::Http && target.userinfo.is_none() => {
                let upgraded = self.inner.ground.now().list.upgraded(target);
                if upgraded.site.scheme == Scheme::Https { upgraded.text() } else { url.to_owned() }
            }
            _ => url.to_owned(),
        }
    }

    /// Reads content; redirects are followed under their own rules.
    pub async fn read(&self, request: Read<'_>, kind: Kind) -> Result<Reading, OriginError> {
        let Inner { ground, sender, capabilities, .. } = &*self.inner;
        let rules = ground.now();
        let list = &rules.list;
        let target = list.upgraded(Target::parse(request.url)?);
        let asked = target.site.clone();
        let mut headers = of_credential(request.headers)?;
        request.ask(&mut headers)?;
        let arrived = follow::get(list, sender, target, headers, kind).await?;
        let reading = Reading::begin(sender, arrived, &request, kind).await?;
        if request.is_ranged() && request.etag.is_none() {
            capabilities.learn_ranges(&asked, reading.ranges && reading.start == request.from);
        }
        Ok(reading)
    }

    /// Whether the upstream of an address answers ranges, where that is known.
    pub fn ranges(&self, url: &str) -> Option<bool> {
        let target = self.inner.ground.now().list.upgraded(Target::parse(url).ok()?);
        self.inner.capabilities.ranges(&target.site)
    }

    /// Reads one small window of an object through a credential. An upstream without ranges is read up to the window
    /// and left; one that would have to be read too far is an [`OriginError::Unranged`].
    pub async fn probe(
        &self,
        url: &str,
        headers: &[(String, Bytes)],
        offset: u64,
        length: u32,
    ) -> Result<Window, OriginError> {
        let length = u64::from(length.min(MAX_WINDOW_BYTES));
        let end = offset.saturating_add(length);
        let request = Read { url, headers, from: offset, to: Some(end), etag: None };
        let mut reading = self.read(request, Kind::Probe).await?;
        if reading.start < offset && offset > MAX_UNRANGED_BYTES {
            return Err(OriginError::Unranged);
        }
        let mut content = BytesMut::new();
        while reading.at() < end {
            let at = reading.at();
            let Some(bytes) = reading.next().await? else { break };
            content.extend_from_slice(overlap(&bytes, at, offset, end));
        }
        Ok(Window { content: content.freeze(), total: reading.total, etag: reading.etag.take() })
    }

    /// Relays a request whose address is absolute, streaming both ways; redirects are not followed.
    pub async fn exchange(&self, request: Request<Body>, kind: Kind) -> Result<Response<Body>, OriginError> {
        exchange::relay(&self.inner.ground.now().list, &self.inner.sender, request, kind).await
    }

    /// A raw connection for a CONNECT to a listed https upstream (or a built-in forge, where switched on).
    pub async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, OriginError> {
        let site = Site::new(Scheme::Https, host, port).ok_or(OriginError::Malformed("it names no host"))?;
        let trust: Trust = trust_of(&self.inner.ground.now().list, &site)?;
        self.inner.dialer.tunnel(&site, trust).await
    }
}

/// The part of a chunk at `at` that lies in `from..to`.
fn overlap(bytes: &Bytes, at: u64, from: u64, to: u64) -> &[u8] {
    let index =
        |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(index(from)..index(to)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_cut_out_of_the_chunks_it_lies_in() {
        let chunk = Bytes::from_static(b"0123456789");
        assert_eq!(overlap(&chunk, 100, 103, 105), b"34");
        assert_eq!(overlap(&chunk, 100, 0, 102), b"01");
        assert_eq!(overlap(&chunk, 100, 108, 120), b"89");
        assert_eq!(overlap(&chunk, 100, 50, 60), b"");
        assert_eq!(overlap(&chunk, 100, 200, 210), b"");
    }
}
