//! Every form of request line, good and bad.

use super::*;

const OID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn read(method: &str, uri: &str) -> Route {
    let own = ["127.0.0.1:65001".to_owned()];
    route(&method.parse().unwrap(), &uri.parse().unwrap(), &own)
}

fn url(route: Route) -> (String, bool) {
    match route {
        Route::Upstream(upstream) => (upstream.url, upstream.proxied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_path_form_names_scheme_host_and_port() {
    for (path, wanted) in [
        ("/https/github.com/o/r.git/info/refs?service=x", "https://github.com/o/r.git/info/refs?service=x"),
        ("/http/lfs.test:8080/a//b%2Fc", "http://lfs.test:8080/a//b%2Fc"),
        ("/https/[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("/https/h", "https://h/"),
        ("/https/h?q", "https://h/?q"),
    ] {
        assert_eq!(url(read("GET", path)), (wanted.to_owned(), false));
    }
}

#[test]
fn a_host_that_can_be_read_in_two_ways_is_malformed() {
    for path in
        ["/https//x", "/https/u@h/x", "/https/u:p@h/x", "/https/h%2f.evil/x", "/https/h%40evil/", "/http/"]
    {
        assert!(matches!(read("GET", path), Route::Malformed(_)), "{path}");
    }
}

#[test]
fn the_absolute_form_is_a_proxy_request() {
    let (target, proxied) = url(read("GET", "http://github-cloud.test/a/b?X-Amz-Signature=1"));
    assert_eq!((target.as_str(), proxied), ("http://github-cloud.test/a/b?X-Amz-Signature=1", true));
    assert!(matches!(read("GET", "ftp://h/x"), Route::Malformed(_)));
}

#[test]
fn a_proxy_request_for_ourselves_is_a_path_request() {
    let (target, proxied) = url(read("GET", "http://127.0.0.1:65001/https/h/x"));
    assert_eq!((target.as_str(), proxied), ("https://h/x", false));
}

#[test]
fn connect_names_host_and_port() {
    let to = |host: &str, port| Route::Connect { host: host.to_owned(), port };
    assert_eq!(read("CONNECT", "github.com:443"), to("github.com", 443));
    assert_eq!(read("CONNECT", "[::1]:8443"), to("::1", 8443));
    for bad in ["github.com", "u@h:443"] {
        assert!(matches!(read("CONNECT", bad), Route::Malformed(_)), "{bad}");
    }
}

#[test]
fn a_ticketed_object_is_named_by_its_whole_path() {
    assert_eq!(read("GET", &format!("/-/objects/e3/b0/{OID}")), Route::Ticketed(Oid::EMPTY));
    for path in
        [format!("/-/objects/{OID}"), format!("/-/objects/aa/bb/{OID}"), format!("/-/objects/x/e3/b0/{OID}")]
    {
        assert!(matches!(read("GET", &path), Route::Absent(_)), "{path}");
    }
}

#[test]
fn what_is_not_here_is_said_in_words() {
    for path in ["/v2/", "/v2/library/x/blobs/sha256:a", "/hf/api", "/nothing", "/HTTPS/h/x"] {
        assert!(matches!(read("GET", path), Route::Absent(_)), "{path}");
    }
    assert_eq!(read("GET", "/"), Route::Front);
}

#[test]
fn purposes_are_told_apart() {
    let of = |method: &str, path: &str| purpose(&method.parse().unwrap(), path, &HeaderMap::new());
    assert_eq!(of("GET", "/o/r.git/info/refs"), Purpose::InfoRefs);
    assert_eq!(of("POST", "/o/r.git/info/lfs/objects/batch"), Purpose::Batch);
    assert_eq!(of("GET", &format!("/x/e3/b0/{OID}")), Purpose::Content(Oid::EMPTY));
    assert_eq!(of("HEAD", &format!("/r/gitlab-lfs/objects/{OID}/5")), Purpose::Content(Oid::EMPTY));
    assert_eq!(of("PUT", &format!("/x/e3/b0/{OID}")), Purpose::Upload);
    assert_eq!(of("POST", "/o/r.git/info/lfs/verify"), Purpose::Upload);
    assert_eq!(of("POST", "/o/r.git/info/lfs/locks/verify"), Purpose::Lock);
    assert_eq!(of("GET", "/o/r.git/info/lfs/locks"), Purpose::Lock);
    assert_eq!(of("POST", "/o/r.git/info/lfs/locks/7/unlock"), Purpose::Lock);
    assert_eq!(of("POST", "/o/r.git/git-receive-pack"), Purpose::Upload);
    assert_eq!(of("POST", "/o/r.git/git-upload-pack"), Purpose::Other);
    assert_eq!(of("GET", "/o/locks/file"), Purpose::Other);
}

#[test]
fn the_old_metadata_request_is_no_content() {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, "application/vnd.git-lfs+json".parse().unwrap());
    let path = format!("/o/r/objects/{OID}");
    assert_eq!(purpose(&Method::GET, &path, &headers), Purpose::Other);
    headers.insert(header::ACCEPT, "application/vnd.git-lfs".parse().unwrap());
    assert_eq!(purpose(&Method::GET, &path, &headers), Purpose::Content(Oid::EMPTY));
}

#[test]
fn a_signed_address_is_recognised() {
    for signed in ["https://h/x?X-Amz-Signature=1", "https://h/x?a=b&sig=1", "https://h/x?token=1"] {
        assert!(carries_authorisation(signed), "{signed}");
    }
    for bare in ["https://h/x", "https://h/x?sig=", "https://h/x?signatures=1", "https://h/sig=1"] {
        assert!(!carries_authorisation(bare), "{bare}");
    }
}

#[test]
fn the_path_of_an_address_is_found() {
    assert_eq!(path_of("https://h:1/a/b?c=/d"), "/a/b");
    assert_eq!(path_of("https://h"), "/");
    assert_eq!(path_of("https://h?x/y"), "/y");
}
