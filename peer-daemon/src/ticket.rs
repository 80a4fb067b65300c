//! Tickets: what a Batch reply hands to a client instead of the origin's own address.
//!
//! A ticket names one object, one upstream and the original address with its headers; it is sealed, so that only
//! daemons holding the key read it, and bound to its oid and tenant by the seal's context. It is a bearer token: it
//! travels in a header, never in an address, and is never logged. It ends when the origin's own grant ends.

use bytes::Bytes;
use darner_chassis::seal::{SealError, Sealer};
use darner_lfs::Oid;
use darner_proto::{headers, v1};
use serde::{Deserialize, Serialize};

/// Life of a ticket whose origin does not say when its grant ends, milliseconds. Long, because each object of a Batch
/// waits for those before it; what it opens is still proved where the upstream is new.
pub const UNSAID_LIFE_MS: u64 = 60 * 60 * 1000;

/// What a ticket says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The object.
    pub oid: Oid,
    /// Its length.
    pub size: u64,
    /// The upstream whose Batch granted it.
    pub upstream: String,
    /// The original address.
    pub href: String,
    /// The original headers.
    pub headers: Vec<(String, String)>,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// Trace of the Batch.
    pub trace: Option<String>,
}

/// Why a ticket opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// There is none.
    #[error("a ticket is needed: fetch this object through git-lfs, whose Batch gives one")]
    Missing,
    /// Changed, moved to another object or tenant, or sealed elsewhere.
    #[error("the ticket is not one of this daemon's, or not for this object")]
    Damaged,
    /// Its time is over.
    #[error("the ticket has expired: a new Batch gives a new one")]
    Expired,
}

/// Makes and reads tickets.
#[derive(Clone)]
pub struct Tickets {
    sealer: Sealer,
    tenant: String,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ticket {
    /// Leaves out the address and the headers: they are credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("oid", &self.oid).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Tickets of one tenant under the keys of `sealer`.
    pub const fn new(sealer: Sealer, tenant: String) -> Self {
        Self { sealer, tenant }
    }

    /// The value of the `Authorization` header a client is to send.
    pub fn header(&self, ticket: &Ticket) -> Result<String, SealError> {
        let plain = serde_json::to_vec(ticket).map_err(|_impossible| SealError::Malformed)?;
        let sealed = self.sealer.seal(&plain, &self.context(&ticket.oid))?;
        Ok(format!("{} {sealed}", headers::TICKET_SCHEME))
    }

    /// Reads an `Authorization` header shown for an object.
    pub fn read(&self, header: Option<&str>, oid: &Oid, now_ms: u64) -> Result<Ticket, TicketError> {
        let (scheme, sealed) =
            header.and_then(|header| header.split_once(' ')).ok_or(TicketError::Missing)?;
        if !scheme.eq_ignore_ascii_case(headers::TICKET_SCHEME) {
            return Err(TicketError::Missing);
        }
        let plain = self.sealer.open(sealed.trim(), &self.context(oid)).ok().ok_or(TicketError::Damaged)?;
        let ticket: Ticket = serde_json::from_slice(&plain).ok().ok_or(TicketError::Damaged)?;
        if ticket.oid != *oid {
            return Err(TicketError::Damaged);
        }
        if ticket.expires_ms < now_ms {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }

    fn context(&self, oid: &Oid) -> Vec<u8> {
        format!("darner ticket 1\n{}\n{oid}", self.tenant).into_bytes()
    }
}

impl Ticket {
    /// The credential behind it.
    pub fn credential(&self) -> v1::Credential {
        let header = |(name, value): &(String, String)| v1::Header {
            name: name.clone(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        v1::Credential {
            url: self.href.clone(),
            headers: self.headers.iter().map(header).collect(),
            upstream: self.upstream.clone(),
            expires_ms: self.expires_ms,
            granted_by_batch: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn tickets(tenant: &str) -> (Tickets, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let sealer = Sealer::open_or_generate(&directory.path().join("keys")).unwrap();
        (Tickets::new(sealer, tenant.to_owned()), directory)
    }

    fn ticket() -> Ticket {
        Ticket {
            oid: Oid::EMPTY,
            size: 5,
            upstream: "https://h/o/r".to_owned(),
            href: "https://cdn/canary?sig=canary".to_owned(),
            headers: vec![("Authorization".to_owned(), "Basic canary".to_owned())],
            expires_ms: NOW_MS + 10,
            trace: None,
        }
    }

    #[test]
    fn a_ticket_is_read_back_and_shows_nothing() {
        let (tickets, _keys) = tickets("t");
        let header = tickets.header(&ticket()).unwrap();
        assert!(header.starts_with("Darner ") && !header.contains("canary"));
        assert_eq!(tickets.read(Some(&header), &Oid::EMPTY, NOW_MS).unwrap(), ticket());
        assert!(!format!("{:?} {tickets:?}", ticket()).contains("canary"));
    }

    #[test]
    fn a_ticket_moved_to_another_object_or_tenant_opens_nothing() {
        let (tickets, _keys) = tickets("t");
        let header = tickets.header(&ticket()).unwrap();
        let other = Oid::from_bytes([7; 32]);
        assert_eq!(tickets.read(Some(&header), &other, NOW_MS), Err(TicketError::Damaged));
        let neighbour = Tickets::new(tickets.sealer, "u".to_owned());
        assert_eq!(neighbour.read(Some(&header), &Oid::EMPTY, NOW_MS), Err(TicketError::Damaged));
    }

    #[test]
    fn a_ticket_damaged_anywhere_opens_nothing() {
        let (tickets, _keys) = tickets("t");
        let header = tickets.header(&ticket()).unwrap();
        for at in (7..header.len()).step_by(11) {
            let mut bytes = header.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(tickets.read(Some(&changed), &Oid::EMPTY, NOW_MS), Err(TicketError::Damaged), "{at}");
        }
    }

    #[test]
    fn time_and_absence_are_told_apart() {
        let (tickets, _keys) = tickets("t");
        let header = tickets.header(&ticket()).unwrap();
        assert_eq!(tickets.read(Some(&header), &Oid::EMPTY, NOW_MS + 11), Err(TicketError::Expired));
        for absent in [None, Some(""), Some("Basic abc"), Some("Darner")] {
            assert_eq!(tickets.read(absent, &Oid::EMPTY, NOW_MS), Err(TicketError::Missing), "{absent:?}");
        }
    }
}
