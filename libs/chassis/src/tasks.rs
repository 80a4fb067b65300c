//! Named tasks and the drain: who owns what runs in this process, and how it ends.
//!
//! Owns: every background task (a [`Tasks`] is a scope; its children end before it does) and the one word "we are
//! leaving" ([`Drain`]) with the count of requests still under way. Never: decides how long to wait; `command` does.
//! After a crash nothing of this exists. A cancelled scope drops its futures at their next await point, so a task
//! that must finish something watches [`Tasks::cancellation`] itself. Lock order: the register of names is a leaf.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A scope of named tasks. Cheap to clone; all clones are the same scope.
#[derive(Clone, Debug)]
pub struct Tasks {
    token: CancellationToken,
    /// What lives in this scope, its children included.
    own: TaskTracker,
    /// The trackers of all scopes around this one.
    around: Vec<TaskTracker>,
    register: Arc<Register>,
}

/// How many tasks of each name run in the process.
#[derive(Debug, Default)]
struct Register(Mutex<BTreeMap<&'static str, usize>>);

/// One entry of the register, given back when the task ends, however it ends.
struct Entry(Arc<Register>, &'static str);

impl Entry {
    fn new(register: &Arc<Register>, name: &'static str) -> Self {
        *register.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(0) += 1;
        Self(Arc::clone(register), name)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut names = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                names.remove(self.1);
            }
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// A scope of its own.
    pub fn new() -> Self {
        Self {
            token: CancellationToken::new(),
            own: TaskTracker::new(),
            around: Vec::new(),
            register: Arc::new(Register::default()),
        }
    }

    /// A scope inside this one: ends when this one ends, or earlier by its own [`Tasks::close`].
    #[must_use]
    pub fn child(&self) -> Self {
        let mut around = self.around.clone();
        around.push(self.own.clone());
        let register = Arc::clone(&self.register);
        Self { token: self.token.child_token(), own: TaskTracker::new(), around, register }
    }

    /// Runs a task until it ends or its scope closes. A panic is logged with the task's name and ends only this task.
    /// Needs a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        // On the heap before anything wraps it: each wrapper would copy it, and hold room for it twice.
        let future = Box::pin(future);
        self.spawn_to_end(name, async move {
            token.run_until_cancelled_owned(future).await;
        });
    }

    /// Runs a task that the closing scope waits for but does not drop: it watches [`Tasks::cancellation`] itself.
    pub fn spawn_to_end<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Entry::new(&self.register, name);
        let around: Vec<TaskTrackerToken> = self.around.iter().map(TaskTracker::token).collect();
        self.own.spawn(async move {
            let held = (entry, around);
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(task = name, panic = panic_words(panic.as_ref()), "task panicked");
            }
            drop(held);
        });
    }

    /// The token that is cancelled when this scope closes.
    pub fn cancellation(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Closes the scope when the returned guard is dropped (without waiting for it).
    pub fn close_on_drop(&self) -> DropGuard {
        self.token.clone().drop_guard()
    }

    /// Cancels every task of this scope and of its children, and waits until all of them are gone.
    pub async fn close(&self) {
        self.token.cancel();
        self.own.close();
        self.own.wait().await;
    }

    /// How many tasks of this scope and its children are alive.
    pub fn count(&self) -> usize {
        self.own.len()
    }

    /// How many tasks of each name are alive in the whole process, by name.
    pub fn names(&self) -> Vec<(&'static str, usize)> {
        let names = self.register.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|(name, count)| (*name, *count)).collect()
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words")
}

/// The word "we are leaving", and the requests that are still under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    under_way: TaskTracker,
}

/// A request under way; the drain waits for it.
#[derive(Debug)]
pub struct Guard {
    _token: TaskTrackerToken,
}

impl Drain {
    /// Nothing under way, nobody leaving.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the process is leaving: new work is refused or sent elsewhere.
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the process is leaving.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Says the word. Saying it twice changes nothing.
    pub fn start(&self) {
        self.under_way.close();
        self.token.cancel();
    }

    /// Counts one request as under way until the guard is dropped.
    pub fn guard(&self) -> Guard {
        Guard { _token: self.under_way.token() }
    }

    /// How many guards are held.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Waits until the drain has started and the last guard is gone.
    pub async fn finished(&self) {
        self.under_way.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn closing_a_scope_ends_its_tasks_and_those_of_its_children() {
        let tasks = Tasks::new();
        let child = tasks.child();
        tasks.spawn("forever", std::future::pending());
        child.spawn("forever", std::future::pending());
        child.child().spawn("deep", std::future::pending());
        assert_eq!((tasks.count(), child.count()), (3, 2));
        assert_eq!(tasks.names(), [("deep", 1), ("forever", 2)]);
        tasks.close().await;
        assert_eq!((tasks.count(), child.count()), (0, 0));
        assert!(tasks.names().is_empty());
    }

    #[tokio::test]
    async fn closing_a_child_leaves_the_rest_running() {
        let tasks = Tasks::new();
        let child = tasks.child();
        tasks.spawn("stays", std::future::pending());
        child.spawn("goes", std::future::pending());
        child.close().await;
        assert_eq!(tasks.names(), [("stays", 1)]);
        tasks.close().await;
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task_and_is_taken_off_the_register() {
        let tasks = Tasks::new();
        tasks.spawn("unlucky", async { panic!("as intended by this test") });
        tasks.spawn("lucky", std::future::pending());
        while tasks.count() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks.names(), [("lucky", 1)]);
        tasks.close().await;
    }

    #[tokio::test]
    async fn a_task_to_the_end_is_told_but_not_dropped() {
        let tasks = Tasks::new();
        let done = Arc::new(AtomicBool::new(false));
        let (token, flag) = (tasks.cancellation(), Arc::clone(&done));
        tasks.spawn_to_end("last words", async move {
            token.cancelled().await;
            tokio::task::yield_now().await;
            flag.store(true, Ordering::SeqCst);
        });
        tasks.close().await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn dropping_the_guard_of_a_scope_ends_its_tasks() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn("owned", std::future::pending());
        drop(child.close_on_drop());
        tasks.close().await;
        assert_eq!(child.count(), 0);
    }

    #[tokio::test]
    async fn a_task_spawned_into_a_closed_scope_ends_at_once() {
        let tasks = Tasks::new();
        tasks.close().await;
        tasks.spawn("late", std::future::pending());
        tasks.close().await;
        assert_eq!(tasks.count(), 0);
    }

    #[tokio::test]
    async fn panic_words_of_both_shapes_are_found() {
        assert_eq!(panic_words(&"text"), "text");
        assert_eq!(panic_words(&"owned".to_owned()), "owned");
        assert_eq!(panic_words(&5_u8), "no words");
    }

    #[tokio::test]
    async fn the_drain_waits_for_the_requests_under_way() {
        let drain = Drain::new();
        let guard = drain.guard();
        assert!(!drain.is_draining());
        drain.start();
        drain.wait().await;
        assert!(drain.is_draining());
        assert_eq!(drain.under_way(), 1);
        let mut finished = std::pin::pin!(drain.finished());
        assert!(futures::poll!(finished.as_mut()).is_pending());
        drop(guard);
        finished.await;
    }

    #[tokio::test]
    async fn an_idle_process_is_not_finished_before_the_drain_starts() {
        let drain = Drain::new();
        let mut finished = std::pin::pin!(drain.finished());
        assert!(futures::poll!(finished.as_mut()).is_pending());
        drain.start();
        drain.start();
        finished.await;
    }
}
