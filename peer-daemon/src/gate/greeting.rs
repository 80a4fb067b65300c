//! git's greeting in mode B (`info/refs` without a credential): sent to the forge itself, unless the forge wants to
//! know who asks.
//!
//! libcurl gives a credential of the address (`https://user:token@...`) only in answer to a challenge, and drops it at
//! a redirect: after a 307 such a clone fails at the forge. So git, which can answer a challenge, is shown the forge's
//! own where there is one, and its exchange is then streamed. Every other client, and git at an open repository, is
//! sent on. An open repository is asked once in a while, not at every fetch.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use darner_chassis::metrics::Kind;
use darner_origin::{Body, provenance};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{Gate, relay};
use crate::reply;

/// A forge that takes longer to say whether it challenges is left to git itself.
const CHALLENGE_WITHIN: Duration = Duration::from_secs(5);
/// A repository that was open stays so for us, milliseconds.
const OPEN_MS: u64 = 10 * 60 * 1000;
/// Open repositories remembered.
const REMEMBERED: usize = 1024;

/// Repositories that let anybody in, and until when that is believed.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<HashMap<String, u64>>);

impl Open {
    fn holds(&self, repository: &str, now_ms: u64) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(repository).is_some_and(|until| now_ms < *until)
    }

    fn remember(&self, repository: String, now_ms: u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= REMEMBERED {
            open.retain(|_, until| *until > now_ms);
        }
        if open.len() < REMEMBERED {
            open.insert(repository, now_ms.saturating_add(OPEN_MS));
        }
    }
}

impl Gate {
    pub(super) async fn greeting(&self, url: &str, request: Request<Incoming>) -> Response<Body> {
        if let Some(challenge) = self.challenge(url, request).await {
            return challenge;
        }
        reply::elsewhere(url)
            .unwrap_or_else(|| reply::words(StatusCode::BAD_REQUEST, "the address makes no redirect"))
    }

    /// The forge's own challenge, for a client that can answer one.
    async fn challenge(&self, url: &str, request: Request<Incoming>) -> Option<Response<Body>> {
        let agent = request.headers().get(header::USER_AGENT)?.to_str().ok()?;
        let repository = provenance(url);
        if !agent.starts_with("git/") || self.inner.open.holds(&repository, self.clock.now_ms()) {
            return None;
        }
        let request = relay::readdressed(request.into_parts().0, reply::empty(), url)?;
        let asked = self.origin.exchange(request, Kind::Redirect);
        let answer = tokio::time::timeout(CHALLENGE_WITHIN, asked).await.ok()?.ok()?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Some(answer);
        }
        if answer.status().is_success() {
            self.inner.open.remember(repository, self.clock.now_ms());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_repository_is_believed_for_a_while_and_the_memory_is_bounded() {
        let open = Open::default();
        open.remember("https://h/o/r".to_owned(), 0);
        assert!(open.holds("https://h/o/r", OPEN_MS - 1) && !open.holds("https://h/o/r", OPEN_MS));
        assert!(!open.holds("https://h/o", 0));
        for n in 0..3000 {
            open.remember(format!("https://h/{n}"), 1);
        }
        assert!(open.0.lock().unwrap().len() <= REMEMBERED);
    }
}
