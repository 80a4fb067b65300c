//! Proof at the seed: does this credential read what is here?
//!
//! Owns: the one probe through the very credential and what its answer means. Never: an answer for another credential. An
//! upstream that granted the object itself and stands in the object's provenance needs no probe.

use std::sync::Arc;

use darner_chassis::clock::Random;
use darner_origin::{Origin, OriginError};
use darner_proto::v1;

use crate::credential::Presented;
use crate::window::{Held, draw, is_equal};

/// Where the window lies when an origin without ranges has to be read up to it.
const LOW_BYTES: u64 = 256 * 1024;

/// What a probe showed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    /// The credential reads the bytes that are here.
    Equal,
    /// It reads something else.
    Different,
    /// The origin did not let it read.
    Refused(v1::Refusal),
    /// Nothing is here to compare with.
    Nothing,
}

/// Asks origins.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    pub(crate) origin: Origin,
    pub(crate) random: Arc<dyn Random>,
}

impl Prover {
    /// Reads one window of the first `limit` bytes through the credential and compares it with what is here.
    pub(crate) async fn probe(&self, held: &Held, limit: u64, presented: &Presented) -> Shown {
        let unranged = self.origin.ranges(&presented.url) == Some(false);
        let first = if unranged { limit.min(LOW_BYTES) } else { limit };
        match self.ask(held, first, presented).await {
            // Asked too far into an origin that knows no ranges: it is known now.
            Err(OriginError::Unranged) if held.start() > 0 => Shown::Nothing,
            Err(OriginError::Unranged) => settle(self.ask(held, limit.min(LOW_BYTES), presented).await),
            answered => settle(answered),
        }
    }

    async fn ask(&self, held: &Held, limit: u64, presented: &Presented) -> Result<Shown, OriginError> {
        let Some(sample) = draw(held, limit, self.random.as_ref()).await else { return Ok(Shown::Nothing) };
        let length = u32::try_from(sample.content.len()).unwrap_or(u32::MAX);
        let shown = self.origin.probe(&presented.url, &presented.headers, sample.offset, length).await?;
        let equal = is_equal(&sample, held.size(), &shown);
        Ok(if equal { Shown::Equal } else { Shown::Different })
    }
}

fn settle(answered: Result<Shown, OriginError>) -> Shown {
    match answered {
        Ok(shown) => shown,
        // The object ends before the window there: it is another one.
        Err(OriginError::Refused { status: 416, .. }) => Shown::Different,
        Err(error) => Shown::Refused(refusal(&error)),
    }
}

/// An origin's error as its own caller hears it.
pub(crate) fn refusal(error: &OriginError) -> v1::Refusal {
    let status = match error {
        OriginError::Unreachable { .. } | OriginError::Cut { .. } => 0,
        error => u32::from(error.status()),
    };
    v1::Refusal {
        status,
        message: error.to_string(),
        retry_after_s: error.retry_after_s().unwrap_or_default(),
    }
}

/// What a caller hears whose credential reads something else than the object.
pub(crate) fn different() -> v1::Refusal {
    let message = "the address does not serve this object".to_owned();
    v1::Refusal { status: 403, message, retry_after_s: 0 }
}

/// What a caller hears who waited as long as a client waits.
pub(crate) fn later(words: &str, retry_after_s: u32) -> v1::Refusal {
    v1::Refusal { status: 429, message: words.to_owned(), retry_after_s: retry_after_s.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_no_status_and_a_refusal_keeps_its_own() {
        let unreachable = OriginError::Unreachable { host: "h".to_owned(), words: "w".to_owned() };
        assert_eq!(refusal(&unreachable).status, 0);
        let refused = OriginError::Refused { status: 410, message: "canary".to_owned() };
        assert_eq!(refusal(&refused).status, 410);
        let busy = OriginError::Busy { host: "h".to_owned(), retry_after_s: 9 };
        assert_eq!((refusal(&busy).status, refusal(&busy).retry_after_s), (429, 9));
    }

    #[test]
    fn a_shorter_object_is_another_object() {
        let beyond = OriginError::Refused { status: 416, message: String::new() };
        assert_eq!(settle(Err(beyond)), Shown::Different);
    }
}
