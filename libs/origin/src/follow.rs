//! A GET that follows redirects, under rules of its own.
//!
//! Owns: where a redirect may lead. At most five hops. On its own site a redirect keeps the credential. To another site it
//! keeps nothing, needs verified TLS and a public address, and never reaches another listed upstream that lies inside
//! (else one upstream could make a seed read what only the seed may read), unless the operator listed the passage
//! `A -> B`. Never: the final address in any error or log.

use darner_chassis::metrics::Kind;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;

use crate::allow::AllowList;
use crate::dial::Trust;
use crate::error::OriginError;
use crate::headers::without_credentials;
use crate::send::{Body, Sender};
use crate::target::{Scheme, Site, Target};

/// Redirects followed before giving up: what real stores need is one or two.
const MAX_HOPS: usize = 5;

/// The answer at the end of the redirects, and whose it is.
pub(crate) struct Arrived {
    pub(crate) site: Site,
    pub(crate) response: Response<Incoming>,
}

/// Whom a request may be sent to in the first place.
pub(crate) fn trust_of(list: &AllowList, site: &Site) -> Result<Trust, OriginError> {
    if list.lists(site) {
        return Ok(Trust::Listed);
    }
    if list.is_forge(site) { Ok(Trust::Public) } else { Err(AllowList::refusal(site)) }
}

/// Sends a GET and follows its redirects.
pub(crate) async fn get(
    list: &AllowList,
    sender: &Sender,
    target: Target,
    mut headers: HeaderMap,
    kind: Kind,
) -> Result<Arrived, OriginError> {
    let mut trust = trust_of(list, &target.site)?;
    let mut target = target;
    if let Some(basic) = target.userinfo.as_ref().filter(|_| !headers.contains_key(header::AUTHORIZATION)) {
        let mut value = HeaderValue::from_str(basic).map_err(|_why: header::InvalidHeaderValue| {
            OriginError::Malformed("its userinfo makes no header")
        })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    for _hop in 0..=MAX_HOPS {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(target.uri()?)
            .body(empty())
            .map_err(|_why: http::Error| OriginError::Malformed("its parts make no request"))?;
        *request.headers_mut() = headers.clone();
        let response = sender.send(&target.site, trust, request, kind).await?;
        let Some(location) = location(&response)? else {
            return Ok(Arrived { site: target.site, response });
        };
        let next = target.join(location)?;
        if next.site != target.site {
            trust = next_trust(list, &target.site, &next.site)?;
            headers = without_credentials(&headers);
        }
        target = next;
    }
    Err(OriginError::TooManyRedirects)
}

/// Whether a redirect may lead from one site to another, and on which terms.
fn next_trust(list: &AllowList, from: &Site, to: &Site) -> Result<Trust, OriginError> {
    // `http://h/` that sends its callers to `https://h/` is one upstream; another port of the same host is not.
    let is_upgrade = from.host == to.host && (from.scheme, from.port) == (Scheme::Http, 80);
    let is_upgrade = is_upgrade && (to.scheme, to.port) == (Scheme::Https, 443) && list.lists(to);
    if list.has_passage(from, to) || is_upgrade {
        return Ok(Trust::Listed);
    }
    // What an operator took off the list is not reached by a detour either.
    if list.knows(to) && !list.lists(to) {
        return Err(AllowList::refusal(to));
    }
    if to.scheme != Scheme::Https {
        return Err(OriginError::Redirect("it leads to another site in clear"));
    }
    Ok(Trust::Public)
}

fn location(response: &Response<Incoming>) -> Result<Option<&str>, OriginError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let value = response
        .headers()
        .get(header::LOCATION)
        .ok_or(OriginError::Nonsense("a redirect without location"))?;
    value
        .to_str()
        .map(Some)
        .map_err(|_why: header::ToStrError| OriginError::Nonsense("its location is no text"))
}

/// A body of nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
