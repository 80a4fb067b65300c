//! Real git and git-lfs through daemons, in the three ways git can be told to, in clear text and over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test ends where its scene is not what it set up"
)]

use std::collections::BTreeMap;

use darner_e2e::client::Client;
use darner_e2e::origin::counts::Kind;
use darner_e2e::origin::shelf::Access;
use darner_e2e::origin::switches::BatchSwitch;
use darner_e2e::scene::{self, Mode, Plan, REPOSITORY, Scene, Wire};

/// Small, a few pieces, many pieces.
const SIZES: [u64; 4] = [100, 70_000, 1_500_000, 6_000_000];

async fn a_clone_ends_well(mode: Mode, wire: Wire) {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    scene.clone(mode, wire, 0).await.unwrap();
    let counts = scene.origin.counters.snapshot();
    for (path, oid, size) in &scene.planted {
        let read = counts.object(&oid.to_string(), Kind::Content);
        assert_eq!((read.requests, read.bytes), (1, *size), "{path} in mode {mode:?}: {counts:#?}");
    }
    assert_eq!(counts.asker("seed-peer", Kind::Content), counts.of(Kind::Content), "{:?}", counts.askers);
    scene.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_a_is_read_by_the_seed_alone() {
    a_clone_ends_well(Mode::A, Wire::Clear).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_a_over_tls() {
    a_clone_ends_well(Mode::A, Wire::Tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_b_is_read_by_the_seed_alone() {
    a_clone_ends_well(Mode::B, Wire::Clear).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_b_over_tls() {
    a_clone_ends_well(Mode::B, Wire::Tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_c_is_read_by_the_seed_alone() {
    a_clone_ends_well(Mode::C, Wire::Clear).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_through_mode_c_over_tls_and_connect() {
    a_clone_ends_well(Mode::C, Wire::Tls).await;
}

async fn hrefs_in_headers(mode: Mode) {
    let scene = Scene::set(Plan::new(2, &SIZES)).await.unwrap();
    scene.origin.switches.set_batch(BatchSwitch { header_hrefs: true, ..BatchSwitch::default() });
    scene.clone(mode, Wire::Clear, 0).await.unwrap();
    scene.clone(mode, Wire::Clear, 1).await.unwrap();
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.of(Kind::Content).requests, 4, "{counts:#?}");
    assert_eq!(counts.of(Kind::Refused).requests, 0, "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hrefs_that_carry_their_proof_in_a_header_work_in_mode_b() {
    hrefs_in_headers(Mode::B).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hrefs_that_carry_their_proof_in_a_header_work_in_mode_c() {
    hrefs_in_headers(Mode::C).await;
}

async fn a_push_ends_well(mode: Mode) {
    let scene = Scene::set(Plan::new(1, &[1000])).await.unwrap();
    let client = scene.clone(mode, Wire::Clear, 0).await.unwrap();
    std::fs::write(client.path("clone/new.bin"), vec![7; 300_000]).unwrap();
    for arguments in [&["add", "."][..], &["commit", "-qm", "new"], &["push", "-q", "origin", "HEAD"]] {
        client.git(Some("clone"), arguments).await.unwrap().well().unwrap();
    }
    let uploads = scene.origin.counters.snapshot().of(Kind::Upload);
    assert_eq!((uploads.requests, uploads.bytes), (2, 300_000), "one PUT and one verify");
    let other = scene.client(mode, Wire::Clear, 0).await.unwrap();
    other.clone(&scene.url(mode, Wire::Clear), "again").await.unwrap().well().unwrap();
    assert_eq!(std::fs::read(other.path("again/new.bin")).unwrap(), vec![7; 300_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_mode_a_ends_well() {
    a_push_ends_well(Mode::A).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_mode_b_ends_well() {
    a_push_ends_well(Mode::B).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_mode_c_ends_well() {
    a_push_ends_well(Mode::C).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_through_mode_b_are_the_forges_own() {
    let scene = Scene::set(Plan::new(1, &[1000])).await.unwrap();
    let client = scene.clone(Mode::B, Wire::Clear, 0).await.unwrap();
    client.git(Some("clone"), ["lfs", "lock", "1.bin"]).await.unwrap().well().unwrap();
    let listed = client.git(Some("clone"), ["lfs", "locks"]).await.unwrap().well().unwrap();
    assert!(listed.out.contains("1.bin"), "{}", listed.out);
    client.git(Some("clone"), ["lfs", "unlock", "1.bin"]).await.unwrap().well().unwrap();
    assert_eq!(scene.origin.counters.snapshot().asker("git-lfs", Kind::Lock).requests, 0);
    assert!(scene.origin.counters.snapshot().of(Kind::Lock).requests >= 3);
}

fn private(user: &str, password: &str) -> Access {
    Access { private: true, users: BTreeMap::from([(user.to_owned(), password.to_owned())]) }
}

async fn private_scene(user: &str) -> Scene {
    let access = private(user, "pw");
    Scene::set(Plan { access, ..Plan::new(1, &[1000, 400_000]) }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_gateways_own_address_opens_a_private_repository() {
    let scene = private_scene("gitlab-ci-token").await;
    let client = scene.client(Mode::B, Wire::Clear, 0).await.unwrap();
    let url = scene.gateway(0).unwrap().replace("http://", "http://gitlab-ci-token:pw@");
    client.clone(&url, "clone").await.unwrap().well().unwrap();
    client.check("clone", &scene.planted).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_header_of_ci_opens_a_private_repository_in_mode_b() {
    let scene = private_scene("x-access-token").await;
    let client = scene.client(Mode::B, Wire::Clear, 0).await.unwrap();
    let basic = "AUTHORIZATION: basic eC1hY2Nlc3MtdG9rZW46cHc=";
    let (proxy, forge) = (scene.cluster.proxy(0).unwrap(), scene.origin.at().forge);
    client.config(&format!("http.http://{proxy}/http/{forge}/.extraheader"), basic).await.unwrap();
    client.clone(&scene.url(Mode::B, Wire::Clear), "clone").await.unwrap().well().unwrap();
    client.check("clone", &scene.planted).unwrap();
}

/// A helper that answers by path, as the printed configuration asks it to: `useHttpPath` tells two forges apart.
fn helper(passwords: &[(String, &str)]) -> String {
    let cases = passwords.iter().map(|(forge, password)| format!(" path=http/{forge}/*) p={password};;"));
    let cases = cases.collect::<Vec<_>>().concat();
    format!(
        "!f() {{ p=; while read l; do case $l in{cases} esac; done; \
        test -n \"$p\" && echo username=ann && echo password=$p; }}; f"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_forges_keep_their_two_passwords_apart_in_mode_b() {
    let data = tempfile::tempdir().unwrap();
    let other = scene::origin(data.path()).await.unwrap();
    let theirs = scene::plant(&other, REPOSITORY, private("ann", "two"), &[2000]).unwrap();
    let mut plan = Plan { access: private("ann", "one"), ..Plan::new(1, &[1000]) };
    plan.options.upstreams.extend([other.at().forge, other.at().content].map(|at| format!("http://{at}")));
    let scene = Scene::set(plan).await.unwrap();

    let client = Client::new().unwrap();
    let proxy = scene.cluster.proxy(0).unwrap();
    let forges = [scene.origin.at().forge.to_string(), other.at().forge.to_string()];
    for forge in &forges {
        let through = format!("url.http://{proxy}/http/{forge}/.insteadOf");
        client.config(&through, &format!("http://{forge}/")).await.unwrap();
    }
    let [one, two] = forges.clone();
    let helper = helper(&[(one, "one"), (two, "two")]);
    client.config(&format!("credential.http://{proxy}.useHttpPath"), "true").await.unwrap();
    client.config(&format!("credential.http://{proxy}.helper"), &helper).await.unwrap();
    for (forge, password) in forges.iter().zip(["one", "two"]) {
        let direct = format!("!f() {{ echo username=ann; echo password={password}; }}; f");
        client.config(&format!("credential.http://{forge}.helper"), &direct).await.unwrap();
    }
    for (forge, (name, planted)) in forges.iter().zip([("a", &scene.planted), ("b", &theirs)]) {
        client.clone(&format!("http://{forge}/{REPOSITORY}.git"), name).await.unwrap().well().unwrap();
        client.check(name, planted).unwrap();
    }
}

/// A stand-in for ssh: runs git's side on this machine, and gives out LFS access as forges do.
fn ssh(scene: &Scene, base: &str) -> String {
    let root = scene.origin.shelf.git_root();
    format!(
        "#!/bin/sh\nfor last; do :; done\ncase $last in\n\
         git-lfs-transfer*) echo 'command not found' >&2; exit 127;;\n\
         git-lfs-authenticate*) echo '{{\"href\":\"{base}/{REPOSITORY}.git/info/lfs\",\"header\":{{}}}}';;\n\
         *) cd {} && GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 exec sh -c \"git ${{last#git-}}\";;\nesac\n",
        root.display()
    )
}

async fn an_ssh_remote(mode: Mode) {
    let scene = Scene::set(Plan::new(1, &SIZES)).await.unwrap();
    let mut client = scene.client(mode, Wire::Clear, 0).await.unwrap();
    let at = scene.origin.at();
    let base = match mode {
        Mode::C => format!("http://forge.test:{}", at.forge.port()),
        Mode::A | Mode::B => format!("http://{}", at.forge),
    };
    let script = client.path("ssh");
    std::fs::write(&script, ssh(&scene, &base)).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    client.set_env("GIT_SSH_COMMAND", script.to_str().unwrap());
    client.set_env("GIT_SSH_VARIANT", "ssh");
    client.clone(&format!("git@forge.test:{REPOSITORY}.git"), "clone").await.unwrap().well().unwrap();
    client.check("clone", &scene.planted).unwrap();
    let counts = scene.origin.counters.snapshot();
    assert_eq!(counts.asker("seed-peer", Kind::Content).requests, 4, "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_remote_is_served_in_mode_a() {
    an_ssh_remote(Mode::A).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_remote_is_served_in_mode_c() {
    an_ssh_remote(Mode::C).await;
}
