//! What the operator leaves of a node's upstreams.
//!
//! Owns: what "all upstreams" of a node are, and the task that tells its origin which of them are left. Called by: the
//! wiring of every service that dials upstreams, before its ports open, so that nothing is served under a list that was
//! narrowed before the node stopped. Never: widens anything; the origin only takes away.

use darner_origin::{FORGES, Origin};
use darner_proto::v1;
use darner_proto::wanted::Wanted;
use darner_transfer::feed::{ConfigVersion, Feed};

/// All a node's own file lets it dial.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// The entries of `upstreams`.
    pub own: Vec<String>,
    /// Whether the cluster may add to them.
    pub from_cluster: bool,
    /// Whether the built-in forges are reached besides.
    pub forges: bool,
}

impl Reach {
    /// What is left of all this; absent: everything.
    fn left(&self, wanted: &Wanted, added: &v1::ClusterUpstreams) -> Option<Vec<String>> {
        if !wanted.narrows_upstreams() {
            return None;
        }
        let mut all = self.own.clone();
        if self.from_cluster {
            let sites =
                added.upstreams.iter().flat_map(|one| [&one.entry].into_iter().chain(&one.redirects_to));
            all.extend(sites.cloned());
        }
        if self.forges {
            all.extend(FORGES.map(str::to_owned));
        }
        Some(wanted.upstreams(&all))
    }
}

/// Leaves of a node's upstreams what the operator wants, from now on and for as long as the returned task runs.
pub fn narrow_upstreams(
    origin: Origin,
    feed: &Feed,
    reach: Reach,
) -> impl Future<Output = ()> + Send + use<> {
    let (mut pushed, mut added) = (feed.config(), feed.upstreams());
    let apply = move |config: &ConfigVersion, added: &v1::ClusterUpstreams| {
        origin.leave(reach.left(&config.wanted, added).as_deref());
    };
    // At once: the last wish was kept on disk.
    apply(&pushed.borrow_and_update(), &added.borrow_and_update());
    async move {
        loop {
            let changed = tokio::select! {
                changed = pushed.changed() => changed,
                changed = added.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            apply(&pushed.borrow_and_update(), &added.borrow_and_update());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: &str) -> Wanted {
        Wanted::parse(json.as_bytes()).unwrap()
    }

    fn added(entry: &str) -> v1::ClusterUpstreams {
        let one = v1::ClusterUpstream {
            entry: entry.to_owned(),
            redirects_to: vec!["https://store.test".to_owned()],
            ..Default::default()
        };
        v1::ClusterUpstreams { upstreams: vec![one], ..Default::default() }
    }

    #[test]
    fn nothing_is_taken_away_unless_the_operator_names_what_to_keep() {
        let reach = Reach { own: vec!["a.test".to_owned()], from_cluster: true, forges: true };
        assert_eq!(reach.left(&wanted("{}"), &added("https://b.test")), None);
        assert_eq!(reach.left(&wanted(r#"{"upstreams":[]}"#), &added("https://b.test")), Some(Vec::new()));
    }

    #[test]
    fn what_the_cluster_adds_and_forges_are_kept_only_by_name_and_only_where_they_count() {
        let keep = wanted(r#"{"upstreams":["https://a.test","b.test","store.test","github.com"]}"#);
        let own = vec!["a.test".to_owned(), "c.test".to_owned()];
        let bare = Reach { own: own.clone(), ..Reach::default() };
        assert_eq!(bare.left(&keep, &added("https://b.test")).unwrap(), ["a.test"]);
        let reach = Reach { own, from_cluster: true, forges: true };
        let left = reach.left(&keep, &added("https://b.test")).unwrap();
        assert_eq!(left, ["a.test", "https://b.test", "https://store.test", "github.com"]);
    }
}
