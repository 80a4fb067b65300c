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
    /// This scope's tracker and those of all scopes around it.
    lineage: Vec<TaskTracker>,
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
            lineage: vec![TaskTracker::new()],
            register: Arc::new(Register::default()),
        }
    }

    /// A scope inside this one: ends when this one ends, or earlier by its own [`Tasks::close`].
    #[must_use]
    pub fn child(&self) -> Self {
        let mut lineage = self.lineage.clone();
        lineage.push(TaskTracker::new());
        Self { token: self.token.child_token(), lineage, register: Arc::clone(&self.register) }
    }

    /// Runs a task until it ends or its scope closes. A panic is logged with the task's name and ends only this task.
    /// Needs a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
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
        let around: Vec<TaskTrackerToken> = self.lineage.iter().map(TaskTracker::token).collect();
        let task = async move {
            let held = (entry, around);
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(task = name, panic = panic_words(panic.as_ref()), "task panicked");
            }
            drop(held);
        };
        if let Some(own) = self.lineage.last() {
            own.spawn(task);
        }
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
        if let Some(own) = self.lineage.last() {
            own.close();
            own.wait().await;
        }
    }

    /// How many tasks of this scope and its children are alive.
    pub fn count(&self) -> usize {
        // Each task holds one token of its own scope beside the one `spawn` took for it.
        let alive = self.register.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = alive.values().sum();
        drop(alive);
        if self.lineage.len() == 1 { all } else { self.lineage.last().map_or(0, |own| own.len().div_ceil(2)) }
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
