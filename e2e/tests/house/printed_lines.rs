//! The lines `darner git-config` prints, pasted into a shell as a person would, and used with real git.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::collections::BTreeMap;

use darner_e2e::client::Client;
use darner_e2e::cluster::program;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::shelf::Access;
use darner_e2e::scene::{self, Plan, REPOSITORY, Scene};

fn private(user: &str, password: &str) -> Access {
    Access { private: true, users: BTreeMap::from([(user.to_owned(), password.to_owned())]) }
}

/// Asks for the lines and pastes them.
async fn paste(client: &Client, arguments: &[&str]) {
    let darner = program("darner").unwrap();
    let lines =
        client.run(&darner, None, [&["git-config"], arguments].concat()).await.unwrap().well().unwrap().out;
    client.run("sh", None, ["-e", "-c", &lines]).await.unwrap().well().unwrap();
}

/// A helper of the person's own that knows the password of one forge.
async fn remember(client: &Client, forge: &str, user: &str, password: &str) {
    let helper =
        format!("!f() {{ test \"$1\" = get && echo username={user} && echo password={password}; }}; f");
    client.config(&format!("credential.http://{forge}.helper"), &helper).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_lines_clone_and_push_a_private_repository() {
    let plan = Plan { access: private("ann", "pw"), ..Plan::new(1, &[1000, 800_000]) };
    let scene = Scene::set(plan).await.unwrap();
    let at = scene.origin.at();
    let (forge, content) = (format!("http://{}", at.forge), format!("http://{}", at.content));
    let gateway = format!("http://{}", scene.cluster.proxy(0).unwrap());
    let client = Client::new().unwrap();
    remember(&client, &at.forge.to_string(), "ann", "pw").await;
    let arguments = [&forge, "--content-host", &content, "--gateway", &gateway];
    // Pasting twice is what people do.
    paste(&client, &arguments).await;
    paste(&client, &arguments).await;
    client.clone(&scene.direct(), "clone").await.unwrap().well().unwrap();
    client.check("clone", &scene.planted).unwrap();
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.asker("seed-peer", Kind::Content), counts.of(Kind::Content), "{counts:#?}");
    std::fs::write(client.path("clone/new.bin"), vec![7; 100_000]).unwrap();
    for arguments in [&["add", "."][..], &["commit", "-qm", "new"], &["push", "-q", "origin", "HEAD"]] {
        client.git(Some("clone"), arguments).await.unwrap().well().unwrap();
    }
    assert_eq!(scene.origin.counters.snapshot().of(Kind::Upload).bytes, 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_helper_keeps_two_forges_passwords_apart() {
    let data = tempfile::tempdir().unwrap();
    let other = scene::origin(data.path()).await.unwrap();
    let theirs = scene::plant(&other, REPOSITORY, private("bob", "two"), &[2000]).unwrap();
    let mut plan = Plan { access: private("ann", "one"), ..Plan::new(1, &[1000]) };
    plan.options.upstreams.extend([other.at().forge, other.at().content].map(|at| format!("http://{at}")));
    let scene = Scene::set(plan).await.unwrap();
    let forges = [scene.origin.at().forge, other.at().forge].map(|forge| forge.to_string());
    let gateway = format!("http://{}", scene.cluster.proxy(0).unwrap());
    let client = Client::new().unwrap();
    remember(&client, &forges[0], "ann", "one").await;
    remember(&client, &forges[1], "bob", "two").await;
    let bases = forges.clone().map(|forge| format!("http://{forge}"));
    paste(&client, &[&bases[0], &bases[1], "--gateway", &gateway]).await;
    for (base, (name, planted)) in bases.iter().zip([("a", &scene.planted), ("b", &theirs)]) {
        client.clone(&format!("{base}/{REPOSITORY}.git"), name).await.unwrap().well().unwrap();
        client.check(name, planted).unwrap();
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.asker("seed-peer", Kind::Content).requests, 1, "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_lines_for_ci_carry_the_jobs_token() {
    let plan = Plan { access: private("token", "job"), ..Plan::new(1, &[1000, 800_000]) };
    let scene = Scene::set(plan).await.unwrap();
    let forge = format!("http://{}", scene.origin.at().forge);
    let gateway = format!("http://{}", scene.cluster.proxy(0).unwrap());
    let mut client = Client::new().unwrap();
    client.set_env("GIT_TOKEN", "job");
    paste(&client, &[&forge, "--ci", "--gateway", &gateway]).await;
    // With the token in a header, as GitHub's jobs clone, and in the address, as GitLab's do.
    let in_address = scene.direct().replace("http://", "http://token:job@");
    for (url, name) in [(scene.direct(), "a"), (in_address, "b")] {
        client.clone(&url, name).await.unwrap().well().unwrap();
        client.check(name, &scene.planted).unwrap();
    }
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.asker("git-lfs", Kind::Content).requests, 0, "{counts:#?}");
    assert_eq!(counts.asker("seed-peer", Kind::Content).requests, 2, "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn undone_lines_leave_nothing_of_the_gateway() {
    let client = Client::new().unwrap();
    let before = std::fs::read_to_string(client.path(".gitconfig")).unwrap();
    let gateway = "http://127.0.0.1:65001";
    paste(&client, &["github", "--gateway", gateway]).await;
    assert!(std::fs::read_to_string(client.path(".gitconfig")).unwrap().contains(gateway));
    paste(&client, &["github", "--gateway", gateway, "--undo"]).await;
    let after = std::fs::read_to_string(client.path(".gitconfig")).unwrap();
    assert!(!after.contains(gateway), "{after}");
    assert!(before.lines().all(|line| after.contains(line)), "{after}");
}
