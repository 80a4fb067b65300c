//! `darner up` as a person uses it: the real executable, with services that are shell scripts.
//!
//! What the services themselves do is tested elsewhere; here it is their lives: in which order they start, what they
//! are told, how they end, and that none outlives `up`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where its scene is not as it set it up"
)]

#[path = "up/stage.rs"]
mod stage;

use std::time::Duration;

use rustix::process::Signal;
use stage::Stage;

#[test]
fn the_line_is_one_and_names_every_process() {
    let stage = Stage::set();
    let mut up = stage.up(&["--peers", "2", "--seeds", "2", "--schedulers", "2", "--zone-of", "1=east"]);
    let line = up.line();
    assert_eq!(line["schedulers"].as_array().map(Vec::len), Some(2));
    assert_eq!(line["seedPeers"].as_array().map(Vec::len), Some(2));
    assert_eq!(line["peerDaemons"][1]["zone"], "east");
    assert_eq!(line["peerDaemons"][0]["zone"], "");
    assert!(line["seedPeers"][0]["lfs"].is_null());
    assert_eq!(line["admin"]["user"], "admin");
    assert!(up.says_nothing_more(), "exactly one line, and the output stays open");
    up.end(Signal::TERM);
}

#[test]
fn daemons_are_told_of_everybody_who_started_before_them() {
    let stage = Stage::set();
    let mut up = stage.up(&["--allow-upstream", "http://h:1", "--allow-upstream", "g"]);
    let line = up.line();
    let config = stage.config("peer-daemon-1");
    assert_eq!(config["schedulers"][0], line["schedulers"][0]["grpc"]);
    assert_eq!(config["manager"], line["manager"]["grpc"]);
    assert_eq!(config["seedPeers"].as_array().map(Vec::len), Some(1));
    assert_eq!(config["upstreams"][0], "http://h:1");
    assert_eq!(config["upstreams"][1], "g");
    up.end(Signal::TERM);
}

#[test]
fn a_word_to_stop_ends_with_0_and_leaves_nobody() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let stage = Stage::set();
        let mut up = stage.up(&[]);
        up.line();
        assert!(stage.running() >= 5);
        assert_eq!(up.end(signal), Some(0), "{signal:?}");
        assert_eq!(stage.running(), 0, "{signal:?}");
    }
}

#[test]
fn nobody_outlives_a_kill_9() {
    let stage = Stage::set();
    let mut up = stage.up(&[]);
    up.line();
    up.end(Signal::KILL);
    stage.wait_until("every child is gone", |stage| stage.running() == 0);
}

#[test]
fn a_killed_cluster_starts_again_in_its_directory_with_its_keys() {
    let stage = Stage::set();
    let mut up = stage.up(&[]);
    up.line();
    let keys = stage.read("keys/tickets");
    up.end(Signal::KILL);
    let mut again = stage.up(&[]);
    again.line();
    assert_eq!(stage.read("keys/tickets"), keys);
    again.end(Signal::TERM);
}

#[test]
fn a_service_that_cannot_start_is_told_with_its_words_and_ends_everything() {
    let stage = Stage::set();
    stage.service("seed-peer", "echo 'cannot read `keys.grants`' >&2; exit 3");
    let mut up = stage.up(&[]);
    assert_eq!(up.ended(), Some(1));
    let said = up.said();
    for words in ["error: seed-peer-0 ended by itself", "`keys.grants`", "hint:", "process.log"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert_eq!(stage.running(), 0);
}

#[test]
fn a_service_that_dies_later_is_told_and_the_others_go_on() {
    let stage = Stage::set();
    let mut up = stage.up(&[]);
    let line = up.line();
    stage::kill(line["schedulers"][0]["pid"].as_i64().expect("a number"), Signal::KILL);
    up.wait_for_words("scheduler-0 ended by itself");
    assert_eq!(stage.running(), 4);
    assert_eq!(up.end(Signal::TERM), Some(0));
}

#[test]
fn a_service_that_is_not_installed_is_named() {
    let stage = Stage::set();
    stage.without("manager");
    let mut up = stage.up(&[]);
    assert_eq!(up.ended(), Some(1));
    assert!(up.said().contains("`manager` is not beside `darner`"), "{}", up.said());
    assert_eq!(stage.running(), 0);
}

#[test]
fn a_busy_port_is_told_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let stage = Stage::set();
    let mut up = stage.up_on(&port, &[]);
    assert_eq!(up.ended(), Some(1));
    assert!(up.said().contains(&port), "{}", up.said());
    assert!(!stage.has("peer-daemon-0"));
}

#[test]
fn words_of_the_values_file_that_nobody_knows_are_all_told_and_end_with_2() {
    let stage = Stage::set();
    let file = stage.write("values.yaml", "bogus: 1\nscheduler: {replica: 2}\njaeger: {enable: true}\n");
    let mut up = stage.up(&["--config", &file]);
    assert_eq!(up.ended(), Some(2));
    assert!(up.said().contains("`bogus`") && up.said().contains("`scheduler.replica`"), "{}", up.said());
}

#[test]
fn what_a_service_refuses_of_its_own_part_is_told_before_anything_starts() {
    let stage = Stage::set();
    let refusing = "case \"$*\" in *--print-config*) echo '`bogus`: unknown key' >&2; exit 2;; esac; exit 9";
    stage.service("peer-daemon", refusing);
    let file = stage.write("values.yaml", "dfdaemon: {config: {bogus: 1}}\n");
    let mut up = stage.up(&["--config", &file]);
    assert_eq!(up.ended(), Some(2));
    assert!(up.said().contains("`dfdaemon.config`") && up.said().contains("`bogus`"), "{}", up.said());
    assert!(!up.said().contains("scheduler-0 is ready"), "{}", up.said());
}

#[test]
fn parts_that_come_later_end_with_2() {
    let stage = Stage::set();
    for flags in [&["--redis", "redis://h"][..], &["--database", "postgres://h/d"], &["--lfs-server"]] {
        let mut up = stage.up(flags);
        assert_eq!(up.ended(), Some(2), "{flags:?}");
        assert!(up.said().contains(flags[0]) && up.said().contains("later"), "{}", up.said());
    }
}

#[test]
fn a_directory_in_use_is_told() {
    let stage = Stage::set();
    let mut first = stage.up(&[]);
    first.line();
    let mut second = stage.up(&[]);
    assert_eq!(second.ended(), Some(1));
    assert!(second.said().contains("in use"), "{}", second.said());
    assert_eq!(first.end(Signal::TERM), Some(0));
}

#[test]
fn without_a_directory_nothing_is_left_behind() {
    let stage = Stage::set();
    let mut up = stage.passing();
    let line = up.line();
    let data = std::path::PathBuf::from(line["manager"]["data"].as_str().expect("a path"));
    assert!(data.is_dir());
    assert_eq!(up.end(Signal::TERM), Some(0));
    assert!(!data.parent().and_then(std::path::Path::parent).expect("a cluster").try_exists().expect("look"));
}

#[test]
fn a_service_that_will_not_end_is_killed_in_the_end() {
    let stage = Stage::set();
    stage.service("manager", &format!("trap '' TERM; {}; while :; do sleep 1; done", stage::SAY_READY));
    let mut up = stage.up(&[]);
    up.line();
    assert_eq!(up.end_within(Signal::TERM, Duration::from_secs(40)), Some(0));
    assert_eq!(stage.running(), 0);
}

#[test]
fn configuration_and_keys_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::set();
    let mut up = stage.up(&[]);
    up.line();
    for (path, mode) in [
        ("keys", 0o700),
        ("keys/tickets", 0o600),
        ("peer-daemon-0/config.yaml", 0o600),
        ("cluster.json", 0o600),
    ] {
        let found = std::fs::metadata(stage.data().join(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    up.end(Signal::TERM);
}
