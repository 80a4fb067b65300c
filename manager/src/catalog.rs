//! What the manager knows, in SQL.
//!
//! Owns: the database file, its schema, every statement, and the bound of every table. Never: HTTP, gRPC, or a rule
//! about who may do what. All values are bound, never pasted into a statement; texts that came from a node are cut to
//! a length first. After a crash: SQLite's write-ahead log keeps whole transactions; nodes come back as `away`.

mod configurations;
mod downloads;
mod holdings;
mod journal;
mod json;
mod nodes;
mod people;
mod tokens;
mod tombstones;
mod upstreams;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use configurations::Configuration;
pub use downloads::Download;
pub use holdings::{Holder, Object};
pub use journal::{AuditEntry, Change};
pub use json::JsonText;
pub use nodes::Node;
pub use people::{Role, Session, User};
pub use tokens::Token;
pub use tombstones::{Purge, Purged};
pub use upstreams::UpstreamsHeard;

/// Connections of the pool: SQLite has one writer; two more keep lists readable meanwhile.
const CONNECTIONS: u32 = 3;
/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(5);

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The configured database is of a kind this version does not speak.
    #[error("`database`: {0}")]
    Unsupported(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database has a schema this build cannot bring up to date (a newer one, or a damaged one).
    #[error("database schema: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A table is full.
    #[error("no room for another {0}")]
    Full(&'static str),
}

/// A handle of the database; clones share its pool.
#[derive(Debug, Clone)]
pub struct Catalog {
    pool: SqlitePool,
}

impl Catalog {
    /// Open (or make) the database and bring its schema up to date.
    pub async fn open(file: &Path) -> Result<Self, CatalogError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .statement_cache_capacity(32)
            // 512 KiB per connection instead of 2 MiB: the operating system caches the file anyway.
            .pragma("cache_size", "-512");
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
        sqlx::migrate!().run(&pool).await?;
        let catalog = Self { pool };
        catalog.all_away().await?;
        Ok(catalog)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Forget what has had its time: nodes long away, ended sessions, old configurations.
    pub async fn tidy(&self, now_ms: i64) -> Result<(), CatalogError> {
        self.tidy_nodes(now_ms).await?;
        self.tidy_sessions(now_ms).await?;
        self.tidy_configurations().await
    }

    /// Write everything back into the one file and close it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The file that `database` names; other databases come later and are refused in words.
pub fn file_of(database: Option<&str>, data: &Path) -> Result<PathBuf, CatalogError> {
    let Some(named) = database else { return Ok(data.join("manager.db")) };
    if let Some(path) = named.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(CatalogError::Unsupported(
                "sqlite: needs a path, as sqlite:///var/lib/manager.db".to_owned(),
            ));
        }
        return Ok(PathBuf::from(path));
    }
    match named.split_once("://") {
        Some((scheme, _credentials)) => Err(CatalogError::Unsupported(format!(
            "{scheme}:// comes later; this version keeps its records in SQLite (a path, or sqlite://PATH)"
        ))),
        None => Ok(PathBuf::from(named)),
    }
}

/// A number of the wire as SQL keeps it.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of SQL as the wire has it.
pub(crate) fn wire(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A text of somebody else, cut to a length that a row can bear.
pub(crate) fn short(text: &str) -> String {
    const LONGEST: usize = 512;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A catalog in a directory of its own.
    pub(crate) async fn catalog() -> (tempfile::TempDir, Catalog) {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("manager.db")).await.unwrap();
        (dir, catalog)
    }

    #[tokio::test]
    async fn a_database_opens_again_with_what_it_held() {
        let (dir, first) = catalog().await;
        first.add_tombstone(&Purged::Upstream("https://h/o".to_owned()), "admin", 7).await.unwrap();
        first.close().await;
        let second = Catalog::open(&dir.path().join("manager.db")).await.unwrap();
        assert_eq!(second.last_tombstone().await.unwrap(), 7);
        second.ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_schema_of_a_newer_version_is_refused() {
        let (dir, first) = catalog().await;
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)")
            .execute(&first.pool)
            .await
            .unwrap();
        first.close().await;
        let error = Catalog::open(&dir.path().join("manager.db")).await.unwrap_err();
        assert!(matches!(error, CatalogError::Schema(_)), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("manager.db");
        std::fs::write(&file, "not a database, but long enough to be taken for a page of one").unwrap();
        assert!(Catalog::open(&file).await.is_err());
    }

    #[test]
    fn the_default_database_is_in_the_data_directory() {
        assert_eq!(file_of(None, Path::new("/d")).unwrap(), Path::new("/d/manager.db"));
    }

    #[test]
    fn sqlite_is_named_in_three_ways() {
        for named in ["/x/m.db", "sqlite:///x/m.db", "sqlite:/x/m.db"] {
            assert_eq!(file_of(Some(named), Path::new("/d")).unwrap(), Path::new("/x/m.db"));
        }
        assert!(file_of(Some("sqlite://"), Path::new("/d")).is_err());
    }

    #[test]
    fn other_databases_are_refused_in_words_without_their_password() {
        let words = file_of(Some("postgres://u:secret@h/db"), Path::new("/d")).unwrap_err().to_string();
        assert!(words.contains("`database`") && words.contains("postgres:// comes later"), "{words}");
        assert!(!words.contains("secret"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(short(&"é".repeat(600)).chars().count(), 512);
        assert_eq!(short("as it is"), "as it is");
    }

    #[test]
    fn numbers_beyond_sql_are_held_at_its_edge() {
        assert_eq!((stored(u64::MAX), wire(-1), wire(stored(7))), (i64::MAX, 0, 7));
    }
}
