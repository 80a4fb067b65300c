//! From a site to a connection: resolve once, judge each address, dial exactly what was judged.
//!
//! Owns: the address rules on the very address dialled, the operator's overrides, the proxy, TLS. Never: HTTP. A name that
//! was public and suddenly points inside is refused for as long as the process lives.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::{Place, place};
use crate::connection::Connection;
use crate::error::OriginError;
use crate::proxy::Proxy;
use crate::resolve::Resolve;
use crate::rules::Ground;
use crate::target::{Scheme, Site};

/// Why a site may be dialled, and with it where its address may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The operator listed it: inside is allowed.
    Listed,
    /// A redirect or a built-in forge: the Internet only.
    Public,
}

/// Bounds of one dial. A connection that is not there in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections under the rules.
pub(crate) struct Dialer {
    pub(crate) ground: Arc<Ground>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) proxy: Option<Proxy>,
    /// Listed names that have had a public address. Bounded by the allow-list.
    pub(crate) public_names: Mutex<HashSet<String>>,
}

impl Dialer {
    /// A connection ready for HTTP.
    pub(crate) async fn open(&self, site: &Site, trust: Trust) -> Result<Connection, OriginError> {
        let stream = self.tunnel(site, trust).await?;
        if site.scheme == Scheme::Http {
            return Ok(Connection::Plain(stream));
        }
        let unreachable = |words: String| OriginError::Unreachable { host: site.host.clone(), words };
        let name = ServerName::try_from(site.host.clone())
            .map_err(|error| unreachable(format!("no name for TLS: {error}")))?;
        let handshake = TlsConnector::from(self.ground.now().tls_of(site).clone()).connect(name, stream);
        match tokio::time::timeout(TLS_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Connection::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(unreachable(format!("TLS: {error}"))),
            Err(elapsed) => Err(unreachable(format!("TLS: {elapsed}"))),
        }
    }

    /// A connection as the wire gives it.
    pub(crate) async fn tunnel(&self, site: &Site, trust: Trust) -> Result<TcpStream, OriginError> {
        if let Some(proxy) = &self.proxy {
            return self.through(proxy, site, trust).await;
        }
        let addresses = self.judged(site, trust).await?;
        first_answering(&site.host, &addresses).await
    }

    /// The addresses of a site that may be dialled; an error when there are none.
    async fn judged(&self, site: &Site, trust: Trust) -> Result<Vec<SocketAddr>, OriginError> {
        let rules = self.ground.now();
        if let Some(address) = rules.list.address_of(site) {
            // The operator wrote the address himself; but no redirect reaches inside a listed upstream by it.
            let inside =
                trust == Trust::Public && rules.list.knows(site) && place(address.ip()) != Place::Public;
            return if inside { Err(refused(site, place(address.ip()))) } else { Ok(vec![address]) };
        }
        if let Some(address) = site.literal() {
            return match (trust, place(address)) {
                (Trust::Listed, _) | (_, Place::Public) => Ok(vec![SocketAddr::new(address, site.port)]),
                (Trust::Public, kind) => Err(refused(site, kind)),
            };
        }
        let found = tokio::time::timeout(CONNECT_TIMEOUT, self.resolver.resolve(&site.host)).await;
        let found = found.map_err(std::io::Error::from).flatten();
        let found = found.map_err(|error| OriginError::Unreachable {
            host: site.host.clone(),
            words: format!("its name has no address: {error}"),
        })?;
        let places: Vec<Place> = found.iter().map(|address| place(*address)).collect();
        let inside_is_fine = trust == Trust::Listed && !self.was_public(site, &places);
        let fits = |kind: &Place| match kind {
            Place::Public => true,
            Place::Internal(_) => inside_is_fine,
            Place::Forbidden(_) => false,
        };
        let good = found.iter().zip(&places).filter(|(_, kind)| fits(kind));
        let good: Vec<SocketAddr> = good.map(|(address, _)| SocketAddr::new(*address, site.port)).collect();
        match places.into_iter().max() {
            Some(worst) if good.is_empty() => Err(refused(site, worst)),
            _ => Ok(good),
        }
    }

    /// Whether a listed name is known to be a public one; learns from the answer.
    fn was_public(&self, site: &Site, places: &[Place]) -> bool {
        let mut known = self.public_names.lock().unwrap_or_else(PoisonError::into_inner);
        let was = known.contains(&site.host);
        if !was && !places.is_empty() && places.iter().all(|kind| *kind == Place::Public) {
            known.insert(site.host.clone());
        }
        was
    }

    /// The proxy resolves names, so that the list decides by name; addresses that can be seen from here are judged all the same.
    async fn through(&self, proxy: &Proxy, site: &Site, trust: Trust) -> Result<TcpStream, OriginError> {
        let rules = self.ground.now();
        let listed = rules.list.lists(site) || rules.list.is_forge(site);
        let authority = match self.judged(site, trust).await {
            Ok(_) if rules.list.address_of(site).is_none() => site.host_and_port(),
            Ok(addresses) => addresses.first().map_or_else(|| site.host_and_port(), ToString::to_string),
            Err(OriginError::Unreachable { .. }) if listed => site.host_and_port(),
            Err(error) => return Err(error),
        };
        let unreachable = |error: std::io::Error| OriginError::Unreachable {
            host: site.host.clone(),
            words: format!("through `origin.proxy`: {error}"),
        };
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let mut stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await?;
            stream.set_nodelay(true)?;
            proxy.connect(&mut stream, &authority).await?;
            Ok(stream)
        });
        dialled.await.map_err(std::io::Error::from).flatten().map_err(unreachable)
    }
}

fn refused(site: &Site, kind: Place) -> OriginError {
    let (kind, advice) = match kind {
        Place::Forbidden(kind) => (kind, "nothing is read from there"),
        Place::Internal(kind) => {
            (kind, "list the host in the key `upstreams`, or say its address in `resolve`")
        }
        Place::Public => ("public", "it is refused for another of its addresses"),
    };
    OriginError::Address { host: site.host.clone(), kind, advice }
}

async fn first_answering(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, OriginError> {
    let mut words = "its name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => words = error.to_string(),
            },
            Ok(Err(error)) => words = error.to_string(),
            Err(elapsed) => words = elapsed.to_string(),
        }
    }
    Err(OriginError::Unreachable { host: host.to_owned(), words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use crate::allow::AllowList;
    use crate::resolve::Resolving;
    use crate::rules::Rules;

    /// Answers with whatever stands in it.
    struct Told(Mutex<Vec<&'static str>>);

    impl Resolve for Told {
        fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
            let answer: Vec<IpAddr> =
                self.0.lock().unwrap().iter().map(|text| text.parse().unwrap()).collect();
            Box::pin(async move { Ok(answer) })
        }
    }

    struct Bench {
        dialer: Dialer,
        told: Arc<Told>,
    }

    impl Bench {
        fn new(upstreams: &[&str], resolve: &[&str]) -> Self {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
            let mut mistakes = Vec::new();
            let list = AllowList::parse(&owned(upstreams), &owned(resolve), true, &mut mistakes);
            let tls = crate::tls::client_config(None, &mut mistakes).unwrap();
            assert_eq!(mistakes, Vec::<String>::new());
            let told = Arc::new(Told(Mutex::new(Vec::new())));
            let resolver: Arc<dyn Resolve> = told.clone();
            let public_names = Mutex::default();
            let ground = Arc::new(Ground::new(Rules::new(list, tls), None));
            Self { dialer: Dialer { ground, resolver, proxy: None, public_names }, told }
        }

        /// The addresses that would be dialled when the name has these; `None` when the host is refused.
        async fn dialled(&self, host: &str, trust: Trust, answer: &[&'static str]) -> Option<Vec<String>> {
            *self.told.0.lock().unwrap() = answer.to_vec();
            let site = Site::new(Scheme::Https, host, 443).unwrap();
            match self.dialer.judged(&site, trust).await {
                Ok(addresses) => Some(addresses.iter().map(|address| address.ip().to_string()).collect()),
                Err(OriginError::Address { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_listed_name_may_lie_inside_but_never_at_a_metadata_service() {
        let bench = Bench::new(&["lfs.corp"], &[]);
        for inside in ["10.0.0.5", "192.168.1.1", "fd12::1", "100.64.0.9", "127.0.0.1"] {
            assert!(bench.dialled("lfs.corp", Trust::Listed, &[inside]).await.is_some(), "{inside}");
        }
        for never in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "100.100.100.200",
            "0.0.0.0",
        ] {
            assert_eq!(bench.dialled("lfs.corp", Trust::Listed, &[never]).await, None, "{never}");
        }
    }

    #[tokio::test]
    async fn a_redirect_or_a_forge_is_dialled_on_the_internet_only() {
        let bench = Bench::new(&[], &[]);
        for inside in ["10.0.0.5", "127.0.0.1", "::1", "169.254.169.254", "64:ff9b::a00:1", "fd12::1"] {
            assert_eq!(bench.dialled("github.com", Trust::Public, &[inside]).await, None, "{inside}");
            assert_eq!(bench.dialled(inside, Trust::Public, &[]).await, None, "{inside} itself");
        }
        let dialled = bench.dialled("github.com", Trust::Public, &["10.0.0.5", "140.82.121.3"]).await;
        assert_eq!(dialled, Some(vec!["140.82.121.3".to_owned()]), "only what was judged good");
    }

    #[tokio::test]
    async fn a_public_name_that_moves_inside_is_refused_from_then_on() {
        let bench = Bench::new(&["moving.example"], &[]);
        assert!(bench.dialled("moving.example", Trust::Listed, &["140.82.121.3"]).await.is_some());
        assert_eq!(bench.dialled("moving.example", Trust::Listed, &["127.0.0.1"]).await, None);
        assert_eq!(bench.dialled("moving.example", Trust::Listed, &["10.0.0.1"]).await, None);
        assert!(bench.dialled("moving.example", Trust::Listed, &["140.82.121.4"]).await.is_some());
    }

    #[tokio::test]
    async fn an_address_the_operator_wrote_is_his_to_choose() {
        let bench = Bench::new(
            &["169.254.169.254", "listed.test"],
            &["listed.test:443:127.0.0.1", "cdn.test:443:127.0.0.1"],
        );
        assert!(bench.dialled("169.254.169.254", Trust::Listed, &[]).await.is_some());
        assert!(bench.dialled("listed.test", Trust::Listed, &[]).await.is_some());
        assert!(bench.dialled("cdn.test", Trust::Public, &[]).await.is_some());
        assert_eq!(
            bench.dialled("listed.test", Trust::Public, &[]).await,
            None,
            "no redirect reaches inside a listed one"
        );
    }

    #[tokio::test]
    async fn http_is_spoken_without_delay() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bench = Bench::new(&["http://127.0.0.1"], &[]);
        let site = Site::new(Scheme::Http, "127.0.0.1", port).unwrap();
        match bench.dialer.open(&site, Trust::Listed).await {
            Ok(Connection::Plain(stream)) => assert!(stream.nodelay().unwrap()),
            _ => panic!("a plain connection was expected"),
        }
    }
}
