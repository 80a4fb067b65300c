//! What the cluster around a node told it: upstreams it adds, and the node's zone.
//!
//! Owns: the last of both, and the file that keeps them, so that a node starts under them with no manager reachable (I8).
//! Never: decides whether they count; the node's own file does. The file is replaced atomically; one that cannot be
//! read or understood counts as absent, with a warning.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use darner_proto::v1;
use prost::Message as _;
use tokio::sync::watch;

use super::kept;

/// Largest list that is taken; every part of it has a bound of its own where it is made.
const MOST_BYTES: usize = 20 * 1024 * 1024;

/// What the cluster said last.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) upstreams: watch::Sender<Arc<v1::ClusterUpstreams>>,
    pub(super) zone: watch::Sender<String>,
    /// What the node made of the upstreams; none: it does not take any.
    pub(super) taken: watch::Sender<Option<v1::UpstreamsState>>,
}

impl Around {
    /// As it was kept, or nothing.
    pub(super) fn kept(path: Option<&Path>) -> Self {
        let kept = path.map(read).unwrap_or_default();
        Self {
            upstreams: watch::Sender::new(Arc::new(kept.upstreams.unwrap_or_default())),
            zone: watch::Sender::new(kept.placement.unwrap_or_default().zone),
            taken: watch::Sender::new(None),
        }
    }

    pub(super) fn hear_upstreams(&self, list: v1::ClusterUpstreams) {
        if list.encoded_len() > MOST_BYTES {
            tracing::warn!(bytes = list.encoded_len(), "a list of upstreams is too long and ignored");
            return;
        }
        self.upstreams.send_if_modified(|current| {
            let news = current.revision != list.revision;
            if news {
                *current = Arc::new(list);
            }
            news
        });
    }

    pub(super) fn hear_place(&self, place: v1::Placement) {
        self.zone.send_if_modified(|zone| {
            let news = *zone != place.zone;
            *zone = place.zone;
            news
        });
    }
}

fn read(path: &Path) -> v1::Surroundings {
    let read = std::fs::read(path)
        .and_then(|kept| v1::Surroundings::decode(kept.as_slice()).map_err(io::Error::other));
    match read {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => v1::Surroundings::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what the cluster said is not understood and ignored");
            v1::Surroundings::default()
        }
    }
}

/// Write the file at every change, for as long as the feed lives.
pub(super) async fn keep(
    path: PathBuf,
    mut upstreams: watch::Receiver<Arc<v1::ClusterUpstreams>>,
    mut zone: watch::Receiver<String>,
) {
    loop {
        let changed = tokio::select! {
            changed = upstreams.changed() => changed,
            changed = zone.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let kept = v1::Surroundings {
            upstreams: Some(upstreams.borrow_and_update().as_ref().clone()),
            placement: Some(v1::Placement { zone: zone.borrow_and_update().clone() }),
        };
        kept::replace(&path, kept.encode_to_vec(), "what the cluster said").await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(revision: &str) -> v1::ClusterUpstreams {
        let upstream = v1::ClusterUpstream { entry: "https://h".to_owned(), ..Default::default() };
        v1::ClusterUpstreams { revision: revision.to_owned(), upstreams: vec![upstream] }
    }

    #[tokio::test]
    async fn a_node_that_starts_again_knows_what_it_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("surroundings");
        let around = Around::kept(Some(&path));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(keep(path.clone(), around.upstreams.subscribe(), around.zone.subscribe()));
        around.hear_upstreams(list("r1"));
        around.hear_place(v1::Placement { zone: "east".to_owned() });
        drop(around);
        tasks.join_all().await;
        let again = Around::kept(Some(&path));
        assert_eq!((again.upstreams.borrow().as_ref(), again.zone.borrow().as_str()), (&list("r1"), "east"));
    }

    #[test]
    fn an_absent_or_damaged_file_is_nothing_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("surroundings");
        assert!(Around::kept(Some(&path)).upstreams.borrow().upstreams.is_empty());
        std::fs::write(&path, [0xff; 40]).unwrap();
        assert!(Around::kept(Some(&path)).upstreams.borrow().upstreams.is_empty());
    }

    #[test]
    fn a_list_is_news_by_its_revision_and_a_huge_one_is_not_taken() {
        let around = Around::kept(None);
        let mut heard = around.upstreams.subscribe();
        around.hear_upstreams(list("r1"));
        assert!(heard.has_changed().unwrap());
        heard.mark_unchanged();
        around.hear_upstreams(list("r1"));
        let mut huge = list("r2");
        huge.upstreams[0].ca_pem = "x".repeat(MOST_BYTES);
        around.hear_upstreams(huge);
        assert!(!heard.has_changed().unwrap());
    }
}
