//! Opening a data directory.
//!
//! Owns: bringing the index, the trees and the partials back in step. Never: reads content (that is done lazily, or by
//! the adoption thread). After a crash, each leftover has one meaning:
//!
//! | found | done |
//! |---|---|
//! | record and file of its size | held; its pieces are checked at their first read |
//! | record and file of another size | held until its first use, which quarantines it |
//! | record without a file | dropped |
//! | file without a record | held as pending: hashed, then adopted or removed |
//! | partial and journal | resumed; its pieces are checked at their first read |
//! | journal whose file is in the tree without a record | tells the adoption where the object came from |
//! | a partial without a journal, a journal without a file, scrap | removed |
//! | any other name | left alone |

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, Weak};

use darner_lfs::ObjectKey;
use tokio::sync::broadcast;

use super::putting::Puts;
use super::room::Room;
use crate::config::StoreConfig;
use crate::disk::lock::LockFile;
use crate::disk::places::{Found, Places, remove_quietly};
use crate::disk::read::Reader;
use crate::error::StoreError;
use crate::index::{Entry, Index, Write};
use crate::journal::{Journal, Keep};
use crate::ledger::Charge;
use crate::partial::growing::Growing;
use crate::partial::growth::Growth;
use crate::shelves::{Finished, Held, Pending, Shelves, What};

/// Changes a listener may fall behind before it has to read the inventory again.
const CHANGES_KEPT: usize = 4096;

/// What lies in the directory of partials.
#[derive(Debug, Default)]
struct Unfinished {
    bodies: HashSet<ObjectKey>,
    journals: HashSet<ObjectKey>,
}

impl Room {
    /// Opens a directory. Blocks.
    pub(super) fn open(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        let places = Places::new(&config.root);
        places.prepare().map_err(|(path, source)| StoreError::Unusable { path, source })?;
        let lock = LockFile::take(&places.lock(), places.root())?;
        let (index, records) = Index::open(&places.index())?;
        let mut shelves = Shelves::new(Charge { bytes: u64::MAX, inodes: u64::MAX });
        let unreadable = |source| StoreError::Unusable { path: places.root().to_owned(), source };
        let unfinished = unfinished(&places).map_err(unreadable)?;
        let finished: HashMap<ObjectKey, u64> = places.finished().map_err(unreadable)?.into_iter().collect();
        let recorded = hold_recorded(&mut shelves, records, &finished, &index);
        hold_pending(&mut shelves, &places, &finished, &recorded, &unfinished);
        hold_partials(&mut shelves, &places, &unfinished);
        let limits = Self::default_limits(&places, shelves.ledger.taken());
        let own = Charge {
            bytes: config.budget_bytes.unwrap_or(limits.bytes),
            inodes: config.budget_inodes.unwrap_or(limits.inodes),
        };
        shelves.ledger.set_limits(own);
        let room = Arc::new(Self {
            places,
            reader: Reader::new(),
            shelves: Mutex::new(shelves),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            now: config.now,
            floor_bytes: config.free_floor_bytes,
            own,
            puts: Puts::default(),
            index,
            _lock: lock,
        });
        room.settle();
        room.adopt_in_background()
            .map_err(|source| StoreError::Io { doing: "starting the adoption thread", source })?;
        Ok(room)
    }
}

/// Holds every record whose file is here, the least recently used first; the others are dropped.
fn hold_recorded(
    shelves: &mut Shelves,
    mut records: Vec<(ObjectKey, Entry)>,
    finished: &HashMap<ObjectKey, u64>,
    index: &Index,
) -> HashSet<ObjectKey> {
    records.sort_by_key(|(_, entry)| entry.used_ms);
    let mut recorded = HashSet::new();
    for (key, entry) in records {
        let Some(size) = finished.get(&key).filter(|_| entry.cut().is_some()) else {
            index.note(key, Write::default());
            continue;
        };
        recorded.insert(key);
        let charge = Charge::of_object(*size);
        let (keep, used_ms) = (entry.keep, entry.used_ms);
        shelves.ledger.take(charge);
        let what =
            What::Finished(Finished { entry, checked: Arc::default(), open: Weak::new(), resident: None });
        shelves.insert(key, Held::new(what, keep, charge, used_ms));
    }
    recorded
}

/// Holds every file without a record until it is hashed.
fn hold_pending(
    shelves: &mut Shelves,
    places: &Places,
    finished: &HashMap<ObjectKey, u64>,
    recorded: &HashSet<ObjectKey>,
    unfinished: &Unfinished,
) {
    for (key, size) in finished.iter().filter(|(key, _)| !recorded.contains(*key)) {
        let hinted = unfinished.journals.contains(key).then(|| places.journal(key));
        let lines = hinted.and_then(|path| Journal::resume(&path).ok()).map(|(_, lines)| lines);
        let pending =
            Pending { size: *size, hints: Arc::new(lines.unwrap_or_default()), turnstile: Arc::default() };
        let charge = Charge::of_object(*size);
        shelves.ledger.take(charge);
        shelves.insert(*key, Held::new(What::Pending(pending), Keep::default(), charge, 0));
    }
}

/// Resumes the partials that make sense and removes the rest.
fn hold_partials(shelves: &mut Shelves, places: &Places, unfinished: &Unfinished) {
    for key in unfinished.bodies.union(&unfinished.journals) {
        let (body, journal) = (unfinished.bodies.contains(key), unfinished.journals.contains(key));
        if matches!(shelves.get(key).map(|held| &held.what), Some(What::Pending(_))) {
            // The journal stays until the object it tells of is adopted.
            remove_quietly(&places.partial(key));
            continue;
        }
        let resumable = body && journal && shelves.get(key).is_none();
        let resumed = if resumable { Growing::resume(places, *key) } else { Ok(None) };
        match resumed {
            Ok(Some((growing, keep))) => {
                let charge = charge_of(&growing);
                shelves.ledger.take(charge);
                shelves.insert(*key, Held::new(What::Partial(Arc::new(growing)), keep, charge, 0));
            }
            other => {
                if let Err(error) = other {
                    tracing::warn!(%error, %key, "a partial cannot be resumed");
                }
                remove_quietly(&places.partial(key));
                remove_quietly(&places.journal(key));
            }
        }
    }
}

fn charge_of(growing: &Growing) -> Charge {
    let (layout, next) = growing.look(|growth: &Growth| {
        let last = growth.whole().iter().last().map_or(0, |piece| piece + 1);
        (growth.layout(), growth.layout().piece_start(last))
    });
    let size = layout.size().unwrap_or_else(|| next.max(u64::from(layout.piece_bytes())));
    Charge::of_partial(size, layout.piece_bytes())
}

fn unfinished(places: &Places) -> io::Result<Unfinished> {
    let mut unfinished = Unfinished::default();
    for (found, path) in places.unfinished()? {
        match found {
            Found::Body(key) => drop(unfinished.bodies.insert(key)),
            Found::Journal(key) => drop(unfinished.journals.insert(key)),
            Found::Scrap => remove_quietly(&path),
            Found::Foreign => {
                tracing::warn!(path = %path.display(), "a foreign file in the directory of partials");
            }
        }
    }
    Ok(unfinished)
}
