//! The tables of the index and the number of their format.
//!
//! Owns: opening, reading and writing the database. Never: decides when. After a crash: the library restores the last
//! commit.

use std::path::Path;

use bytes::Bytes;
use darner_lfs::ObjectKey;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::committer::Write;
use super::entry::Entry;
use crate::error::StoreError;

/// The format written by this version.
pub(super) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const DIGESTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("digests");
const ATTESTATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attestations");

/// What was committed before.
pub(crate) type Records = Vec<(ObjectKey, Entry)>;

/// The open database.
#[derive(Debug)]
pub(super) struct Tables {
    database: Database,
}

/// Which bytes are kept beside a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beside {
    /// The piece digests, one after the other.
    Digests,
    /// The attestation.
    Attestation,
}

impl Tables {
    /// Opens or makes the index and reads every record. A damaged one is set aside: the objects are the truth.
    pub(super) fn open(path: &Path) -> Result<(Self, Records), StoreError> {
        match Self::open_sound(path) {
            Err(Trouble::Damaged(reason)) => {
                let aside = path.with_extension("redb.damaged");
                tracing::warn!(%reason, aside = %aside.display(), "the index is damaged; it is rebuilt from the objects");
                let index = |error: String| StoreError::Index { path: path.to_owned(), reason: error };
                std::fs::rename(path, &aside).map_err(|error| index(error.to_string()))?;
                Self::open_sound(path).map_err(|trouble| trouble.words(path))
            }
            other => other.map_err(|trouble| trouble.words(path)),
        }
    }

    /// The library asserts where a damaged page surprises it; here that is one more way to say damaged.
    fn open_sound(path: &Path) -> Result<(Self, Records), Trouble> {
        let open = || {
            let database = Database::builder().set_cache_size(32 << 20).create(path)?;
            let tables = Self { database };
            tables.check_format()?;
            let records = tables.all()?;
            Ok((tables, records))
        };
        std::panic::catch_unwind(open).unwrap_or_else(|_| Err(Trouble::Damaged("a damaged page".to_owned())))
    }

    fn check_format(&self) -> Result<(), Trouble> {
        let write = self.database.begin_write().map_err(redb::Error::from)?;
        {
            let mut meta = write.open_table(META).map_err(redb::Error::from)?;
            let found = meta.get("format").map_err(redb::Error::from)?.map(|found| found.value());
            match found {
                Some(found) if found > FORMAT => return Err(Trouble::Newer(found)),
                Some(_) => {}
                None => {
                    meta.insert("format", FORMAT).map_err(redb::Error::from)?;
                }
            }
            write.open_table(OBJECTS).map_err(redb::Error::from)?;
            write.open_table(DIGESTS).map_err(redb::Error::from)?;
            write.open_table(ATTESTATIONS).map_err(redb::Error::from)?;
        }
        write.commit().map_err(redb::Error::from)?;
        Ok(())
    }

    /// Every record that can be read.
    fn all(&self) -> Result<Records, redb::Error> {
        let read = self.database.begin_read()?;
        let objects = read.open_table(OBJECTS)?;
        let mut found = Vec::new();
        for line in objects.iter()? {
            let (key, value) = line?;
            let entry = serde_json::from_slice(value.value());
            if let (Ok(key), Ok(entry)) = (key.value().parse(), entry) {
                found.push((key, entry));
            }
        }
        Ok(found)
    }

    /// What is kept beside a record.
    pub(super) fn beside(&self, key: &ObjectKey, which: Beside) -> Result<Option<Bytes>, redb::Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(match which {
            Beside::Digests => DIGESTS,
            Beside::Attestation => ATTESTATIONS,
        })?;
        let found = table.get(key.to_string().as_str())?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// Commits a group durably.
    pub(super) fn commit<'a>(
        &self,
        writes: impl Iterator<Item = (&'a ObjectKey, &'a Write)>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut digests = transaction.open_table(DIGESTS)?;
            let mut attestations = transaction.open_table(ATTESTATIONS)?;
            for (key, write) in writes {
                let key = key.to_string();
                let key = key.as_str();
                let Some(entry) = &write.entry else {
                    objects.remove(key)?;
                    digests.remove(key)?;
                    attestations.remove(key)?;
                    continue;
                };
                let json = serde_json::to_vec(entry).map_err(|error| redb::Error::Io(error.into()))?;
                objects.insert(key, json.as_slice())?;
                if let Some(bytes) = &write.digests {
                    digests.insert(key, bytes.as_ref())?;
                }
                match &write.attestation {
                    Some(bytes) => drop(attestations.insert(key, bytes.as_ref())?),
                    None if write.anew => drop(attestations.remove(key)?),
                    None => {}
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Why the database did not open.
enum Trouble {
    Newer(u64),
    Damaged(String),
    Other(String),
}

impl Trouble {
    fn words(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Newer(found) => StoreError::NewerVersion { path, found, known: FORMAT },
            Self::Damaged(reason) | Self::Other(reason) => StoreError::Index { path, reason },
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            // A file whose head is not redb's is reported as invalid data.
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            redb::Error::RepairAborted | redb::Error::TableTypeMismatch { .. } => {
                Self::Damaged(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}
