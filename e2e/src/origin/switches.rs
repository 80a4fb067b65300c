//! How the origin misbehaves, per object or altogether. A switch is data, so a shell script can set it through the
//! control port; a switch with `times` wears out, which is how "fails once, then works" is said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::shape::Bucket;

/// What happens to answers that carry an object (or a plain file).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "these are switches, each independent of the others")]
pub struct Switch {
    /// Ranges are ignored: 200 with everything.
    pub no_range: bool,
    /// No `Content-Length`: the length is known at the end only.
    pub chunked: bool,
    /// `Content-Encoding: gzip`, whatever was asked for.
    pub gzip: bool,
    /// A weak `ETag` instead of a strong one.
    pub weak_etag: bool,
    /// No validator at all.
    pub no_etag: bool,
    /// A 302 to this base (`""`: the same host, by another path), freshly signed there.
    pub redirect: Option<String>,
    /// This status instead of bytes.
    pub status: Option<u16>,
    /// `Retry-After` beside `status`, in seconds.
    pub retry_after: Option<u64>,
    /// Bytes a second, shared by every request the switch meets.
    pub bytes_per_second: Option<u64>,
    /// Wait before the answer's headers, in milliseconds.
    pub delay_ms: Option<u64>,
    /// The connection breaks when this offset of the object is reached.
    pub cut_at: Option<u64>,
    /// The byte at this offset of the object is flipped.
    pub corrupt_at: Option<u64>,
    /// `Connection: close` after the answer.
    pub close: bool,
    /// The switch wears out after this many requests; absent: never.
    pub times: Option<u64>,
    /// Only whole or long reads are met, probes (ranges of at most 4 KiB) are not.
    pub spare_probes: bool,
}

/// What happens to Batch answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchSwitch {
    /// This status instead of an answer.
    pub status: Option<u16>,
    /// `Retry-After` beside `status`, in seconds.
    pub retry_after: Option<u64>,
    /// `status` is given this many times; absent: always.
    pub times: Option<u64>,
    /// Seconds a signature lives.
    pub expires_s: u64,
    /// Hrefs carry their proof in an `Authorization` header (as GitLab's) instead of the query.
    pub header_hrefs: bool,
    /// Every object asked for is granted, whether this forge has it or not.
    pub grant_anything: bool,
}

impl Default for BatchSwitch {
    fn default() -> Self {
        Self {
            status: None,
            retry_after: None,
            times: None,
            expires_s: 900,
            header_hrefs: false,
            grant_anything: false,
        }
    }
}

/// A switch as one request meets it, with the bucket its speed is drawn from.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// What to do.
    pub switch: Switch,
    /// Where the bytes are drawn from, when the switch slows.
    pub bucket: Option<Arc<Bucket>>,
}

#[derive(Debug, Default)]
struct Board {
    every: Option<Met>,
    objects: BTreeMap<String, Met>,
    batch: BatchSwitch,
}

/// The living switches.
#[derive(Debug, Default)]
pub struct Switches(Mutex<Board>);

impl Switches {
    /// Sets the switch of one object (or file path), or of all when `object` is `None`.
    pub fn set(&self, object: Option<&str>, switch: Switch) {
        let bucket = switch.bytes_per_second.map(|rate| Arc::new(Bucket::new(rate)));
        let met = Met { switch, bucket };
        self.with(|board| match object {
            Some(object) => {
                board.objects.insert(object.to_owned(), met);
            }
            None => board.every = Some(met),
        });
    }

    /// Sets what happens to Batches.
    pub fn set_batch(&self, switch: BatchSwitch) {
        self.with(|board| board.batch = switch);
    }

    /// Behaves again, altogether.
    pub fn clear(&self) {
        self.with(|board| *board = Board::default());
    }

    /// What one data request meets: the object's own switch, else the one for all.
    pub fn meet(&self, object: &str, probe: bool) -> Met {
        self.with(|board| {
            let own = board.objects.get_mut(object).and_then(|met| take(met, probe));
            own.or_else(|| board.every.as_mut().and_then(|met| take(met, probe))).unwrap_or_default()
        })
    }

    /// What one Batch meets.
    pub fn meet_batch(&self) -> BatchSwitch {
        self.with(|board| {
            let met = board.batch.clone();
            if let Some(times) = board.batch.times.as_mut().filter(|_| met.status.is_some()) {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    board.batch = BatchSwitch { status: None, times: None, ..met.clone() };
                }
            }
            met
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Board) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The switch as it stands, worn by one use; `None` when it is worn out or does not meet this request.
fn take(met: &mut Met, probe: bool) -> Option<Met> {
    if probe && met.switch.spare_probes {
        return None;
    }
    if let Some(times) = met.switch.times.as_mut() {
        *times = times.checked_sub(1)?;
    }
    Some(met.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_of_one_object_leaves_the_others_alone() {
        let switches = Switches::default();
        switches.set(Some("a"), Switch { status: Some(404), ..Switch::default() });
        assert_eq!(switches.meet("a", false).switch.status, Some(404));
        assert_eq!(switches.meet("b", false).switch.status, None);
    }

    #[test]
    fn a_switch_with_times_wears_out() {
        let switches = Switches::default();
        switches.set(None, Switch { cut_at: Some(1), times: Some(2), ..Switch::default() });
        let met: Vec<_> = (0..3).map(|_| switches.meet("a", false).switch.cut_at).collect();
        assert_eq!(met, [Some(1), Some(1), None]);
    }

    #[test]
    fn probes_can_be_spared_and_do_not_wear_the_switch() {
        let switches = Switches::default();
        let switch = Switch { status: Some(500), times: Some(1), spare_probes: true, ..Switch::default() };
        switches.set(None, switch);
        assert_eq!(switches.meet("a", true).switch.status, None);
        assert_eq!(switches.meet("a", false).switch.status, Some(500));
    }

    #[test]
    fn a_batch_can_fail_once() {
        let switches = Switches::default();
        switches.set_batch(BatchSwitch { status: Some(503), times: Some(1), ..BatchSwitch::default() });
        assert_eq!(switches.meet_batch().status, Some(503));
        assert_eq!(switches.meet_batch().status, None);
        assert_eq!(switches.meet_batch().expires_s, 900);
    }
}
