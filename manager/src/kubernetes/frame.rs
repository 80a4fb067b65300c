//! The frame every custom resource of ours stands in: watch, judge all of them together, write down what was found.
//!
//! Owns: when a kind is judged (something changed, something around it changed, or a while has passed), and that a
//! status is written only by the leader and only when it says something new, with an event for every condition that is
//! news. Never: knows what a kind means; a [`Keeper`] does. Judging everything at once is level-triggered: whatever was
//! missed is seen the next time, and an API server that is away is asked again, later and later.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::condition::{self, Condition};
use super::lease::Leadership;

/// Changes are gathered this long, so that twenty resources applied at once are judged once.
const GATHER: Duration = Duration::from_millis(200);
/// Without any change everything is judged this often: a Secret or ConfigMap that came is seen by then.
const AGAIN: Duration = Duration::from_secs(20);
/// An API server that does not answer must not hold everything up.
const JUDGED_WITHIN: Duration = Duration::from_mins(1);
/// A status that could not be written is written again after this.
const RETRY: Duration = Duration::from_secs(3);

/// A kind of resource that has a status with conditions.
pub trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Serialize + PartialEq + Send + Sync;

    /// What its status says now.
    fn status(&self) -> Option<&Self::Status>;

    /// The conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];
}

/// A resource and the status it should have.
pub type Judged<K> = (Arc<K>, <K as Kept>::Status);

/// Knows what a kind means.
pub trait Keeper: Send {
    /// The kind.
    type Kind: Kept;

    /// Judge all resources of the kind; also acts on them, where that is to be done by every manager.
    fn judge(&mut self, all: Vec<Arc<Self::Kind>>) -> impl Future<Output = Vec<Judged<Self::Kind>>> + Send;
}

/// What the frame stands on.
#[derive(Clone)]
pub struct Ground {
    /// The API server.
    pub client: Client,
    /// The namespace of the release; nothing outside of it is looked at.
    pub namespace: String,
    /// Whether this manager writes.
    pub leadership: Leadership,
    /// Tells people.
    pub recorder: Recorder,
    /// Changes when something around the resources did.
    pub around: watch::Receiver<u64>,
}

impl Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Keep a kind for as long as the process lives.
pub async fn keep<K: Keeper>(mut ground: Ground, mut keeper: K) {
    let api: Api<K::Kind> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let (store, writer) = reflector::store();
    let watched = watcher(api.clone(), watcher::Config::default()).default_backoff().reflect(writer);
    let mut watched = pin!(watched);
    let mut health = Health::<K::Kind>::default();
    let mut listed = false;
    let mut due = Instant::now() + AGAIN;
    loop {
        let gathered = Instant::now() + GATHER;
        tokio::select! {
            event = watched.next() => match event {
                Some(Ok(event)) => {
                    health.well();
                    listed |= matches!(event, watcher::Event::InitDone);
                    due = due.min(gathered);
                }
                Some(Err(error)) => health.ill(&error),
                None => return,
            },
            Ok(()) = ground.around.changed() => due = due.min(gathered),
            () = ground.leadership.changed() => due = due.min(gathered),
            () = sleep_until(due) => {
                due = Instant::now() + AGAIN;
                // Before the first whole list, what is not there may only not have been told yet.
                if listed {
                    let judging = async { write_all(&ground, &api, keeper.judge(store.state()).await).await };
                    if !timeout(JUDGED_WITHIN, judging).await.unwrap_or(false) {
                        due = Instant::now() + RETRY;
                    }
                }
            }
        }
    }
}

/// Write each status that says something new; false when one has to be tried again.
async fn write_all<K: Kept>(ground: &Ground, api: &Api<K>, judged: Vec<Judged<K>>) -> bool {
    let mut done = true;
    for (object, status) in judged {
        if !ground.leadership.leads() {
            return true;
        }
        if object.status() == Some(&status) {
            continue;
        }
        let name = object.name_any();
        // Named with the version it was judged at: whoever judged an older one writes nothing.
        let patch = json!({"metadata": {"resourceVersion": object.resource_version()}, "status": status});
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => tell::<K>(ground, &object, &status).await,
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), name, %error, "a status could not be written");
                done = false;
            }
        }
    }
    done
}

/// An event for each condition that is news; what was never otherwise than good is no news.
async fn tell<K: Kept>(ground: &Ground, object: &K, status: &K::Status) {
    let before = object.status().map(K::conditions).unwrap_or_default();
    for news in condition::news(before, K::conditions(status)) {
        let is_good = news.status == "True";
        // `Ready` repeats the first of the others that fails.
        if (news.kind == "Ready") != is_good || news.status == "Unknown" {
            continue;
        }
        let event = Event {
            type_: if is_good { EventType::Normal } else { EventType::Warning },
            reason: news.reason.clone(),
            note: Some(news.message.chars().take(1000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = ground.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, "an event could not be written");
        }
    }
}

/// Says once that the API server is away, and once that it is back.
struct Health<K> {
    ill: bool,
    kind: std::marker::PhantomData<K>,
}

impl<K> Default for Health<K> {
    fn default() -> Self {
        Self { ill: false, kind: std::marker::PhantomData }
    }
}

impl<K: Kept> Health<K> {
    fn ill(&mut self, error: &watcher::Error) {
        if !std::mem::replace(&mut self.ill, true) {
            tracing::warn!(kind = %K::kind(&()), %error, "resources cannot be watched; what was known stays");
        }
    }

    fn well(&mut self) {
        if std::mem::take(&mut self.ill) {
            tracing::info!(kind = %K::kind(&()), "resources are watched again");
        }
    }
}
