//! Reads a request line: where does this request want to go?
//!
//! Pure: texts in, a [`Route`] out. The request-target decides, never the `Host` header. What cannot be read in one
//! way only is malformed; whether a host may be dialled is decided later, on its parsed form, by `darner_origin`.

use darner_lfs::Oid;
use darner_lfs::key::oid_in_path;
use http::{HeaderMap, Method, Uri, header};

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/-/objects/aa/bb/<oid>`: an object by its ticket.
    Ticketed(Oid),
    /// An upstream.
    Upstream(Upstream),
    /// `CONNECT host:port`.
    Connect {
        /// The host, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `/`: a person with a browser.
    Front,
    /// Nothing here: what is missing, in words.
    Absent(&'static str),
    /// Not readable: why.
    Malformed(&'static str),
}

/// A request for an upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The whole address, as it will be asked for.
    pub url: String,
    /// Whether the client used us as a proxy (mode C) rather than as a path (modes A and B).
    pub proxied: bool,
}

impl std::fmt::Debug for Upstream {
    /// Leaves out the path: it may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("proxied", &self.proxied).finish_non_exhaustive()
    }
}

/// What a request to an upstream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// git's own greeting.
    InfoRefs,
    /// `POST .../objects/batch`.
    Batch,
    /// The bytes of an object that the path names.
    Content(Oid),
    /// Locking.
    Lock,
    /// Anything that changes something upstream: PUT of an object, `verify`, tus, push.
    Upload,
    /// Everything else.
    Other,
}

/// Reads the request line. `own` are the `host:port` texts by which this listener is known.
pub fn route(method: &Method, uri: &Uri, own: &[String]) -> Route {
    if *method == Method::CONNECT {
        return connect(uri);
    }
    let Some(authority) = uri.authority() else { return origin_form(path_and_query(uri)) };
    if own.iter().any(|own| own == authority.as_str()) {
        return origin_form(path_and_query(uri));
    }
    match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) => {
            let url = format!("{scheme}://{authority}{}", path_and_query(uri));
            Route::Upstream(Upstream { url, proxied: true })
        }
        _ => Route::Malformed("the request-target has no scheme this proxy serves"),
    }
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |text| text.as_str())
}

fn connect(uri: &Uri) -> Route {
    let Some(authority) = uri.authority() else {
        return Route::Malformed("CONNECT needs HOST:PORT");
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match authority.port_u16() {
        Some(port) if !authority.as_str().contains('@') && !host.is_empty() => {
            Route::Connect { host: host.to_owned(), port }
        }
        _ => Route::Malformed("CONNECT needs HOST:PORT"),
    }
}

fn origin_form(target: &str) -> Route {
    for (prefix, scheme) in [("/https/", "https"), ("/http/", "http")] {
        if let Some(rest) = target.strip_prefix(prefix) {
            return reverse(scheme, rest);
        }
    }
    let path = target.split('?').next().unwrap_or_default();
    match path {
        "/" => Route::Front,
        _ if path.starts_with("/-/objects/") => match (oid_in_path(path), path.split('/').count()) {
            (Some(oid), 6) => Route::Ticketed(oid),
            _ => Route::Absent("no object is named by this path: it has the form /-/objects/aa/bb/<oid>"),
        },
        _ if path == "/v2" || path.starts_with("/v2/") => {
            Route::Absent("the registry mirror (/v2/) is not part of this version of Darner")
        }
        _ if path == "/hf" || path.starts_with("/hf/") => {
            Route::Absent("the Hugging Face endpoint (/hf) is not part of this version of Darner")
        }
        _ => Route::Absent(
            "this is a Darner peer daemon: it serves /https/<host>/<path>, /http/<host>/<path> and proxy requests; `darner git-config` prints the lines for git",
        ),
    }
}

fn reverse(scheme: &str, rest: &str) -> Route {
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let readable = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(readable) {
        return Route::Malformed(
            "the path must begin with /https/<host>[:<port>]/ (or /http/), without user names or encoding in the host",
        );
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Route::Upstream(Upstream { url: format!("{scheme}://{host}{slash}{path}"), proxied: false })
}

/// What the request is for. `path` is the part of the upstream's address between host and query.
pub fn purpose(method: &Method, path: &str, headers: &HeaderMap) -> Purpose {
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads && path.ends_with("/info/refs") {
        return Purpose::InfoRefs;
    }
    if *method == Method::POST && path.ends_with("/objects/batch") {
        return Purpose::Batch;
    }
    if path.ends_with("/locks") || path.contains("/locks/") && path.contains("/info/lfs/") {
        return Purpose::Lock;
    }
    match oid_in_path(path) {
        Some(oid) if reads && !wants_metadata(headers) => Purpose::Content(oid),
        _ if reads => Purpose::Other,
        _ if is_read_over_post(path) => Purpose::Other,
        _ => Purpose::Upload,
    }
}

/// The v0.5 API answers `GET /objects/<oid>` with JSON for clients that ask for it.
fn wants_metadata(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("vnd.git-lfs+json"))
}

/// git fetches with POST.
fn is_read_over_post(path: &str) -> bool {
    path.ends_with("/git-upload-pack")
}

/// Where an address's path begins and ends.
pub fn path_of(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let path = after.find('/').and_then(|at| after.get(at..)).unwrap_or("/");
    path.split('?').next().unwrap_or(path)
}

/// Whether an address carries its own authorisation in the query, so that the client can be sent there itself.
pub fn carries_authorisation(url: &str) -> bool {
    const NAMES: [&str; 12] = [
        "x-amz-signature",
        "x-goog-signature",
        "x-oss-signature",
        "x-ms-signature",
        "signature",
        "sig",
        "token",
        "access_token",
        "x-obs-signature",
        "q-signature",
        "policy",
        "jwt",
    ];
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        !value.is_empty() && NAMES.contains(&name.to_ascii_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests;
