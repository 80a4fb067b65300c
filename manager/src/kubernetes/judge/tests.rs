//! Verdicts and words, case by case.

use super::super::upstream::{Credentials, KeyRef, SecretRef};
use super::*;

fn asked(name: &str, url: &str) -> Asked {
    let spec =
        LfsUpstreamSpec { url: url.to_owned(), redirects_to: Vec::new(), tls: None, credentials: None };
    Asked { name: name.to_owned(), made: "2026-01-01T00:00:00Z".to_owned(), spec }
}

fn pem() -> String {
    rcgen::generate_simple_self_signed(["git.corp".to_owned()]).unwrap().cert.pem()
}

fn reason(verdict: &Verdict) -> &'static str {
    verdict.as_ref().err().map_or("Accepted", |unread| unread.reason)
}

fn judged_alone(one: &Asked) -> Verdict {
    accept(std::slice::from_ref(one), &Read::new()).remove(&one.name).unwrap()
}

#[test]
fn a_url_is_given_on_in_one_spelling() {
    for (url, entry) in [
        ("https://Git.Corp:443/", "https://git.corp"),
        ("http://lfs.corp:8080", "http://lfs.corp:8080"),
        ("http://lfs.corp:80", "http://lfs.corp"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ] {
        assert_eq!(judged_alone(&asked("a", url)).unwrap().entry, entry);
    }
}

#[test]
fn what_is_no_site_is_refused_in_words() {
    for url in [
        "git.corp",
        "ftp://h",
        "https://",
        "https://h/p",
        "https://u@h",
        "https://h:0",
        "https://h:x",
        "https://*.h",
        "https://a b",
        "https://h?x",
    ] {
        let verdict = judged_alone(&asked("a", url));
        assert_eq!(reason(&verdict), "InvalidUrl", "{url}");
        assert!(verdict.unwrap_err().words.contains("`url`"));
    }
    let mut one = asked("a", "https://h");
    one.spec.redirects_to = vec!["https://ok".to_owned(), "s3://bucket".to_owned()];
    assert!(judged_alone(&one).unwrap_err().words.contains("`redirectsTo`: s3://bucket"));
}

#[test]
fn of_two_for_one_url_the_older_counts_whatever_their_order() {
    let older = Asked { made: "2025-01-01T00:00:00Z".to_owned(), ..asked("z", "https://h") };
    let younger = asked("a", "https://H:443/");
    let verdicts = accept(&[younger, older], &Read::new());
    assert_eq!((reason(&verdicts["z"]), reason(&verdicts["a"])), ("Accepted", "DuplicateUrl"));
    assert!(verdicts["a"].as_ref().unwrap_err().words.starts_with("z, which is older"));
}

#[test]
fn a_refused_one_does_not_shut_out_a_good_one_for_the_same_url() {
    let mut bad = Asked { made: "2025".to_owned(), ..asked("bad", "https://h") };
    bad.spec.tls = Some(Tls { ca_bundle: Some("junk".to_owned()), config_map_ref: None });
    let verdicts = accept(&[bad, asked("good", "https://h")], &Read::new());
    assert_eq!((reason(&verdicts["bad"]), reason(&verdicts["good"])), ("InvalidCaBundle", "Accepted"));
}

#[test]
fn certificates_are_read_before_they_are_given_on() {
    let mut one = asked("a", "https://h");
    let begin = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for junk in ["", "junk", begin] {
        one.spec.tls = Some(Tls { ca_bundle: Some(junk.to_owned()), config_map_ref: None });
        assert_eq!(reason(&judged_alone(&one)), "InvalidCaBundle", "{junk}");
    }
    one.spec.tls = Some(Tls { ca_bundle: Some(pem()), config_map_ref: None });
    assert!(judged_alone(&one).unwrap().ca_pem.contains("BEGIN CERTIFICATE"));
}

#[test]
fn a_config_map_that_is_not_there_is_named() {
    let mut one = asked("a", "https://h");
    let key = KeyRef { name: "corp-ca".to_owned(), key: "ca.crt".to_owned() };
    one.spec.tls = Some(Tls { ca_bundle: None, config_map_ref: Some(key) });
    let named = bundle_of(&one.spec).unwrap();
    let unread = Unread { reason: "CaBundleMissing", words: "ConfigMap corp-ca does not exist".to_owned() };
    let bundles = Read::from([(named.clone(), Err(unread.clone()))]);
    assert_eq!(accept(&[one.clone()], &bundles)["a"], Err(unread));
    let bundles = Read::from([(named, Ok(pem()))]);
    assert!(accept(&[one], &bundles)["a"].is_ok());
}

#[test]
fn the_revision_is_that_of_the_content() {
    let verdicts = |names: &[&str]| {
        let all: Vec<_> = names.iter().map(|name| asked(name, &format!("https://{name}"))).collect();
        list(&accept(&all, &Read::new())).revision
    };
    assert_eq!(verdicts(&["a", "b"]), verdicts(&["b", "a"]));
    assert_ne!(verdicts(&["a", "b"]), verdicts(&["a"]));
    assert_eq!(verdicts(&[]).len(), 16);
}

#[test]
fn there_is_a_bound() {
    let all: Vec<_> =
        (0..=MOST_UPSTREAMS).map(|n| asked(&format!("u{n:03}"), &format!("https://h{n}"))).collect();
    let verdicts = accept(&all, &Read::new());
    assert_eq!(list(&verdicts).upstreams.len(), MOST_UPSTREAMS);
    assert_eq!(reason(&verdicts["u256"]), "TooMany");
}

fn heard(node: &str, revision: &str, refused: &[(&str, &str)]) -> Heard {
    let refused = refused.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect();
    Heard { node: node.to_owned(), component: "seed-peer".to_owned(), revision: revision.to_owned(), refused }
}

fn told(one: &Asked, secrets: &Read<BTreeSet<String>>, nodes: &[Heard]) -> Told {
    said(one, &judged_alone(one), secrets, "r2", nodes)
}

fn said_of<'a>(told: &'a Told, kind: &str) -> (&'static str, Option<bool>, &'a str) {
    let found = told.said.iter().find(|said| said.kind == kind).unwrap();
    (found.reason, found.holds, found.message.as_str())
}

#[test]
fn it_is_ready_when_every_node_dials_it() {
    let one = asked("a", "https://h");
    let behind = told(&one, &Read::new(), &[heard("n1", "r2", &[]), heard("n2", "r1", &[])]);
    assert_eq!((said_of(&behind, "Ready").0, behind.nodes.as_str()), ("Waiting", "1/2"));
    let all = told(&one, &Read::new(), &[heard("n1", "r2", &[]), heard("n2", "r2", &[("other", "no")])]);
    assert_eq!((said_of(&all, "Ready").1, all.nodes.as_str()), (Some(true), "2/2"));
}

#[test]
fn a_node_that_refuses_is_quoted() {
    let nodes = [heard("n1", "r2", &[("a", "`upstreams`: not good")]), heard("n2", "r2", &[])];
    let told = told(&asked("a", "https://h"), &Read::new(), &nodes);
    assert_eq!(said_of(&told, "Ready"), ("Refused", Some(false), "seed-peer n1: `upstreams`: not good"));
    assert_eq!((told.nodes.as_str(), told.refused.len()), ("1/2", 1));
}

#[test]
fn without_nodes_it_is_not_known() {
    let told = told(&asked("a", "https://h"), &Read::new(), &[]);
    assert_eq!(said_of(&told, "InForce").1, None);
    assert!(said_of(&told, "Ready").2.contains("`upstreamsFromCluster`"));
}

#[test]
fn a_missing_credential_is_told_and_the_upstream_stays_in_force() {
    let mut one = asked("a", "https://h");
    let secret_ref = SecretRef { name: "token".to_owned() };
    one.spec.credentials = Some(Credentials { secret_ref });
    let nodes = [heard("n1", "r2", &[])];
    let secrets = |keys: &[&str]| {
        Read::from([("token".to_owned(), Ok(keys.iter().map(|&key| key.to_owned()).collect()))])
    };
    assert_eq!(said_of(&told(&one, &secrets(&["password"]), &nodes), "Ready").1, Some(true));
    let incomplete = told(&one, &secrets(&["user"]), &nodes);
    assert_eq!(said_of(&incomplete, "Ready").0, "SecretIncomplete");
    assert_eq!(said_of(&incomplete, "InForce").1, Some(true));
}

#[test]
fn what_is_not_accepted_is_in_force_nowhere() {
    let told = told(&asked("a", "ftp://h"), &Read::new(), &[heard("n", "r2", &[])]);
    assert_eq!((said_of(&told, "Ready").0, told.nodes.as_str()), ("InvalidUrl", "0/1"));
}
