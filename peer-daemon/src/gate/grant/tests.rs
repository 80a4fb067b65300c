//! What a client gets of an origin's answer.

use super::*;
use darner_chassis::seal::Sealer;
use darner_lfs::batch::Bounds;

const NOW_MS: u64 = 1_800_000_000_000;
const BASE: &str = "http://127.0.0.1:65001";
const ENDPOINT: &str = "https://forge/o/r.git/info/lfs";

struct Desk {
    tickets: Tickets,
    asked: HashMap<Oid, u64>,
    _directory: tempfile::TempDir,
}

fn desk() -> Desk {
    let directory = tempfile::tempdir().unwrap();
    let sealer = Sealer::open_or_generate(&directory.path().join("keys")).unwrap();
    let asked = HashMap::from([(Oid::EMPTY, 5)]);
    Desk { tickets: Tickets::new(sealer, String::new()), asked, _directory: directory }
}

impl Desk {
    fn rewrite(&self, object: &str) -> (Answer, Vec<Ticket>) {
        let body = format!(r#"{{"objects":[{}]}}"#, object.replace("OID", &Oid::EMPTY.to_string()));
        let mut answer = Answer::parse(body.as_bytes(), &Bounds::default()).unwrap();
        let granting = Granting {
            endpoint: ENDPOINT,
            upstream: "https://forge/o/r",
            base: BASE,
            authorization: Some("Basic own"),
            asked: &self.asked,
            trace: None,
            now_ms: NOW_MS,
        };
        let tickets = granting.rewrite(&mut answer, &self.tickets, |href| !href.contains("unlisted"));
        (answer, tickets)
    }
}

#[test]
fn a_granted_download_leads_here_with_a_ticket() {
    let desk = desk();
    let (answer, tickets) = desk.rewrite(
        r#"{"oid":"OID","size":5,"actions":{"download":{"href":"https://cdn/x?sig=1","header":{"X-A":"b"},"expires_in":60}}}"#,
    );
    let object = &answer.objects[0];
    let action = object.action("download").unwrap();
    assert_eq!(action.href, format!("{BASE}/-/objects/{}", Oid::EMPTY.path()));
    assert_eq!((object.authenticated, action.expires_in), (Some(true), Some(60)));
    let header = action.header.as_ref().unwrap();
    assert_eq!(header.len(), 1);
    let read =
        desk.tickets.read(header.get("Authorization").map(String::as_str), &Oid::EMPTY, NOW_MS).unwrap();
    assert_eq!(tickets, std::slice::from_ref(&read));
    assert_eq!((read.href.as_str(), read.expires_ms), ("https://cdn/x?sig=1", NOW_MS + 60_000));
    assert_eq!(read.headers, [("X-A".to_owned(), "b".to_owned())]);
}

#[test]
fn a_ticket_ends_when_the_origins_grant_ends() {
    let desk = desk();
    let end = |fields: &str, href: &str| {
        let object =
            format!(r#"{{"oid":"OID","size":5,"actions":{{"download":{{"href":"{href}"{fields}}}}}}}"#);
        let (answer, tickets) = desk.rewrite(&object);
        (tickets[0].expires_ms - NOW_MS, answer.objects[0].action("download").unwrap().expires_in)
    };
    assert_eq!(end(r#","expires_at":"2027-01-15T08:01:40Z""#, "https://cdn/x"), (100_000, None));
    assert_eq!(
        end(r#","expires_in":7,"expires_at":"2027-01-15T08:01:40Z""#, "https://cdn/x"),
        (7_000, Some(7))
    );
    assert_eq!(end("", "https://cdn/x?exp=1800000030"), (30_000, Some(30)));
    assert_eq!(end(r#","expires_at":"0001-01-01T00:00:00Z""#, "https://cdn/x"), (UNSAID_LIFE_MS, None));
    assert_eq!(end("", "https://cdn/x"), (UNSAID_LIFE_MS, Some(3600)));
}

#[test]
fn a_server_that_wants_the_clients_own_credential_gets_it() {
    let desk = desk();
    let own = |object: &str| desk.rewrite(object).1[0].headers.clone();
    let action =
        |href: &str| format!(r#"{{"oid":"OID","size":5,"actions":{{"download":{{"href":"{href}"}}}}}}"#);
    assert_eq!(
        own(&action("https://forge/o/r/objects/x")),
        [("Authorization".to_owned(), "Basic own".to_owned())]
    );
    assert!(own(&action("https://cdn/x")).is_empty());
    assert!(own(&action("https://forge/x?token=1")).is_empty());
    let authenticated = action("https://forge/x").replace(r#""size":5"#, r#""size":5,"authenticated":true"#);
    assert!(own(&authenticated).is_empty());
}

#[test]
fn what_is_not_ours_to_serve_stays_as_it_came() {
    let desk = desk();
    for object in [
        r#"{"oid":"OID","size":5,"actions":{"download":{"href":"https://unlisted/x"}}}"#,
        r#"{"oid":"OID","size":5,"actions":{"upload":{"href":"https://cdn/x"}}}"#,
        r#"{"oid":"OID","size":0,"actions":{"download":{"href":"https://cdn/x"}}}"#,
        r#"{"oid":"OID","size":5,"error":{"code":404,"message":"gone"}}"#,
        r#"{"oid":"OID","size":5}"#,
        r#"{"oid":"nonsense","size":5,"actions":{"download":{"href":"https://cdn/x"}}}"#,
        r#"{"oid":"4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393","size":5,"actions":{"download":{"href":"https://cdn/x"}}}"#,
    ] {
        let (answer, tickets) = desk.rewrite(object);
        assert!(tickets.is_empty(), "{object}");
        let wanted = object.replace("OID", &Oid::EMPTY.to_string());
        assert_eq!(serde_json::to_string(&answer.objects[0]).unwrap(), wanted);
    }
}

#[test]
fn another_transfer_than_basic_is_left_alone() {
    let desk = desk();
    let object =
        format!(r#"{{"oid":"{}","size":5,"actions":{{"download":{{"href":"https://cdn/x"}}}}}}"#, Oid::EMPTY);
    let body = format!(r#"{{"transfer":"multipart","objects":[{object}]}}"#);
    let mut answer = Answer::parse(body.as_bytes(), &Bounds::default()).unwrap();
    let granting = Granting {
        endpoint: ENDPOINT,
        upstream: "https://forge/o/r",
        base: BASE,
        authorization: None,
        asked: &desk.asked,
        trace: None,
        now_ms: NOW_MS,
    };
    assert!(granting.rewrite(&mut answer, &desk.tickets, |_| true).is_empty());
    assert_eq!(answer.to_json(), body.into_bytes());
}
