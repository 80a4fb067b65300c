//! Under which upstream an address stands: the prefix that provenance remembers.
//!
//! Owns: the one mapping from an address to `scheme://host[:port]/prefix`. Never: a query, a fragment or userinfo in
//! the result. An LFS endpoint and the content it signs on the same host give the same prefix.

use url::Url;

/// The upstream an address belongs to.
///
/// - an LFS endpoint (`.../org/repo.git/info/lfs...`): the repository, without `.git`;
/// - a content address: what stands before `aa/bb/<oid>`, `objects/<oid>[/size]`, `gitlab-lfs/objects/...`, `blobs/...`;
/// - anything else: its directory.
///
/// A path that means different things to different readers (dots or slashes in percent-encoding) is kept whole and
/// unreadable, so that it falls under no prefix but its own.
pub fn provenance(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "unreadable:".to_owned() };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let base = format!("{}://{host}{port}", url.scheme());
    if is_ambiguous(url.path()) {
        let whole: String =
            percent_encoding::utf8_percent_encode(url.path(), percent_encoding::NON_ALPHANUMERIC).collect();
        return format!("{base}/{whole}");
    }
    let parts: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    let prefix = prefix(&parts).join("/");
    let prefix = prefix.strip_suffix(".git").unwrap_or(&prefix);
    if prefix.is_empty() { base } else { format!("{base}/{prefix}") }
}

/// Whether a decoder of `%2e`, `%2f` or `%5c` would see other segments with dots in them.
fn is_ambiguous(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    decoded.split('/').any(|part| part == "." || part == "..")
}

fn prefix<'a, 'b>(parts: &'b [&'a str]) -> &'b [&'a str] {
    if let Some(at) = parts.windows(2).position(|pair| pair == ["info", "lfs"]) {
        return parts.get(..at).unwrap_or_default();
    }
    let gitlab = parts.iter().position(|part| *part == "gitlab-lfs");
    let blobs = parts.iter().position(|part| *part == "blobs");
    if let Some(at) = gitlab.or(blobs) {
        return parts.get(..at).unwrap_or_default();
    }
    match parts {
        [rest @ .., a, b, oid] if is_oid(oid) && oid.starts_with(a) && oid.get(2..4) == Some(b) => {
            without_objects(rest)
        }
        [rest @ .., "objects", oid] if is_oid(oid) => rest,
        [rest @ .., "objects", oid, _size] if is_oid(oid) => rest,
        [rest @ .., "objects", "batch"] => rest,
        [rest @ .., _last] => rest,
        [] => &[],
    }
}

fn without_objects<'a, 'b>(parts: &'b [&'a str]) -> &'b [&'a str] {
    match parts {
        [rest @ .., "objects"] => rest,
        whole => whole,
    }
}

fn is_oid(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_endpoint_and_its_content_on_one_host_are_one_upstream() {
        let wanted = "https://gitlab.example/org/repo";
        for url in [
            "https://gitlab.example/org/repo.git/info/lfs",
            "https://gitlab.example/org/repo.git/info/lfs/objects/batch",
            "https://GitLab.Example:443/org/repo/info/lfs/locks?limit=1",
            &format!("https://gitlab.example/org/repo.git/gitlab-lfs/objects/{OID}"),
            &format!("https://gitlab.example/org/repo.git/gitlab-lfs/objects/{OID}/12"),
            &format!("https://gitlab.example/org/repo/objects/{OID}"),
            "https://gitlab.example./org/repo/objects/batch",
        ] {
            assert_eq!(provenance(url), wanted, "{url}");
        }
    }

    #[test]
    fn content_stands_under_what_comes_before_its_digest() {
        let url = format!("https://cdn.example:8443/alambic/media/376/e3/b0/{OID}?X-Amz-Signature=secret#x");
        assert_eq!(provenance(&url), "https://cdn.example:8443/alambic/media/376");
        assert_eq!(provenance(&format!("http://h/v2/library/x/blobs/sha256:{OID}")), "http://h/v2/library/x");
        assert_eq!(provenance(&format!("http://h/objects/e3/b0/{OID}")), "http://h");
        assert_eq!(provenance("http://h/a/b/file.bin?token=1"), "http://h/a/b");
        assert_eq!(provenance("http://user:secret@h/file"), "http://h");
    }

    #[test]
    fn a_path_that_climbs_out_falls_under_no_prefix_but_its_own() {
        assert_eq!(provenance("https://h/public/../private/x"), "https://h/private");
        let climbing = provenance("https://h/public/..%2fprivate/x");
        assert!(!climbing.starts_with("https://h/public/"), "{climbing}");
        assert_ne!(climbing, provenance("https://h/public/x"));
        let backslash = provenance("https://h/public/..%5cprivate/x");
        assert!(!backslash.starts_with("https://h/public/"), "{backslash}");
    }

    #[test]
    fn what_is_no_address_is_nobodys() {
        assert_eq!(provenance("not a url"), "unreadable:");
    }
}
