//! What a person means by a word: an OID, or a path whose pointer the clone knows.
//!
//! Owns: asking the clone for sizes, its endpoint and the place git-lfs keeps objects. Never: the network.

use std::path::PathBuf;

use darner_lfs::{Oid, pointer};

use super::{Meant, git, show};
use crate::cli::failure::Failure;

/// The object that a word means.
pub(super) fn of(word: &str, size: Option<u64>) -> Result<Meant, Failure> {
    if let Ok(oid) = show::oid(word) {
        return Ok(Meant { oid, size: size.or_else(|| size_in_clone(&oid)) });
    }
    // `./` makes it a path from here, not from the top of the clone.
    let from_here = format!("HEAD:./{}", word.trim_start_matches("./"));
    let blob = git::answer(&["cat-file", "blob", &from_here]);
    match blob.as_deref().map(|blob| pointer::parse(blob.as_bytes())) {
        Some(Ok(parsed)) => Ok(Meant { oid: parsed.pointer.oid, size: Some(parsed.pointer.size) }),
        Some(Err(_)) => {
            Err(Failure::usage(format!("`{word}` is no Git LFS object: git itself holds its content")))
        }
        None => show::oid(word)
            .map(|oid| Meant { oid, size })
            .map_err(|failure| failure.hint("give 64 hexadecimal digits, or a path of the clone you are in")),
    }
}

/// The size of an object that the newest commit points at.
fn size_in_clone(oid: &Oid) -> Option<u64> {
    let listed = git::answer(&["lfs", "ls-files", "--long"])?;
    let line = listed.lines().find(|line| line.starts_with(&oid.to_string()))?;
    // `OID * path` or `OID - path`, from the top of the clone.
    let path = line.get(67..)?;
    let blob = git::answer(&["cat-file", "blob", &format!("HEAD:{path}")])?;
    pointer::parse(blob.as_bytes()).ok().map(|parsed| parsed.pointer.size)
}

/// The endpoint git-lfs uses in this clone, without a gateway of ours in front.
pub(super) fn endpoint() -> Option<String> {
    let told = git::answer(&["lfs", "env"])?;
    endpoint_in(&told)
}

fn endpoint_in(told: &str) -> Option<String> {
    let line = told.lines().find_map(|line| line.strip_prefix("Endpoint="))?;
    let url = line.split(' ').next()?;
    url.starts_with("http").then(|| direct(url))
}

/// `http://gateway/https/host/path` without the gateway.
fn direct(url: &str) -> String {
    let parsed = url.splitn(4, '/').nth(3).and_then(|path| path.split_once('/'));
    match parsed {
        Some((scheme @ ("http" | "https"), rest)) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

/// Where git-lfs of this clone looks for the object; outside of a clone a file of that name.
pub(super) fn usual_place(oid: &Oid) -> PathBuf {
    let media = git::answer(&["lfs", "env"]).and_then(|told| {
        told.lines().find_map(|line| line.strip_prefix("LocalMediaDir=").map(PathBuf::from))
    });
    let in_clone = git::answer(&["rev-parse", "--git-dir"]).is_some();
    match media.filter(|_| in_clone) {
        Some(media) => media.join(oid.path()),
        None => PathBuf::from(oid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oid_outside_of_a_clone_needs_its_size_said() {
        let digits = "ab".repeat(32);
        let meant = of(&digits, Some(7)).expect("an OID");
        assert_eq!((meant.oid.to_string(), meant.size), (digits, Some(7)));
    }

    #[test]
    fn the_endpoint_is_the_forges_also_behind_a_gateway() {
        let told = |url: &str| endpoint_in(&format!("git-lfs/3.3.0\n\nEndpoint={url} (auth=none)\n"));
        assert_eq!(told("https://h/r.git/info/lfs").as_deref(), Some("https://h/r.git/info/lfs"));
        let behind = told("http://127.0.0.1:65001/https/h/r.git/info/lfs");
        assert_eq!(behind.as_deref(), Some("https://h/r.git/info/lfs"));
        assert_eq!(told("ssh://git@h/r"), None);
    }
}
