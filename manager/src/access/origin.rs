//! Whether a change asked for with a cookie comes from our own page.
//!
//! Owns: the check against forged requests of other pages: what the browser says of the sender (`Sec-Fetch-Site`,
//! else `Origin`). A client that says neither is no browser, and holds the cookie because somebody gave it to it.
//! Never: applied to tokens, which a browser does not send by itself.

use http::{HeaderMap, Method, StatusCode, header};

use crate::problem::Problem;

/// Refuse a change that another page asks for.
pub fn check(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if reads || own_page(headers) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "a change with a session must come from the manager's own page"))
}

fn own_page(headers: &HeaderMap) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => {
            let named =
                origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            named.is_some() && named == host
        }
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, sent: &[(&'static str, &str)]) -> bool {
        let pairs = sent.iter().map(|&(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
        });
        check(method, &pairs.collect()).is_ok()
    }

    #[test]
    fn a_change_from_another_page_is_refused() {
        for site in ["cross-site", "same-site", "Same-Origin", ""] {
            assert!(!asked(&Method::PUT, &[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["null", "http://evil.example", "http://host:8080.evil.example", "host:8080", ""] {
            assert!(!asked(&Method::POST, &[("origin", origin), ("host", "host:8080")]), "{origin}");
        }
        assert!(!asked(&Method::DELETE, &[("origin", "http://h")]));
    }

    #[test]
    fn our_own_page_and_no_browser_may_change() {
        assert!(asked(&Method::PUT, &[("sec-fetch-site", "same-origin"), ("origin", "http://other")]));
        assert!(asked(&Method::POST, &[("origin", "http://host:8080"), ("host", "host:8080")]));
        assert!(asked(&Method::DELETE, &[]));
    }

    #[test]
    fn reading_is_not_asked_for_a_page() {
        assert!(asked(&Method::GET, &[("sec-fetch-site", "cross-site")]));
    }
}
