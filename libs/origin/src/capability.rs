//! What upstreams have shown to be able to do.
//!
//! Owns: whether a site answers ranges. Never: a decision; a site that has learned something new is believed at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::target::Site;

/// Sites remembered; when full the memory starts anew, which costs one probe per site.
const MAX_SITES: usize = 4096;

/// The memory of all sites.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    ranges: Mutex<HashMap<Site, bool>>,
}

impl Capabilities {
    /// Whether the site answers ranges, where that is known.
    pub(crate) fn ranges(&self, site: &Site) -> Option<bool> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).get(site).copied()
    }

    /// A range was asked for and this is how it was answered.
    pub(crate) fn learn_ranges(&self, site: &Site, answered: bool) {
        let mut known = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SITES && !known.contains_key(site) {
            known.clear();
        }
        known.insert(site.clone(), answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;

    #[test]
    fn the_last_word_of_a_site_counts_and_the_memory_is_bounded() {
        let known = Capabilities::default();
        let site = |port| Site::new(Scheme::Http, "h", port).unwrap();
        assert_eq!(known.ranges(&site(1)), None);
        known.learn_ranges(&site(1), false);
        assert_eq!(known.ranges(&site(1)), Some(false));
        known.learn_ranges(&site(1), true);
        assert_eq!(known.ranges(&site(1)), Some(true));
        for port in 1..=u16::MAX {
            known.learn_ranges(&site(port), true);
        }
        assert!(known.ranges.lock().unwrap().len() <= MAX_SITES);
    }
}
