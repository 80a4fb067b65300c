//! Fetching what a Batch named before git asks for it: small objects in bundles, big ones as downloads.
//!
//! The handle is the caller's interest: dropped, whatever has not begun is forgotten.

use std::collections::HashMap;

use darner_lfs::ObjectKey;
use darner_lfs::layout::MIN_PIECE_BYTES;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::{convert, v1};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Downloads, Wanted};

/// Objects opened in one request to a seed.
const PER_OPEN: usize = 100;
/// Objects taken in one bundle.
const PER_BUNDLE: usize = 32;
/// Big downloads of one prefetch at a time.
const BIG_AT_ONCE: usize = 4;

/// A running prefetch.
#[derive(Debug)]
pub struct Prefetch {
    tasks: JoinSet<()>,
}

impl Prefetch {
    /// Waits until everything was fetched or given up.
    pub async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Marks objects as expected while it lives: a GET for one waits for it instead of asking again.
struct Expecting {
    downloads: Downloads,
    left: HashMap<ObjectKey, watch::Sender<bool>>,
}

impl Expecting {
    fn settled(&mut self, key: &ObjectKey) {
        if let Some(sender) = self.left.remove(key) {
            self.downloads.inner.expected().remove(key);
            sender.send_replace(true);
        }
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        let keys: Vec<_> = self.left.keys().copied().collect();
        for key in keys {
            self.settled(&key);
        }
    }
}

impl Downloads {
    /// Fetches these objects in the background, as long as the handle lives.
    pub fn prefetch(&self, wanted: Vec<Wanted>) -> Prefetch {
        let mut tasks = JoinSet::new();
        let fresh = wanted.into_iter().filter(|wanted| !self.is_known(&wanted.key));
        let (small, mut big): (Vec<_>, Vec<_>) =
            fresh.partition(|wanted| wanted.size.is_some_and(|size| size <= u64::from(MIN_PIECE_BYTES)));
        let mut by_seed: HashMap<String, Vec<Wanted>> = HashMap::new();
        for wanted in small {
            let owner = self.inner.parts.cluster.seeds_for(&wanted.key).into_iter().next();
            match owner {
                Some(owner) => by_seed.entry(owner.grpc_address).or_default().push(wanted),
                None => big.push(wanted),
            }
        }
        for (address, wanted) in by_seed {
            for part in wanted.chunks(PER_OPEN) {
                let expecting = self.expect(part);
                tasks.spawn(self.clone().small(address.clone(), part.to_vec(), expecting));
            }
        }
        tasks.spawn(self.clone().big(big));
        Prefetch { tasks }
    }

    /// Waits while a prefetch is about to bring the object; true when one was.
    pub async fn expected(&self, key: &ObjectKey) -> bool {
        let Some(mut settled) = self.inner.expected().get(key).cloned() else { return false };
        // The sender goes with the prefetch: either way it is settled.
        settled.wait_for(|settled| *settled).await.is_ok()
    }

    fn is_known(&self, key: &ObjectKey) -> bool {
        self.inner.parts.store.contains(key)
            || self.inner.running().contains_key(key)
            || self.inner.expected().contains_key(key)
    }

    fn expect(&self, wanted: &[Wanted]) -> Expecting {
        let mut left = HashMap::new();
        let mut expected = self.inner.expected();
        for wanted in wanted {
            let (sender, receiver) = watch::channel(false);
            expected.insert(wanted.key, receiver);
            left.insert(wanted.key, sender);
        }
        drop(expected);
        Expecting { downloads: self.clone(), left }
    }

    async fn big(self, wanted: Vec<Wanted>) {
        let downloads = &self;
        futures::stream::iter(wanted)
            .for_each_concurrent(BIG_AT_ONCE, |wanted| async move {
                match downloads.open(wanted).await {
                    // Without room on the disk nothing can be fetched ahead.
                    Ok(download) if download.partial().is_volatile() => {}
                    Ok(download) => {
                        download.outcome().await;
                    }
                    Err(error) => tracing::debug!(%error, "a prefetch was not opened"),
                }
            })
            .await;
    }

    async fn small(self, address: String, wanted: Vec<Wanted>, mut expecting: Expecting) {
        let request = self.inner.door.request(&wanted);
        let sizes: HashMap<ObjectKey, u64> = wanted.iter().filter_map(|w| Some((w.key, w.size?))).collect();
        let mut replies = match self.inner.door.at(&address).open(request).await {
            Ok(replies) => replies,
            Err(status) => {
                tracing::debug!(words = status.message(), "a seed does not open a prefetch");
                return;
            }
        };
        let mut bundle: Vec<(ObjectKey, v1::Opened)> = Vec::new();
        while let Some(Ok(reply)) = replies.next().await {
            let Ok(key) = convert::key(reply.key.as_ref()) else { continue };
            match reply.outcome {
                Some(Outcome::Opened(opened)) if sizes.contains_key(&key) => bundle.push((key, opened)),
                _ => expecting.settled(&key),
            }
            if bundle.len() >= PER_BUNDLE {
                self.take(std::mem::take(&mut bundle), &mut expecting).await;
            }
        }
        self.take(bundle, &mut expecting).await;
    }

    /// One bundle from the seed that opened; what is missing in it is left to the GET that wants it.
    async fn take(&self, bundle: Vec<(ObjectKey, v1::Opened)>, expecting: &mut Expecting) {
        let Some(seed) = bundle.first().and_then(|(_, opened)| opened.seed.clone()) else { return };
        let upstreams: HashMap<ObjectKey, String> =
            bundle.iter().map(|(key, opened)| (*key, opened.upstream.clone())).collect();
        let item = |(key, opened): (ObjectKey, v1::Opened)| v1::BundleItem {
            key: Some(key.into()),
            grant: opened.grant,
        };
        let request = v1::BundleRequest {
            items: bundle.into_iter().map(item).collect(),
            node: self.inner.parts.cluster.identity().id.clone(),
        };
        let mut entries = match self.inner.parts.links.peer(&seed).bundle(request).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(%error, "a bundle did not come");
                for key in upstreams.keys() {
                    expecting.settled(key);
                }
                return;
            }
        };
        while let Some(Ok(entry)) = entries.next().await {
            let Ok(key) = convert::key(entry.key.as_ref()) else { continue };
            if entry.status() == v1::BundleStatus::Here
                && let Some(oid) = key.oid()
            {
                let upstream = upstreams.get(&key).map(String::as_str);
                if let Err(error) = self.inner.parts.store.put(oid, entry.content, upstream).await {
                    tracing::debug!(%key, %error, "an object of a bundle is not kept");
                }
            }
            expecting.settled(&key);
        }
        for key in upstreams.keys() {
            expecting.settled(key);
        }
    }
}
