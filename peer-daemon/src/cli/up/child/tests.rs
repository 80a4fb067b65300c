//! A child that is a shell script: everything `up` does to a process, without the processes of the house.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::super::process::Part;
use super::*;

const SEED: Process = Process { part: Part::SeedPeer, index: 0 };

struct Script {
    _directory: tempfile::TempDir,
    path: PathBuf,
    place: Place,
}

/// An executable that runs `body`; `$READY` is where its ready file belongs.
fn script(body: &str) -> Script {
    let directory = tempfile::tempdir().expect("a directory");
    let place = SEED.place(directory.path());
    std::fs::create_dir_all(&place.home).expect("make");
    let path = directory.path().join("script");
    let text = format!("#!/bin/sh\nREADY={}\n{body}\n", place.ready.display());
    // Written beside and renamed: another thread that forks now must not hold it open for writing.
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("mode");
    Script { _directory: directory, path, place }
}

/// A file just written may be "busy" while another test's fork still holds the descriptor.
fn started(script: &Script) -> Child {
    for _ in 0..1000 {
        match Child::start(&script.path, SEED, script.place.clone()) {
            Err(failure) if failure.to_string().contains("busy") => std::thread::yield_now(),
            started => return started.expect("it starts"),
        }
    }
    panic!("busy for ever");
}

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_process_is_ready_once_it_says_so() {
    let script =
        script("echo '{\"pid\": 4, \"grpc\": \"127.0.0.1:9\"}' > $READY.new; mv $READY.new $READY; read end");
    let mut child = started(&script);
    child.become_ready(SOON).await.expect("ready");
    assert_eq!(child.ready.grpc.as_deref(), Some("127.0.0.1:9"));
}

#[tokio::test]
async fn a_process_that_ends_early_is_told_with_its_last_words() {
    let script = script("echo 'unknown key `gti.listen`' >&2; exit 3");
    let mut child = started(&script);
    let told = child.become_ready(SOON).await.expect_err("it ended").to_string();
    for words in ["seed-peer-0", "3", "`gti.listen`", "process.log"] {
        assert!(told.contains(words), "{words} in {told}");
    }
}

#[tokio::test]
async fn a_process_that_is_never_ready_is_given_up() {
    let script = script("echo waiting for nothing; read end");
    let mut child = started(&script);
    let told = child.become_ready(Duration::from_millis(50)).await.expect_err("too late").to_string();
    assert!(told.contains("not ready"), "{told}");
}

#[tokio::test]
async fn closing_its_input_is_all_a_child_needs_to_end() {
    let script = script("read line; exit 7");
    let mut child = started(&script);
    child.input = None;
    assert_eq!(child.wait().await.and_then(|status| status.code()), Some(7));
}

#[tokio::test]
async fn a_child_that_ignores_the_request_is_killed() {
    let script = script("trap '' TERM; echo '{\"pid\": 1}' > $READY; while :; do read end || sleep 1; done");
    let mut child = started(&script);
    child.become_ready(SOON).await.expect("ready");
    child.ask_to_end();
    assert!(!child.gone_by(Instant::now() + Duration::from_millis(100)).await);
    assert!(child.ended().is_some());
}

#[tokio::test]
async fn a_child_that_obeys_is_not_killed() {
    let script = script("trap 'exit 0' TERM; echo '{\"pid\": 1}' > $READY; while :; do read end; done");
    let mut child = started(&script);
    child.become_ready(SOON).await.expect("ready");
    child.ask_to_end();
    child.input = None;
    assert!(child.gone_by(Instant::now() + SOON).await);
}

#[tokio::test]
async fn only_the_last_lines_are_kept_and_long_ones_are_cut() {
    let words = LastWords::default();
    let mut text = String::new();
    for line in 0..100 {
        crate::cli::show::add(&mut text, format_args!("line {line}\n"));
    }
    text.push_str(&"x".repeat(100_000));
    keep(text.as_bytes(), words.clone()).await;
    let told = words.tell();
    assert_eq!(told.len(), LAST_LINES);
    assert_eq!(told.first().map(String::as_str), Some("line 81"));
    assert_eq!(told.last().map(String::len), Some(LINE_BYTES));
}

#[tokio::test]
async fn a_configuration_the_service_refuses_is_told_under_its_section() {
    let script = script("echo '`proxy.bogus`: unknown key' >&2; exit 2");
    let told = loop {
        let told = check(&script.path, SEED, &script.place).await.expect_err("refused").to_string();
        if !told.contains("busy") {
            break told;
        }
    };
    assert!(told.contains("`seedPeer.config`") && told.contains("`proxy.bogus`"), "{told}");
}

#[tokio::test]
async fn an_executable_that_is_not_there_is_named() {
    let script = script("exit 0");
    let missing = script.path.with_file_name("gone");
    let told = Child::start(&missing, SEED, script.place).expect_err("no file").to_string();
    assert!(told.contains("gone"), "{told}");
}
