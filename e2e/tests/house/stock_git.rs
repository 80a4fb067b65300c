//! The test origin against stock git and git-lfs, with nothing between: what is blamed on Darner elsewhere must not
//! be the origin's fault.

use std::collections::BTreeMap;

use anyhow::Result;
use darner_e2e::client::Client;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::shelf::{Access, Planted};
use darner_e2e::origin::switches::{BatchSwitch, Switch};
use darner_e2e::origin::{Config, Origin};
use darner_lfs::Oid;

struct Scene {
    origin: Origin,
    client: Client,
    planted: Vec<(String, Oid, u64)>,
    _data: tempfile::TempDir,
}

async fn scene(access: Access, sizes: &[u64]) -> Result<Scene> {
    let data = tempfile::tempdir()?;
    let origin = Origin::start(Config::new(data.path())).await?;
    origin.shelf.create("o/r", access)?;
    let files: Vec<Planted> = sizes
        .iter()
        .zip(1..)
        .map(|(size, seed)| Planted { path: format!("{seed}.bin"), size: *size, seed })
        .collect();
    let planted = origin.shelf.plant("o/r", &files)?;
    Ok(Scene { origin, client: Client::new()?, planted, _data: data })
}

fn users() -> BTreeMap<String, String> {
    BTreeMap::from([("ann".to_owned(), "pw".to_owned())])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_reads_each_object_once_and_is_seen_doing_so() {
    let scene = scene(Access::default(), &[5, 100_000, 3_000_000]).await.unwrap();
    let url = format!("http://{}/o/r.git", scene.origin.at().forge);
    scene.client.clone(&url, "r").await.unwrap().well().unwrap();
    scene.client.check("r", &scene.planted).unwrap();
    let counts = scene.origin.counters.snapshot();
    for (_, oid, size) in &scene.planted {
        let read = counts.object(&oid.to_string(), Kind::Content);
        assert_eq!((read.requests, read.bytes), (1, *size));
    }
    assert_eq!(counts.asker("git-lfs", Kind::Content).requests, 3, "{:?}", counts.askers);
    assert_eq!(counts.of(Kind::Batch).requests, 1);
    assert_eq!(counts.of(Kind::Refused).requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_over_tls_trusts_the_origins_own_authority() {
    let scene = scene(Access::default(), &[100_000]).await.unwrap();
    let url = format!("https://{}/o/r.git", scene.origin.at().forge_tls);
    assert!(!scene.client.clone(&url, "untrusted").await.unwrap().ok);
    scene.client.config("http.sslCAInfo", scene.origin.at().ca.to_str().unwrap()).await.unwrap();
    scene.client.clone(&url, "r").await.unwrap().well().unwrap();
    scene.client.check("r", &scene.planted).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_uploads_verifies_and_can_be_cloned_again() {
    let scene = scene(Access { private: true, users: users() }, &[1000]).await.unwrap();
    let client = &scene.client;
    let forge = scene.origin.at().forge;
    let url = format!("http://ann:pw@{forge}/o/r.git");
    client.clone(&url, "r").await.unwrap().well().unwrap();
    std::fs::write(client.path("r/new.bin"), vec![7; 200_000]).unwrap();
    for arguments in [&["add", "."][..], &["commit", "-qm", "new"], &["push", "-q", "origin", "HEAD"]] {
        client.git(Some("r"), arguments).await.unwrap().well().unwrap();
    }
    let uploads = scene.origin.counters.snapshot().of(Kind::Upload);
    assert_eq!((uploads.requests, uploads.bytes), (2, 200_000), "one PUT and one verify");
    client.clone(&url, "again").await.unwrap().well().unwrap();
    assert_eq!(std::fs::read(client.path("again/new.bin")).unwrap(), vec![7; 200_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_shut_without_the_password() {
    let scene = scene(Access { private: true, users: users() }, &[1000]).await.unwrap();
    let forge = scene.origin.at().forge;
    assert!(!scene.client.clone(&format!("http://{forge}/o/r.git"), "a").await.unwrap().ok);
    assert!(!scene.client.clone(&format!("http://ann:no@{forge}/o/r.git"), "b").await.unwrap().ok);
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Content).requests, 0);
    scene.client.clone(&format!("http://ann:pw@{forge}/o/r.git"), "c").await.unwrap().well().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_can_be_taken_listed_and_given_back() {
    let scene = scene(Access { private: false, users: users() }, &[1000]).await.unwrap();
    let client = &scene.client;
    let url = format!("http://ann:pw@{}/o/r.git", scene.origin.at().forge);
    client.clone(&url, "r").await.unwrap().well().unwrap();
    client.git(Some("r"), ["lfs", "lock", "1.bin"]).await.unwrap().well().unwrap();
    let listed = client.git(Some("r"), ["lfs", "locks"]).await.unwrap().well().unwrap();
    assert!(listed.out.contains("1.bin") && listed.out.contains("ann"), "{}", listed.out);
    client.git(Some("r"), ["lfs", "unlock", "1.bin"]).await.unwrap().well().unwrap();
    let listed = client.git(Some("r"), ["lfs", "locks"]).await.unwrap().well().unwrap();
    assert_eq!(listed.out, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn hrefs_that_carry_their_proof_in_a_header_work() {
    let scene = scene(Access::default(), &[100_000]).await.unwrap();
    scene.origin.switches.set_batch(BatchSwitch { header_hrefs: true, ..BatchSwitch::default() });
    let url = format!("http://{}/o/r.git", scene.origin.at().forge);
    scene.client.clone(&url, "r").await.unwrap().well().unwrap();
    scene.client.check("r", &scene.planted).unwrap();
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Refused).requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_resumed_and_a_redirect_followed() {
    let scene = scene(Access::default(), &[1_000_000, 500_000]).await.unwrap();
    let [cut, moved] = [0, 1].map(|i| scene.planted[i].1.to_string());
    let switches = &scene.origin.switches;
    switches.set(Some(&cut), Switch { cut_at: Some(300_000), times: Some(1), ..Switch::default() });
    switches.set(Some(&moved), Switch { redirect: Some(String::new()), ..Switch::default() });
    let url = format!("http://{}/o/r.git", scene.origin.at().forge);
    scene.client.clone(&url, "r").await.unwrap().well().unwrap();
    scene.client.check("r", &scene.planted).unwrap();
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.object(&cut, Kind::Content).requests, 2);
    assert_eq!(counts.object(&moved, Kind::Redirect).requests, 1);
    assert_eq!(counts.object(&moved, Kind::Content).requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_noticed_by_git_lfs() {
    let scene = scene(Access::default(), &[100_000]).await.unwrap();
    scene.origin.switches.set(None, Switch { corrupt_at: Some(50_000), ..Switch::default() });
    let url = format!("http://{}/o/r.git", scene.origin.at().forge);
    let ran = scene.client.clone(&url, "r").await.unwrap();
    assert!(!ran.ok, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_foreign_signatures_are_refused() {
    let scene = scene(Access::default(), &[100_000]).await.unwrap();
    let forge = scene.origin.at().forge;
    let batch = serde_json::json!({
        "operation": "download",
        "objects": [{ "oid": scene.planted[0].1.to_string(), "size": 100_000 }],
    });
    let url = format!("http://{forge}/o/r.git/info/lfs/objects/batch");
    let curl = |arguments: Vec<String>| scene.client.run("curl", None, arguments);
    let own = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
    let ran = curl(own(&["-s", "-d", &batch.to_string(), &url])).await.unwrap().well().unwrap();
    let reply: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let href = reply.pointer("/objects/0/actions/download/href").unwrap().as_str().unwrap().to_owned();
    let status = own(&["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    let ask = |more: &[&str], href: &str| {
        let arguments = [status.clone(), own(more), own(&[href])].concat();
        async { curl(arguments).await.unwrap().well().unwrap().out }
    };
    assert_eq!(ask(&[], &href).await, "200");
    assert_eq!(ask(&["-I"], &href).await, "403", "signed for GET");
    assert_eq!(ask(&[], &href.replace("Signature=", "Signature=00")).await, "403");
    assert_eq!(ask(&["-H", "Host: content.test"], &href).await, "403", "signed for another host");
    assert_eq!(ask(&["-r", "0-99"], &href).await, "206");
    scene.origin.set_clock_ahead(1000);
    assert_eq!(ask(&[], &href).await, "403");
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.of(Kind::Refused).requests, 4);
    assert_eq!(counts.of(Kind::Probe).requests, 1);
}
