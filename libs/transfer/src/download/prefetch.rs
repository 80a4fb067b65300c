//! Fetching what a Batch named before git asks for it: tiny objects with the seed's replies, small ones in bundles, big
//! ones as downloads. One question carries a whole Batch, and what is answered is kept while the rest is still read.
//!
//! The handle is the caller's interest: dropped, whatever has not begun is forgotten.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use darner_lfs::ObjectKey;
use darner_lfs::layout::MIN_PIECE_BYTES;
use darner_proto::v1::open_reply::Outcome;
use darner_proto::{convert, v1};
use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::{Downloads, Wanted};

/// Objects opened in one request to a seed.
const PER_OPEN: usize = 100;
/// Objects of at most so many bytes are asked to come with the replies.
const CONTENT_BYTES: u32 = 16 << 10;
/// Objects taken in one bundle.
const PER_BUNDLE: usize = 32;
/// Bundles of one question under way at once.
const BUNDLES_AT_ONCE: usize = 4;
/// Objects of one bundle handed to the store at once.
const KEPT_AT_ONCE: usize = 8;
/// Big downloads of one prefetch at a time.
const BIG_AT_ONCE: usize = 4;
/// A client asks for the first ones itself within this time: they are then opened once, for it.
const HEAD_START: Duration = Duration::from_millis(100);

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
    left: Mutex<HashMap<ObjectKey, watch::Sender<bool>>>,
}

impl Expecting {
    fn awaits(&self, key: &ObjectKey) -> bool {
        self.left().contains_key(key)
    }

    fn settled(&self, key: &ObjectKey) {
        let sender = self.left().remove(key);
        if let Some(sender) = sender {
            self.downloads.inner.expected().remove(key);
            sender.send_replace(true);
        }
    }

    fn left(&self) -> MutexGuard<'_, HashMap<ObjectKey, watch::Sender<bool>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        let keys: Vec<_> = self.left().keys().copied().collect();
        for key in keys {
            self.settled(&key);
        }
    }
}

impl Downloads {
    /// Fetches these objects in the background, as long as the handle lives; in the trace of the current span.
    pub fn prefetch(&self, wanted: Vec<Wanted>) -> Prefetch {
        let (mut tasks, span) = (JoinSet::new(), tracing::Span::current());
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
                let small = self.clone().small(address.clone(), part.to_vec(), expecting);
                tasks.spawn(small.instrument(span.clone()));
            }
        }
        tasks.spawn(self.clone().big(big).instrument(span));
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
            || self.inner.opening().contains(key)
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
        Expecting { downloads: self.clone(), left: Mutex::new(left) }
    }

    async fn big(self, wanted: Vec<Wanted>) {
        let downloads = &self;
        tokio::time::sleep(HEAD_START).await;
        futures::stream::iter(wanted)
            .for_each_concurrent(BIG_AT_ONCE, |wanted| async move {
                if downloads.is_known(&wanted.key) {
                    return;
                }
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

    async fn small(self, address: String, wanted: Vec<Wanted>, expecting: Expecting) {
        let request = self.inner.door.request(&wanted);
        let request = v1::OpenRequest { content_bytes: CONTENT_BYTES, ..request };
        let replies = match self.inner.door.at(&address).open(request).await {
            Ok(replies) => replies,
            Err(status) => {
                tracing::debug!(words = status.message(), "a seed does not open a prefetch");
                return;
            }
        };
        let replies = until_broken(replies).ready_chunks(PER_BUNDLE);
        replies.for_each_concurrent(BUNDLES_AT_ONCE, |replies| self.land(replies, &expecting)).await;
    }

    /// Keeps what came with the replies, and fetches the rest of what was opened.
    async fn land(&self, replies: Vec<v1::OpenReply>, expecting: &Expecting) {
        let (mut bundle, mut kept) = (Vec::new(), Vec::new());
        for reply in replies {
            let Ok(key) = convert::key(reply.key.as_ref()) else { continue };
            match reply.outcome {
                Some(Outcome::Opened(opened)) if expecting.awaits(&key) => {
                    if opened.content.is_empty() {
                        bundle.push((key, opened));
                    } else {
                        kept.push(self.keep((key, opened.content), opened.upstream, expecting));
                    }
                }
                _ => expecting.settled(&key),
            }
        }
        tokio::join!(futures::future::join_all(kept), self.take(bundle, expecting));
    }

    /// One bundle from the seed that opened; what is missing in it is left to the GET that wants it.
    async fn take(&self, bundle: Vec<(ObjectKey, v1::Opened)>, expecting: &Expecting) {
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
        match self.inner.parts.links.peer(&seed).bundle(request).await {
            Ok(entries) => {
                let here = until_broken(entries).filter_map(|entry| ready(here(entry)));
                let keep = |(key, content): (ObjectKey, Bytes)| {
                    let upstream = upstreams.get(&key).cloned().unwrap_or_default();
                    self.keep((key, content), upstream, expecting)
                };
                here.for_each_concurrent(KEPT_AT_ONCE, keep).await;
            }
            Err(error) => tracing::debug!(%error, "a bundle did not come"),
        }
        for key in upstreams.keys() {
            expecting.settled(key);
        }
    }

    /// Keeps an object that came whole, if it is what its name says.
    async fn keep(&self, (key, content): (ObjectKey, Bytes), upstream: String, expecting: &Expecting) {
        if let Some(oid) = key.oid() {
            let upstream = Some(upstream.as_str()).filter(|upstream| !upstream.is_empty());
            if let Err(error) = self.inner.parts.store.put(oid, content, upstream).await {
                tracing::debug!(%key, %error, "an object that came ahead is not kept");
            }
        }
        expecting.settled(&key);
    }
}

/// What an entry brought.
fn here(entry: v1::BundleEntry) -> Option<(ObjectKey, Bytes)> {
    let key = convert::key(entry.key.as_ref()).ok()?;
    (entry.status() == v1::BundleStatus::Here).then_some((key, entry.content))
}

/// What comes before the stream breaks.
fn until_broken<T, E>(stream: impl Stream<Item = Result<T, E>>) -> impl Stream<Item = T> {
    stream.scan((), |(), item| ready(item.ok()))
}
