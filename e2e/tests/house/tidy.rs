//! The rules of the house that no lint knows: who may depend on whom, how files begin, how long they are, what they
//! may be called, and that nothing of anybody's machine is written into them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Room, and the rooms it may depend on (DESIGN: rooms). A dev-dependency counts like any other.
const EDGES: &[(&str, &[&str])] = &[
    ("libs/lfs", &[]),
    ("libs/chassis", &[]),
    ("proto", &["lfs"]),
    ("libs/store", &["lfs"]),
    ("libs/origin", &["lfs", "chassis"]),
    ("libs/transfer", &["lfs", "proto", "store", "chassis"]),
    ("libs/seeding", &["lfs", "proto", "store", "transfer", "origin", "chassis"]),
    ("scheduler", &["lfs", "proto", "chassis"]),
    ("seed-peer", &["lfs", "proto", "store", "transfer", "origin", "seeding", "chassis"]),
    ("peer-daemon", &["lfs", "proto", "store", "transfer", "origin", "seeding", "chassis"]),
    ("manager", &["lfs", "proto", "chassis"]),
    ("e2e", &["lfs", "proto", "chassis", "store", "transfer", "origin", "seeding"]),
    ("e2e/bench", &["e2e", "lfs", "proto", "chassis", "store", "transfer", "origin", "seeding"]),
];

/// No file is longer, tests within it included.
const LONGEST: usize = 500;
/// No file of nothing but tests is longer: it is read case by case.
const LONGEST_TESTS: usize = 700;
/// Nineteen files of twenty are not longer.
const USUAL: usize = 350;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the repository whose name ends so, by its path from the root.
fn files(ends: &[&str]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if !["target", ".git", "node_modules", "dist"].contains(&name.as_str()) {
                    open.push(entry.path());
                }
            } else if ends.iter().any(|end| name.ends_with(end)) {
                let path = entry.path();
                let short = path.strip_prefix(root())?.to_string_lossy().into_owned();
                found.push((short, path));
            }
        }
    }
    anyhow::ensure!(!found.is_empty(), "no file ends in {ends:?}");
    Ok(found)
}

/// The rooms a manifest depends on.
fn edges(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().map(str::trim);
    let rooms = lines.filter_map(|line| line.strip_prefix("darner-"));
    rooms.filter_map(|rest| Some(rest.split(['.', ' ', '=']).next()?.to_owned())).collect()
}

#[test]
fn a_room_depends_only_on_what_the_plan_allows() {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let mut wrong = Vec::new();
    for (short, path) in files(&["Cargo.toml"]).unwrap() {
        let Some(room) = short.strip_suffix("/Cargo.toml") else { continue };
        let manifest = std::fs::read_to_string(path).unwrap();
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("{room} is no room of the plan"));
            continue;
        };
        let (head, needs) = manifest.split_once("dependencies]").unwrap_or((&manifest, ""));
        if !head.contains("[lints]\nworkspace = true") && !needs.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{room} does not inherit the lints"));
        }
        let forbidden = edges(needs).into_iter().filter(|edge| !may.contains(&edge.as_str()));
        wrong.extend(forbidden.map(|edge| format!("{room} depends on {edge}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_edges_of_a_manifest_are_seen() {
    let manifest =
        "[dependencies]\ndarner-lfs.workspace = true\nbytes = \"1\"\ndarner-store = { path = \"x\" }\n";
    assert_eq!(edges(manifest), ["lfs", "store"]);
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let silent: Vec<String> = files(&[".rs"])
        .unwrap()
        .into_iter()
        .filter(|(_, path)| !std::fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|(short, _)| short)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Whether a file holds nothing but tests.
fn only_tests(short: &str) -> bool {
    short.contains("/tests/") || short.contains("_tests/") || short.ends_with("tests.rs")
}

#[test]
fn no_file_is_longer_than_a_person_reads_at_once() {
    let count = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let lengths = files(&[".rs"]).unwrap().into_iter().map(|(short, path)| (count(&path), short));
    let (tests, mut production): (Vec<_>, Vec<_>) = lengths.partition(|(_, short)| only_tests(short));
    production.sort_unstable();
    let long: Vec<_> = production.iter().filter(|(lines, _)| *lines > LONGEST).collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines: {long:#?}");
    let over: Vec<_> = production.iter().filter(|(lines, _)| *lines > USUAL).collect();
    assert!(
        over.len() * 20 <= production.len(),
        "more than one file of twenty over {USUAL} lines: {over:#?}"
    );
    let long: Vec<_> = tests.iter().filter(|(lines, _)| *lines > LONGEST_TESTS).collect();
    assert!(long.is_empty(), "tests longer than {LONGEST_TESTS} lines: {long:#?}");
}

#[test]
fn modules_are_called_by_what_they_are() {
    let banned = ["mod", "util", "utils", "common", "helper", "helpers", "misc"];
    let named = |short: &str| {
        let name = short.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        name.is_some_and(|name| banned.contains(&name))
    };
    let wrong: Vec<String> =
        files(&[".rs"]).unwrap().into_iter().map(|(short, _)| short).filter(|short| named(short)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a line names a place that exists on one machine only.
fn names_a_machine(line: &str) -> bool {
    ["work", "farm", "root", "Users"].iter().any(|place| {
        let place = format!("/{place}/");
        line.match_indices(&place).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            let after = line.get(at + place.len()..).and_then(|after| after.chars().next());
            let begins = !before.is_some_and(|c| c.is_ascii_alphanumeric() || "_.-}".contains(c));
            begins && after.is_some_and(|c| c.is_ascii_lowercase() || c == '.')
        })
    })
}

#[test]
fn no_file_names_a_place_of_somebodys_machine() {
    let texts =
        [".rs", ".toml", ".md", ".yaml", ".yml", ".proto", ".sql", ".sh", "test", "demo", "run", ".json"];
    let mut wrong = Vec::new();
    for (short, path) in files(&texts).unwrap() {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let lines = text.lines().zip(1..).filter(|(line, _)| names_a_machine(line));
        wrong.extend(lines.map(|(line, number)| format!("{short}:{number}: {line}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_machines_place_is_told_from_a_path_in_a_repository() {
    assert!(names_a_machine(&["see ", "/work", "/main"].concat()));
    assert!(names_a_machine(&["\"", "/root", "/.cargo\""].concat()));
    assert!(!names_a_machine("a/work/b and docs/farm/c"));
    assert!(!names_a_machine("https://host/ro/ot"));
}

#[test]
fn one_crypto_provider_and_no_openssl() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock").unwrap();
    for name in ["openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name} has come in");
    }
}

#[test]
fn every_public_promise_has_a_test_named_for_it() {
    let mut tests = String::new();
    for (short, path) in files(&[".rs"]).unwrap() {
        if short.starts_with("e2e/tests/") {
            tests.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let promises = [
        "i1_integrity",
        "i2_authorisation",
        "i3_one_origin_read",
        "i4_liveness",
        "i5_never_slower",
        "i6_disk",
        "i7_crash",
        "i8_control_plane",
        "i9_bad_peers",
        "i10_no_shared_errors",
    ];
    for promise in promises {
        assert!(tests.contains(&format!("fn {promise}_")), "no test of {promise}");
    }
}
