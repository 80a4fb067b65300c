//! An address taken apart, once, before anything is decided about it.
//!
//! Owns: the parsed (scheme, host, port, path) every rule works on. Never: decisions. The host is in its one canonical
//! spelling (`0x7f.1`, `2130706433` and `%31%32%37.0.0.1` are all `127.0.0.1`); the path and query keep the bytes they
//! came with, since a signature may cover them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use http::Uri;
use http::uri::PathAndQuery;
use url::{Host, Url};

use crate::error::OriginError;

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over verified TLS.
    Https,
}

impl Scheme {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What an upstream is known by: the unit of the allow-list, of circuits and of capabilities.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) scheme: Scheme,
    /// Lower case, without a trailing dot; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Site {
    /// A site from parts as a request or a configuration spells them.
    pub(crate) fn new(scheme: Scheme, host: &str, port: u16) -> Option<Self> {
        Some(Self { scheme, host: canonical_host(host)?, port })
    }

    /// The address itself, where the host is one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `host[:port]` as in a URL or a `Host` header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// `host:port`, always with its port.
    pub(crate) fn host_and_port(&self) -> String {
        match self.literal() {
            Some(address) => SocketAddr::new(address, self.port).to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host_and_port())
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A whole address. It has no `Debug` of its path: that may be a credential.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) site: Site,
    pub(crate) path: PathAndQuery,
    /// `Basic ...` of a `user:password@` part.
    pub(crate) userinfo: Option<String>,
}

impl Target {
    /// Takes an absolute http(s) address apart.
    pub(crate) fn parse(text: &str) -> Result<Self, OriginError> {
        // The WHATWG parser forgives blanks and turns backslashes into slashes; another reader may not: refuse both.
        if text.bytes().any(|byte| !(0x21..=0x7e).contains(&byte) || byte == b'\\') {
            return Err(OriginError::Malformed("it holds blanks, backslashes or bytes outside of ASCII"));
        }
        let url = Url::parse(text).map_err(|_why: url::ParseError| OriginError::Malformed("it is no URL"))?;
        let scheme =
            Scheme::parse(url.scheme()).ok_or(OriginError::Malformed("only http and https are spoken"))?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(OriginError::Malformed("it names no host"));
        }
        let port = url.port().unwrap_or_else(|| scheme.default_port());
        let path = raw_path(text, url.scheme())?;
        Ok(Self { site: Site { scheme, host, port }, path, userinfo: basic(&url) })
    }

    /// The absolute form for an HTTP client.
    pub(crate) fn uri(&self) -> Result<Uri, OriginError> {
        Uri::builder()
            .scheme(self.site.scheme.as_str())
            .authority(self.site.authority())
            .path_and_query(self.path.clone())
            .build()
            .map_err(|_why: http::Error| OriginError::Malformed("its parts make no request"))
    }

    /// The address as text, without userinfo.
    pub(crate) fn text(&self) -> String {
        format!("{}://{}{}", self.site.scheme.as_str(), self.site.authority(), self.path)
    }

    /// Where a `Location` leads, seen from here. Userinfo in it is dropped.
    pub(crate) fn join(&self, location: &str) -> Result<Self, OriginError> {
        if Url::parse(location).is_ok() {
            return Self::parse(location).map(|target| Self { userinfo: None, ..target });
        }
        let base = Url::parse(&self.text())
            .map_err(|_why: url::ParseError| OriginError::Nonsense("its own address"))?;
        let joined =
            base.join(location).map_err(|_why: url::ParseError| OriginError::Nonsense("its location"))?;
        Self::parse(joined.as_str()).map(|target| Self { userinfo: None, ..target })
    }
}

/// The path and query exactly as written. `http:host` and `http:///host` are names for a host to the WHATWG parser only.
fn raw_path(text: &str, scheme: &str) -> Result<PathAndQuery, OriginError> {
    let malformed = OriginError::Malformed("its path makes no request");
    let rest = text.get(scheme.len()..).and_then(|rest| rest.strip_prefix("://"));
    let rest = rest.filter(|rest| !rest.starts_with('/')).ok_or_else(|| malformed.clone())?;
    let start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = rest.get(start..).unwrap_or_default();
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    path.parse().map_err(|_why: http::uri::InvalidUri| malformed)
}

fn basic(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

/// One spelling for every way to write a host.
fn canonical_host(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    let written = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    match Host::parse(&written).ok()? {
        Host::Domain(name) => Some(name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(url: &str) -> String {
        Target::parse(url).map_or_else(|error| error.to_string(), |target| target.site.to_string())
    }

    #[test]
    fn every_spelling_of_a_host_is_one_host() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://%31%32%37.0.0.1/",
            "http://127.0.0.1./",
            "http://user:pw@127.0.0.1/",
            "http://allowed.example@127.0.0.1/",
            "HTTP://127.0.0.1:80/x",
        ] {
            assert_eq!(site(url), "http://127.0.0.1:80", "{url}");
        }
        assert_eq!(site("https://EXAMPLE.com./x"), "https://example.com:443");
        assert_eq!(site("http://[2001:DB8:0::1]:8443/x"), "http://[2001:db8::1]:8443");
        assert_eq!(Site::new(Scheme::Http, "0x7f.1", 1).map(|site| site.host), Some("127.0.0.1".to_owned()));
        assert_eq!(Site::new(Scheme::Http, "[::1]", 1), Site::new(Scheme::Http, "::1", 1));
    }

    #[test]
    fn an_encoded_slash_does_not_end_the_host() {
        assert!(Target::parse("http://169.254.169.254%2f.allowed.example/").is_err());
        assert!(
            Target::parse("http://allowed.example%2f@169.254.169.254/")
                .is_ok_and(|t| t.site.host == "169.254.169.254")
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for url in [
            "http://h\\@evil/",
            "http://h/\tx",
            "http://h/a b",
            "http:///x",
            "http:h/?http://x",
            "ftp://h/",
            "file:///etc/passwd",
            "h/x",
            "",
            "http://h\u{2100}/",
            "http://h/\r\nx",
        ] {
            assert!(matches!(Target::parse(url), Err(OriginError::Malformed(_))), "{url:?}");
        }
    }

    #[test]
    fn a_signed_path_keeps_its_bytes() {
        let url = "https://h/a/%7Eb/../c//d%2Fe?X-Amz-Signature=%2b+&x=y#f";
        let target = Target::parse(url).unwrap();
        assert_eq!(target.path.as_str(), "/a/%7Eb/../c//d%2Fe?X-Amz-Signature=%2b+&x=y");
        assert_eq!(Target::parse("https://h?x=1").unwrap().path.as_str(), "/?x=1");
        assert_eq!(Target::parse("https://h").unwrap().text(), "https://h/");
    }

    #[test]
    fn userinfo_becomes_a_header_and_never_survives_a_redirect() {
        let target = Target::parse("https://user:p%40ss@h/x").unwrap();
        assert_eq!(target.userinfo.as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert_eq!(target.text(), "https://h/x");
        assert!(target.join("https://a:b@c/").unwrap().userinfo.is_none());
    }

    #[test]
    fn a_location_is_read_from_where_it_was_given() {
        let target = Target::parse("https://h:8443/a/b?c").unwrap();
        assert_eq!(target.join("d?e=%2F").unwrap().text(), "https://h:8443/a/d?e=%2F");
        assert_eq!(target.join("/d").unwrap().text(), "https://h:8443/d");
        assert_eq!(target.join("//other/d").unwrap().text(), "https://other/d");
        assert_eq!(target.join("https://s3/x?sig=%2b").unwrap().text(), "https://s3/x?sig=%2b");
    }
}
