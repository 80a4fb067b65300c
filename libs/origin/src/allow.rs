//! Who may be dialled at all: the allow-list on the parsed (scheme, host, port).
//!
//! Owns: the entries of the key `upstreams`, the overrides of `resolve`, the built-in forges. Never: DNS, sockets. What is
//! not on the list is not dialled; a redirect of a listed upstream has its own, stricter rules (see `follow`).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use crate::error::OriginError;
use crate::target::{Scheme, Site, Target};

/// Forges that a CONNECT may reach on port 443 when the vocabulary of the seed documents is in use. Shown in `/config`.
pub const FORGES: [&str; 17] = [
    "api.github.com",
    "bitbucket.org",
    "cdn-lfs.hf.co",
    "cdn-lfs.huggingface.co",
    "codeberg.org",
    "codeload.github.com",
    "gitee.com",
    "github-cloud.githubusercontent.com",
    "github-cloud.s3.amazonaws.com",
    "github.com",
    "gitlab.com",
    "huggingface.co",
    "lfs.github.com",
    "modelscope.cn",
    "objects.githubusercontent.com",
    "raw.githubusercontent.com",
    "www.modelscope.cn",
];

/// The parsed configuration of who may be dialled.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowList {
    sites: HashSet<Site>,
    /// `A -> B`: redirects of A may reach the listed internal upstream B.
    passages: HashSet<(Site, Site)>,
    overrides: HashMap<(String, u16), IpAddr>,
    connect_forges: bool,
    /// What an operator left of all that; absent: everything.
    left: Option<HashSet<Site>>,
}

impl AllowList {
    /// Reads the entries; every mistake is a line in `mistakes`.
    pub(crate) fn parse(
        upstreams: &[String],
        resolve: &[String],
        connect_forges: bool,
        mistakes: &mut Vec<String>,
    ) -> Self {
        let mut list = Self { connect_forges, ..Self::default() };
        for entry in upstreams {
            if !list.add(entry) {
                mistakes.push(format!(
                    "`upstreams`: `{}` is not [http://|https://]HOST[:PORT]",
                    entry.escape_default()
                ));
            }
        }
        for entry in resolve {
            match parse_override(entry) {
                Some((host, port, address)) => _ = list.overrides.insert((host, port), address),
                None => {
                    mistakes
                        .push(format!("`resolve`: `{}` is not HOST:PORT:ADDRESS", entry.escape_default()));
                }
            }
        }
        list
    }

    fn add(&mut self, entry: &str) -> bool {
        let sites: Option<Vec<Site>> = entry.split("->").map(|part| parse_entry(part.trim())).collect();
        let Some(sites) = sites else { return false };
        match sites.as_slice() {
            [from, to] => _ = self.passages.insert((from.clone(), to.clone())),
            [_one] => {}
            _ => return false,
        }
        self.sites.extend(sites);
        true
    }

    /// The site of one entry without a passage.
    pub(crate) fn site(entry: &str) -> Option<Site> {
        parse_entry(entry)
    }

    /// Lists a site.
    pub(crate) fn list(&mut self, site: Site) {
        self.sites.insert(site);
    }

    /// Lets redirects of `from` reach `to`, wherever that is.
    pub(crate) fn pass(&mut self, from: &Site, to: &Site) {
        self.passages.insert((from.clone(), to.clone()));
    }

    /// Leaves the sites of these entries, as far as they are here, and no others; absent: everything. An entry that
    /// names no site leaves none.
    pub(crate) fn leave(&mut self, entries: Option<&[String]>) {
        let sites_of =
            |entry: &String| entry.split("->").filter_map(|part| parse_entry(part.trim())).collect();
        self.left = entries
            .map(|entries| entries.iter().flat_map(|entry| -> Vec<Site> { sites_of(entry) }).collect());
    }

    /// The same is left here as there.
    pub(crate) fn leave_as(&mut self, other: &Self) {
        self.left.clone_from(&other.left);
    }

    fn is_left(&self, site: &Site) -> bool {
        self.left.as_ref().is_none_or(|left| left.contains(site))
    }

    /// Whether this upstream is listed, be it left or not.
    pub(crate) fn knows(&self, site: &Site) -> bool {
        self.sites.contains(site)
    }

    /// Whether the operator listed this upstream, and it is left.
    pub(crate) fn lists(&self, site: &Site) -> bool {
        self.knows(site) && self.is_left(site)
    }

    /// Whether the operator lets redirects of `from` reach `to`, wherever that is.
    pub(crate) fn has_passage(&self, from: &Site, to: &Site) -> bool {
        self.passages.contains(&(from.clone(), to.clone())) && self.is_left(to)
    }

    /// The address the operator gave for this host and port.
    pub(crate) fn address_of(&self, site: &Site) -> Option<SocketAddr> {
        let address = self.overrides.get(&(site.host.clone(), site.port))?;
        Some(SocketAddr::new(*address, site.port))
    }

    /// Whether the host is a built-in forge that a CONNECT may reach.
    pub(crate) fn is_forge(&self, site: &Site) -> bool {
        self.connect_forges
            && site.scheme == Scheme::Https
            && site.port == 443
            && FORGES.contains(&site.host.as_str())
            && self.is_left(site)
    }

    /// `http://h/` on the default port is spoken over TLS where only `https://h` is listed.
    pub(crate) fn upgraded(&self, target: Target) -> Target {
        if target.site.scheme != Scheme::Http || target.site.port != 80 || self.lists(&target.site) {
            return target;
        }
        let site = Site { scheme: Scheme::Https, port: 443, ..target.site.clone() };
        if self.lists(&site) || self.is_forge(&site) { Target { site, ..target } } else { target }
    }

    /// The error for what is not listed.
    pub(crate) fn refusal(site: &Site) -> OriginError {
        OriginError::NotAllowed { upstream: site.to_string() }
    }
}

/// `[http://|https://]HOST[:PORT]`, https when not said.
fn parse_entry(entry: &str) -> Option<Site> {
    let (scheme, rest) = match entry.split_once("://") {
        Some((scheme, rest)) => (Scheme::parse(scheme)?, rest),
        None => (Scheme::Https, entry),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['/', '?', '#', '@', '\\', '*', ' ']) {
        return None;
    }
    let (host, port) = split_port(rest)?;
    Site::new(scheme, host, port.unwrap_or_else(|| scheme.default_port()))
}

/// Splits `host[:port]`, where an IPv6 host stands in brackets (or alone, without a port).
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => Some((text, None)),
        Some((host, port)) => port.parse().ok().filter(|port| *port != 0).map(|port| (host, Some(port))),
        None => Some((text, None)),
    }
}

/// `HOST:PORT:ADDRESS` as curl reads it; an IPv6 address may stand in brackets.
fn parse_override(entry: &str) -> Option<(String, u16, IpAddr)> {
    let end = if entry.starts_with('[') { entry.find("]:")? + 1 } else { entry.find(':')? };
    let (host, rest) = (entry.get(..end)?, entry.get(end..)?.strip_prefix(':')?);
    let (port, address) = rest.split_once(':')?;
    let address = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let site = Site::new(Scheme::Https, host, port.parse().ok()?)?;
    Some((site.host, site.port, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(upstreams: &[&str]) -> AllowList {
        let owned: Vec<String> = upstreams.iter().map(|&text| text.to_owned()).collect();
        let mut mistakes = Vec::new();
        let list = AllowList::parse(&owned, &[], true, &mut mistakes);
        assert_eq!(mistakes, Vec::<String>::new());
        list
    }

    fn allows(list: &AllowList, url: &str) -> bool {
        Target::parse(url).is_ok_and(|target| list.lists(&target.site))
    }

    #[test]
    fn an_entry_opens_its_scheme_host_and_port_and_nothing_else() {
        let list = list(&["github.com", "http://lfs.test:8080", "https://[2001:db8::1]:8443"]);
        for url in [
            "https://github.com/x",
            "https://GITHUB.com.:443/",
            "http://lfs.test:8080/",
            "https://[2001:db8:0::1]:8443/",
        ] {
            assert!(allows(&list, url), "{url}");
        }
        for url in [
            "http://github.com/",
            "https://github.com:8443/",
            "https://a.github.com/",
            "https://github.com.evil.test/",
            "http://lfs.test/",
            "https://lfs.test:8080/",
            "https://github.com@evil.test/",
            "https://evil.test/github.com",
            "http://169.254.169.254/?github.com",
            "https://evil.test/#github.com",
        ] {
            assert!(!allows(&list, url), "{url}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut mistakes = Vec::new();
        let upstreams =
            ["ftp://h", "h:0", "h:99999", "a/b", "*.h", "u@h", "", "good.example"].map(str::to_owned);
        let resolve = ["h:443", "h:443:name", "h:443:127.0.0.1"].map(str::to_owned);
        AllowList::parse(&upstreams, &resolve, false, &mut mistakes);
        assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
        assert!(mistakes.iter().all(|line| line.contains("`upstreams`") || line.contains("`resolve`")));
    }

    #[test]
    fn an_override_is_read_as_curl_does() {
        let mut mistakes = Vec::new();
        let resolve = ["H.test:443:127.0.0.1", "[2001:db8::1]:80:[::1]", "v6.test:1:::1"].map(str::to_owned);
        let list = AllowList::parse(&[], &resolve, false, &mut mistakes);
        assert_eq!(mistakes, Vec::<String>::new());
        let at = |host: &str, port| list.address_of(&Site::new(Scheme::Https, host, port).unwrap());
        assert_eq!(at("h.test", 443), Some("127.0.0.1:443".parse().unwrap()));
        assert_eq!(at("2001:db8::1", 80), Some("[::1]:80".parse().unwrap()));
        assert_eq!(at("v6.test", 1), Some("[::1]:1".parse().unwrap()));
        assert_eq!(at("h.test", 80), None);
    }

    #[test]
    fn plain_http_on_the_default_port_is_upgraded_where_only_tls_is_listed() {
        let list = list(&["a.test", "http://b.test", "https://b.test"]);
        let upgraded = |url| list.upgraded(Target::parse(url).unwrap()).text();
        assert_eq!(upgraded("http://a.test/x?y"), "https://a.test/x?y");
        assert_eq!(upgraded("http://a.test:8080/x"), "http://a.test:8080/x");
        assert_eq!(upgraded("http://b.test/x"), "http://b.test/x");
        assert_eq!(upgraded("http://c.test/x"), "http://c.test/x");
    }

    #[test]
    fn forges_are_reached_only_by_connect_on_443_and_only_when_switched_on() {
        let site = |port| Site::new(Scheme::Https, "github.com", port).unwrap();
        assert!(list(&[]).is_forge(&site(443)));
        assert!(!list(&[]).is_forge(&site(22)));
        assert!(!AllowList::default().is_forge(&site(443)));
        assert!(!list(&[]).lists(&site(443)));
    }

    #[test]
    fn what_is_not_left_is_neither_listed_nor_a_forge_nor_a_passage() {
        let mut list = list(&["a.test", "b.test", "a.test -> http://c.test"]);
        let site = |url: &str| Target::parse(url).unwrap().site;
        let (a, b, c) = (site("https://a.test/"), site("https://b.test/"), site("http://c.test/"));
        let github = site("https://github.com/");
        list.leave(Some(&["https://a.test".to_owned(), "other.test".to_owned()]));
        assert!(list.lists(&a) && !list.lists(&site("https://other.test/")), "it only takes away");
        assert!(!list.lists(&b) && list.knows(&b));
        assert!(!list.has_passage(&a, &c) && !list.is_forge(&github));
        list.leave(Some(&["a.test -> http://c.test".to_owned(), "github.com".to_owned()]));
        assert!(list.has_passage(&a, &c) && list.is_forge(&github) && !list.lists(&b));
        list.leave(None);
        assert!(list.lists(&b) && list.has_passage(&a, &c));
    }
}
