//! Small whole objects on their way in: those that come together are kept by one blocking thread, one after the other.
//!
//! Owns: the queue. Never: more than one thread for it; a thread per object would cost more than the object. Bounded: each
//! place belongs to a caller that waits, and a caller that goes leaves at most its one object. After a crash: nothing is
//! kept before its caller hears of it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use darner_lfs::Oid;
use tokio::sync::oneshot;

use super::room::Room;
use crate::error::StoreError;
use crate::guard::lock;
use crate::stored::Stored;

type Kept = Result<Stored, StoreError>;

/// One object and who waits for it.
#[derive(Debug)]
struct Put {
    oid: Oid,
    content: Bytes,
    upstream: Option<String>,
    done: oneshot::Sender<Kept>,
}

/// Who waits.
#[derive(Debug, Default)]
pub(crate) struct Puts {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Put>,
    served: bool,
}

impl Puts {
    /// Lines up; true for who has to see that the queue is served.
    fn push(&self, put: Put) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(put);
        !std::mem::replace(&mut queue.served, true)
    }

    /// The next one; without one the thread that asks is done.
    fn pop(&self) -> Option<Put> {
        let mut queue = lock(&self.queue);
        let put = queue.waiting.pop_front();
        queue.served = put.is_some();
        put
    }
}

/// Serves the queue; should it end in a panic, the next caller starts anew and those who wait hear of it.
struct Serving<'a>(&'a Room);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.puts.queue);
        if queue.served && std::thread::panicking() {
            queue.served = false;
            queue.waiting.clear();
        }
    }
}

impl Room {
    /// Keeps a small whole object among those that come now.
    pub(super) async fn put_soon(self: &Arc<Self>, oid: Oid, content: Bytes, upstream: Option<&str>) -> Kept {
        let (done, kept) = oneshot::channel();
        if self.puts.push(Put { oid, content, upstream: upstream.map(str::to_owned), done }) {
            let room = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || room.serve_puts()));
        }
        let lost = |error| StoreError::Io { doing: "keeping an object", source: io::Error::other(error) };
        kept.await.unwrap_or_else(|error| Err(lost(error)))
    }

    fn serve_puts(self: &Arc<Self>) {
        let _serving = Serving(self);
        while let Some(Put { oid, content, upstream, done }) = self.puts.pop() {
            // Who does not wait any more has the object none the less.
            drop(done.send(self.put(oid, &content, upstream.as_deref())));
        }
    }
}
