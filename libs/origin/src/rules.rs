//! The rules in force: who may be dialled, and whose certificates count for whom.
//!
//! Owns: the rules of the node's own configuration, and what the cluster adds to them. What is added never changes what the
//! configuration says: a site it lists keeps its own certificates, and an added certificate counts for the sites it was
//! added with and no others. What an operator takes away stays away until it is given back. Never: decides whether anything
//! may be added; the node's own file does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use rustls::ClientConfig;

use crate::address::{Place, place};
use crate::allow::AllowList;
use crate::target::Site;
use crate::tls;

/// An upstream that the cluster adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// What it is called, to speak about it.
    pub name: String,
    /// `http(s)://HOST[:PORT]`.
    pub entry: String,
    /// The same for each host that its redirects may reach wherever that is.
    pub redirects_to: Vec<String>,
    /// PEM certificates trusted for these hosts, beside the platform's; empty: none.
    pub ca_pem: String,
}

/// One state of the rules.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) list: AllowList,
    pub(crate) tls: Arc<ClientConfig>,
    /// Sites with certificates of their own.
    own_tls: HashMap<Site, Arc<ClientConfig>>,
}

impl Rules {
    pub(crate) fn new(list: AllowList, tls: Arc<ClientConfig>) -> Self {
        Self { list, tls, own_tls: HashMap::new() }
    }

    /// How TLS is spoken to a site.
    pub(crate) fn tls_of(&self, site: &Site) -> &Arc<ClientConfig> {
        self.own_tls.get(site).unwrap_or(&self.tls)
    }
}

/// The rules of the configuration, and the ones in force.
#[derive(Debug)]
pub(crate) struct Ground {
    own: Arc<Rules>,
    upstream_ca: Option<PathBuf>,
    now: RwLock<Arc<Rules>>,
    /// Grows with every change of `now`, after it.
    version: AtomicU64,
}

impl Ground {
    pub(crate) fn new(rules: Rules, upstream_ca: Option<PathBuf>) -> Self {
        let own = Arc::new(rules);
        Self { upstream_ca, now: RwLock::new(own.clone()), own, version: AtomicU64::new(0) }
    }

    /// The rules in force.
    pub(crate) fn now(&self) -> Arc<Rules> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was found before this number grew may be outdated.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// From now on only these of all sites are left; absent: all of them.
    pub(crate) fn leave(&self, entries: Option<&[String]>) {
        let mut now = self.writing();
        let mut rules = Rules::clone(&now);
        rules.list.leave(entries);
        *now = Arc::new(rules);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Arc<Rules>> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are added, and nothing else is; the ones that are refused, by name, with the reason.
    pub(crate) fn add(&self, added: &[Added]) -> Vec<(String, String)> {
        let mut rules = Rules::clone(&self.own);
        let mut refused = Vec::new();
        for one in added {
            if let Err(words) = self.add_one(&mut rules, one) {
                refused.push((one.name.clone(), words));
            }
        }
        let mut now = self.writing();
        rules.list.leave_as(&now.list);
        *now = Arc::new(rules);
        self.version.fetch_add(1, Ordering::SeqCst);
        refused
    }

    fn add_one(&self, rules: &mut Rules, one: &Added) -> Result<(), String> {
        let site = self.site(&one.entry)?;
        if rules.list.lists(&site) {
            return Err(format!(
                "{site} is listed already, by the node's own `upstreams` or an upstream before this one"
            ));
        }
        let beyond = one.redirects_to.iter().map(|entry| self.site(entry)).collect::<Result<Vec<_>, _>>()?;
        let tls = match one.ca_pem.as_str() {
            "" => None,
            pem => Some(tls::with_roots(self.upstream_ca.as_deref(), pem)?),
        };
        for passage in &beyond {
            rules.list.pass(&site, passage);
        }
        // Who is spoken to under other certificates already stays so.
        let free = beyond.into_iter().filter(|passage| !rules.list.lists(passage)).collect::<Vec<_>>();
        for site in free.into_iter().chain([site]) {
            if let Some(tls) = &tls {
                rules.own_tls.insert(site.clone(), tls.clone());
            }
            rules.list.list(site);
        }
        Ok(())
    }

    fn site(&self, entry: &str) -> Result<Site, String> {
        let site = AllowList::site(entry)
            .ok_or_else(|| format!("`{}` is not http(s)://HOST[:PORT]", entry.escape_default()))?;
        match site.literal() {
            Some(address) if reserved(address) && self.own.list.address_of(&site).is_none() => Err(format!(
                "{address} is this machine or a link of it: only the node's own file may list that"
            )),
            _ => Ok(site),
        }
    }
}

/// Addresses that nobody but the owner of the machine may open: its own, and those of its link (metadata services).
fn reserved(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || matches!(place(address), Place::Forbidden(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;

    fn ground(upstreams: &[&str]) -> Ground {
        let owned: Vec<String> = upstreams.iter().map(|&text| text.to_owned()).collect();
        let mut mistakes = Vec::new();
        let list = AllowList::parse(&owned, &[], false, &mut mistakes);
        let tls = tls::client_config(None, &mut mistakes).unwrap();
        assert_eq!(mistakes, Vec::<String>::new());
        Ground::new(Rules::new(list, tls), None)
    }

    fn https(host: &str) -> Site {
        Site::new(Scheme::Https, host, 443).unwrap()
    }

    fn added(name: &str, entry: &str) -> Added {
        Added { name: name.to_owned(), entry: entry.to_owned(), ..Added::default() }
    }

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn what_is_added_is_listed_until_it_is_not_added_any_more() {
        let ground = ground(&["own.test"]);
        assert!(ground.add(&[added("a", "https://a.test"), added("b", "https://b.test")]).is_empty());
        assert!(ground.now().list.lists(&https("a.test")) && ground.now().list.lists(&https("own.test")));
        ground.add(&[added("b", "https://b.test")]);
        assert!(!ground.now().list.lists(&https("a.test")));
        assert!(ground.now().list.lists(&https("b.test")) && ground.now().list.lists(&https("own.test")));
    }

    #[test]
    fn one_that_is_wrong_does_not_shut_out_the_others() {
        let ground = ground(&[]);
        let wrong = ["ftp://h", "https://h/path", "https://a -> https://b", "", "https://*.h"];
        let mut all: Vec<_> = wrong.iter().map(|entry| added("bad", entry)).collect();
        all.push(added("good", "https://good.test"));
        let junk = Added { ca_pem: "junk".to_owned(), ..added("junk", "https://junk.test") };
        all.push(junk);
        assert_eq!(ground.add(&all).len(), wrong.len() + 1);
        assert!(
            ground.now().list.lists(&https("good.test")) && !ground.now().list.lists(&https("junk.test"))
        );
    }

    #[test]
    fn what_is_taken_away_stays_away_whatever_is_added() {
        let ground = ground(&["own.test", "other.test"]);
        let before = ground.version();
        ground.leave(Some(&["own.test".to_owned(), "https://a.test".to_owned()]));
        assert!(ground.version() > before);
        assert!(
            ground.now().list.lists(&https("own.test")) && !ground.now().list.lists(&https("other.test"))
        );
        assert!(ground.add(&[added("a", "https://a.test"), added("b", "https://b.test")]).is_empty());
        assert!(ground.now().list.lists(&https("a.test")) && !ground.now().list.lists(&https("b.test")));
        assert_eq!(ground.add(&[added("c", "https://other.test")]).len(), 1, "it is the file's, left or not");
        ground.leave(None);
        assert!(ground.now().list.lists(&https("other.test")));
    }

    #[test]
    fn this_machine_and_its_link_are_for_its_own_file_only() {
        let ground = ground(&[]);
        for entry in [
            "http://169.254.169.254",
            "http://127.0.0.1:10255",
            "http://[::1]:80",
            "http://[fe80::1]",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert_eq!(ground.add(&[added("x", entry)]).len(), 1, "{entry}");
            let beyond = Added { redirects_to: vec![entry.to_owned()], ..added("x", "https://h.test") };
            assert_eq!(ground.add(&[beyond]).len(), 1, "redirects to {entry}");
        }
        assert!(ground.add(&[added("x", "http://10.0.0.7:8080")]).is_empty());
    }

    #[test]
    fn an_added_certificate_counts_for_the_sites_it_came_with_only() {
        let ground = ground(&["own.test"]);
        let one = Added {
            redirects_to: vec!["https://store.test".to_owned(), "https://own.test".to_owned()],
            ca_pem: pem(),
            ..added("a", "https://a.test")
        };
        assert!(ground.add(&[one]).is_empty());
        let rules = ground.now();
        let own = |host: &str| Arc::ptr_eq(rules.tls_of(&https(host)), &rules.tls);
        assert!(!own("a.test") && !own("store.test"));
        assert!(own("own.test") && own("other.test"), "what the file lists keeps its own trust");
        assert!(rules.list.has_passage(&https("a.test"), &https("store.test")));
        let again = Added { ca_pem: pem(), ..added("b", "https://own.test") };
        assert!(ground.add(&[again])[0].1.contains("listed already"));
    }
}
