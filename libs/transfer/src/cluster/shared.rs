//! What the handle and the streams share: what is wanted, what is owed to each scheduler, who is here.
//!
//! No task of its own; every lock is held for one step and never over an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use darner_chassis::tls::Wire;
use darner_lfs::{ObjectKey, rendezvous};
use darner_proto::v1;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::ledger::{LIMIT, Ledger};
use super::outbox::Outbox;
use super::views::Views;
use super::{ClusterConfig, Membership, Parents, disk};

/// A node that nobody has told who its seeds are takes its word for none for this long at least, and as long as a scheduler
/// has not been asked to an end.
const SETTLING: Duration = Duration::from_secs(5);
/// After this long it goes by what it knows, whoever may still be asked: a scheduler that accepts and says nothing must
/// stop no download.
const SETTLED: Duration = Duration::from_secs(15);

/// What the handle and the streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ClusterConfig,
    pub(super) links: Vec<Link>,
    pub(super) views: Mutex<Views>,
    pub(super) membership: watch::Sender<Arc<Membership>>,
    pub(super) ledger: Mutex<Ledger>,
    /// Where this node stands now: what it said at first, until the cluster knows better.
    pub(super) zone: watch::Sender<String>,
    started: Instant,
}

/// What is owed to one scheduler.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: String,
    pub(super) outbox: Mutex<Outbox>,
    pub(super) owed: Notify,
}

/// A lock whose owner panicked holds data that is still whole: every change below is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The edge: pure code gets its time from here.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    pub(super) fn new(config: ClusterConfig) -> Arc<Self> {
        let kept = config.state_file.as_deref().map(disk::read).unwrap_or_default();
        let link = |address: &String| Link {
            address: address.clone(),
            outbox: Mutex::default(),
            owed: Notify::new(),
        };
        let links: Vec<Link> = config.schedulers.iter().map(link).collect();
        let views = Views::new(links.len(), kept.clone());
        Arc::new(Self {
            links,
            views: Mutex::new(views),
            membership: watch::Sender::new(Arc::new(kept)),
            ledger: Mutex::new(Ledger::new(LIMIT)),
            zone: watch::Sender::new(config.identity.zone.clone()),
            started: Instant::now(),
            config,
        })
    }

    pub(super) const fn identity(&self) -> &v1::NodeIdentity {
        &self.config.identity
    }

    /// This node as it introduces itself now.
    pub(super) fn introduction(&self) -> v1::NodeIdentity {
        v1::NodeIdentity { zone: self.zone.borrow().clone(), ..self.config.identity.clone() }
    }

    /// The node stands in this zone: whoever was told another one is told anew.
    pub(super) fn place(&self, zone: &str) {
        self.zone.send_if_modified(|current| {
            let moved = current != zone;
            zone.clone_into(current);
            moved
        });
    }

    pub(super) const fn wire(&self) -> &Wire {
        &self.config.wire
    }

    pub(super) fn seed_peers(&self) -> &[String] {
        &self.config.seed_peers
    }

    pub(super) const fn membership(&self) -> &watch::Sender<Arc<Membership>> {
        &self.membership
    }

    pub(super) fn schedulers(&self) -> Vec<(String, bool)> {
        let views = lock(&self.views);
        let connected = |(at, link): (usize, &Link)| (link.address.clone(), views.connected(at));
        self.links.iter().enumerate().map(connected).collect()
    }

    pub(super) fn is_joined(&self) -> bool {
        self.links.is_empty() || lock(&self.views).informed()
    }

    /// Whether this node has only just started, and who its seeds are may still be told.
    pub(super) fn is_settling(&self) -> bool {
        let age = self.started.elapsed();
        if self.links.is_empty() || age >= SETTLED {
            return false;
        }
        let views = lock(&self.views);
        !views.informed() && (age < SETTLING || views.is_asking())
    }

    /// The one scheduler that knows about this key.
    pub(super) fn owner(&self, key: &ObjectKey) -> Option<&Link> {
        match self.links.as_slice() {
            [] => None,
            [only] => Some(only),
            links => rendezvous::rank(key, links, |link| &link.address).first().copied(),
        }
    }

    /// Whether this link's scheduler is the one that knows about the key.
    pub(super) fn owns(&self, link: &Link, key: &ObjectKey) -> bool {
        self.owner(key).is_some_and(|owner| std::ptr::eq(owner, link))
    }

    pub(super) fn owe(&self, key: &ObjectKey, what: impl FnOnce(&mut Outbox)) {
        if let Some(link) = self.owner(key) {
            what(&mut lock(&link.outbox));
            link.owed.notify_one();
        }
    }

    pub(super) fn want(&self, wants: Vec<(ObjectKey, Option<u64>)>) {
        for (key, size) in wants {
            self.want_traced(key, size, None);
        }
    }

    pub(super) fn want_traced(&self, key: ObjectKey, size: Option<u64>, trace: Option<String>) {
        if lock(&self.ledger).want(key, size) {
            self.owe(&key, |outbox| outbox.want(key, size, trace));
        }
    }

    pub(super) fn orders(&self, key: &ObjectKey) -> watch::Receiver<Parents> {
        lock(&self.ledger).orders(*key)
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        if lock(&self.ledger).forget(key) {
            self.owe(key, |outbox| outbox.forget(*key));
        }
    }

    pub(super) fn trouble(&self, key: &ObjectKey, parent_id: &str, kind: v1::TroubleKind) {
        self.owe(key, |outbox| outbox.trouble(*key, parent_id, kind));
    }

    pub(super) fn load(&self, load: &v1::Load) {
        for link in &self.links {
            lock(&link.outbox).load(*load);
            link.owed.notify_one();
        }
    }

    /// Publishes the members as they are now, when they differ.
    pub(super) fn publish(&self) {
        let merged = lock(&self.views).merged(now_ms());
        self.membership.send_if_modified(|known| {
            let changed = **known != merged;
            if changed {
                *known = Arc::new(merged);
            }
            changed
        });
    }
}
