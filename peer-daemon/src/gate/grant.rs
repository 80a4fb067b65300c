//! Turns what an origin granted into what the client gets: our own address and a ticket for each object.
//!
//! Pure: an answer and what is known of the request in, tickets out. What is not rewritten stays exactly as it came.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use darner_lfs::Oid;
use darner_lfs::batch::{Action, Answer, Answered};
use darner_origin::expiry_ms;

use crate::route::carries_authorisation;
use crate::ticket::{Ticket, Tickets, UNSAID_LIFE_MS};

/// What is known of the Batch.
pub(super) struct Granting<'a> {
    /// The endpoint as the client named it.
    pub(super) endpoint: &'a str,
    /// Its upstream.
    pub(super) upstream: &'a str,
    /// `<scheme>://<host>` of this daemon, as the client reached it.
    pub(super) base: &'a str,
    /// The client's own credential for the endpoint.
    pub(super) authorization: Option<&'a str>,
    /// What the client asked for.
    pub(super) asked: &'a HashMap<Oid, u64>,
    /// Trace of the Batch.
    pub(super) trace: Option<String>,
    pub(super) now_ms: u64,
}

impl Granting<'_> {
    /// Rewrites every download that `serves` (by its address); the tickets that were handed out.
    pub(super) fn rewrite(
        &self,
        answer: &mut Answer,
        tickets: &Tickets,
        serves: impl Fn(&str) -> bool,
    ) -> Vec<Ticket> {
        if !answer.is_basic() {
            return Vec::new();
        }
        let objects = answer.objects.iter_mut().filter(|object| object.error.is_none());
        objects.filter_map(|object| self.object(object, tickets, &serves)).collect()
    }

    fn object(
        &self,
        object: &mut Answered,
        tickets: &Tickets,
        serves: impl Fn(&str) -> bool,
    ) -> Option<Ticket> {
        let oid: Oid = object.oid.parse().ok()?;
        let asked = *self.asked.get(&oid)?;
        let authenticated = object.authenticated == Some(true);
        let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(asked);
        let action = object.action_mut("download")?;
        if size == 0 || !serves(&action.href) {
            return None;
        }
        let ticket = self.ticket(oid, size, action, authenticated);
        let header = tickets
            .header(&ticket)
            .inspect_err(|error| tracing::error!(%error, "no ticket can be sealed"))
            .ok()?;
        if action.expires_in.is_none() && action.expires_at.is_none() {
            let left_s = ticket.expires_ms.saturating_sub(self.now_ms) / 1000;
            action.expires_in = i64::try_from(left_s).ok();
        }
        action.href = format!("{}/-/objects/{}", self.base, oid.path());
        action.header = Some(BTreeMap::from([("Authorization".to_owned(), header)]));
        object.authenticated = Some(true);
        Some(ticket)
    }

    fn ticket(&self, oid: Oid, size: u64, action: &Action, authenticated: bool) -> Ticket {
        let mut headers: Vec<(String, String)> =
            action.header.clone().unwrap_or_default().into_iter().collect();
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        // A server that expects the client's own credential on its own host: the client would have sent it.
        if !named
            && !authenticated
            && !carries_authorisation(&action.href)
            && same_site(&action.href, self.endpoint)
            && let Some(own) = self.authorization
        {
            headers.push(("Authorization".to_owned(), own.to_owned()));
        }
        let upstream = self.upstream.to_owned();
        let expires_ms = self.expires_ms(action, &headers);
        Ticket {
            oid,
            size,
            upstream,
            href: action.href.clone(),
            headers,
            expires_ms,
            trace: self.trace.clone(),
        }
    }

    fn expires_ms(&self, action: &Action, headers: &[(String, String)]) -> u64 {
        let after =
            action.expires_in.filter(|seconds| *seconds > 0).and_then(|seconds| u64::try_from(seconds).ok());
        let at = action.expires_at.as_deref().and_then(rfc3339_ms);
        let headers: Vec<(String, Bytes)> = headers
            .iter()
            .map(|(name, value)| (name.clone(), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        after
            .map(|seconds| self.now_ms.saturating_add(seconds.saturating_mul(1000)))
            .or(at)
            .or_else(|| expiry_ms(&action.href, &headers, self.now_ms))
            .unwrap_or_else(|| self.now_ms.saturating_add(UNSAID_LIFE_MS))
    }
}

/// Milliseconds since the Unix epoch; the zero time that Go servers write for "never" is nothing.
fn rfc3339_ms(text: &str) -> Option<u64> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_millisecond()).ok().filter(|ms| *ms > 0)
}

fn same_site(one: &str, other: &str) -> bool {
    match (url::Url::parse(one), url::Url::parse(other)) {
        (Ok(one), Ok(other)) => one.origin() == other.origin(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
