//! Which upstreams were found on the list, by scheme and host, so that a ticket's address is not parsed at every GET.
//!
//! Owns: verdicts of one version of the list; a new version forgets them all. Never: remembers an address whose host
//! could be read in two ways: such a one is parsed each time.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Upstreams remembered.
const KEPT: usize = 256;

/// Verdicts, and the version of the list they belong to.
#[derive(Debug, Default)]
pub(super) struct Listed {
    verdicts: RwLock<(u64, HashMap<String, bool>)>,
}

impl Listed {
    /// What was found under this version.
    pub(super) fn known(&self, version: u64, site: &str) -> Option<bool> {
        let verdicts = self.verdicts.read().unwrap_or_else(PoisonError::into_inner);
        (verdicts.0 == version).then(|| verdicts.1.get(site).copied()).flatten()
    }

    /// Remembers what was found by a look that began under this version.
    pub(super) fn learn(&self, version: u64, site: &str, is_listed: bool) {
        let mut verdicts = self.verdicts.write().unwrap_or_else(PoisonError::into_inner);
        if verdicts.0 < version {
            *verdicts = (version, HashMap::new());
        }
        if verdicts.0 == version && verdicts.1.len() < KEPT {
            verdicts.1.insert(site.to_owned(), is_listed);
        }
    }
}

/// Scheme and host of a plain address: `http` or `https`, and a host and port of the plainest letters. `None` for
/// everything else.
pub(super) fn site(url: &str) -> Option<&str> {
    let (scheme, after) = url.split_once("://")?;
    let end = after.find('/')?;
    let host = after.get(..end)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    let is_site = matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(is_plain);
    is_site.then(|| url.get(..scheme.len() + 3 + end)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_address_is_remembered_by_its_host() {
        assert_eq!(site("https://cdn.example:8443/o/x?sig=1"), Some("https://cdn.example:8443"));
        for other in [
            "https:///evil/x",
            "https://good@evil/x",
            "https://good\\evil/x",
            "https://good?/x",
            "https://good#/x",
            "https://go\tod/x",
            "https://%67ood/x",
            " https://good/x",
            "HTTPS://good/x",
            "ftp://good/x",
            "https://good",
            "good/x",
        ] {
            assert_eq!(site(other), None, "{other}");
        }
    }

    #[test]
    fn a_new_version_forgets_and_an_old_look_is_not_remembered() {
        let listed = Listed::default();
        listed.learn(0, "https://h", true);
        assert_eq!((listed.known(0, "https://h"), listed.known(1, "https://h")), (Some(true), None));
        listed.learn(1, "https://h", false);
        listed.learn(0, "https://h", true);
        assert_eq!((listed.known(1, "https://h"), listed.known(0, "https://h")), (Some(false), None));
    }

    #[test]
    fn the_memory_is_bounded() {
        let listed = Listed::default();
        (0..1000).for_each(|n| listed.learn(0, &n.to_string(), true));
        assert_eq!(listed.verdicts.read().unwrap().1.len(), KEPT);
    }
}
