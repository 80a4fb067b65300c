//! Purges, numbered, for nodes that are here and nodes that will come back.
//!
//! Owns: the table `tombstones`; the newest [`MOST_TOMBSTONES`] are kept. Numbers never go back, not even over a
//! lost database: each is at least the time of its making in milliseconds, so a node that honoured number N of the
//! former database still hears of everything purged since.

use darner_lfs::ObjectKey;
use darner_proto::v1;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, wire};

/// Tombstones kept; a node away for longer than these last keeps what only older ones named.
const MOST_TOMBSTONES: i64 = 100_000;

/// What is purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purged {
    /// One object, everywhere.
    Object(ObjectKey),
    /// Every object whose provenance holds this upstream prefix.
    Upstream(String),
}

impl Purged {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Self::Object(key) => ("object", key.to_string()),
            Self::Upstream(prefix) => ("upstream", prefix.clone()),
        }
    }
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Purge {
    /// Its number; a node that has honoured it says so in its `tombstoneSequence`.
    pub sequence: i64,
    /// `object` or `upstream`.
    pub kind: String,
    /// The object's name or the upstream prefix.
    pub target: String,
    /// Who asked for it.
    pub author: String,
    /// When.
    pub purged_ms: i64,
}

impl Purge {
    /// As the nodes are told; nothing when the row is damaged.
    pub fn tombstone(&self) -> Option<v1::Tombstone> {
        let what = match self.kind.as_str() {
            "object" => v1::tombstone::What::Key(self.target.parse::<ObjectKey>().ok()?.into()),
            "upstream" => v1::tombstone::What::Upstream(self.target.clone()),
            _ => return None,
        };
        Some(v1::Tombstone {
            sequence: wire(self.sequence),
            what: Some(what),
            purged_ms: wire(self.purged_ms),
        })
    }
}

impl Catalog {
    /// Write a purge down.
    pub async fn add_tombstone(
        &self,
        purged: &Purged,
        author: &str,
        now_ms: i64,
    ) -> Result<Purge, CatalogError> {
        let (kind, target) = purged.columns();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let added: Purge = sqlx::query_as(
            "INSERT INTO tombstones (sequence, kind, target, author, purged_ms)
             SELECT max($4, coalesce((SELECT max(sequence) FROM tombstones), 0) + 1), $1, $2, $3, $4 RETURNING *",
        )
        .bind(kind)
        .bind(target)
        .bind(author)
        .bind(now_ms)
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query(
            "DELETE FROM tombstones WHERE sequence <=
                 (SELECT sequence FROM tombstones ORDER BY sequence DESC LIMIT 1 OFFSET $1)",
        )
        .bind(MOST_TOMBSTONES)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(added)
    }

    /// The number of the last purge; 0 before the first.
    pub async fn last_tombstone(&self) -> Result<i64, CatalogError> {
        let last = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM tombstones");
        Ok(last.fetch_one(&self.pool).await?)
    }

    /// Purges after number `after`, oldest first: what a node has not heard of yet.
    pub async fn tombstones_after(&self, after: i64, limit: i64) -> Result<Vec<Purge>, CatalogError> {
        let listed =
            sqlx::query_as("SELECT * FROM tombstones WHERE sequence > $1 ORDER BY sequence LIMIT $2");
        Ok(listed.bind(after).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Purges before number `before`, newest first: for people.
    pub async fn purges(&self, before: i64, limit: i64) -> Result<Vec<Purge>, CatalogError> {
        let listed =
            sqlx::query_as("SELECT * FROM tombstones WHERE sequence < $1 ORDER BY sequence DESC LIMIT $2");
        Ok(listed.bind(before).bind(limit).fetch_all(&self.pool).await?)
    }
}

#[cfg(test)]
mod tests {
    use darner_lfs::Oid;

    use super::*;
    use crate::catalog::tests::catalog;

    #[tokio::test]
    async fn numbers_grow_also_when_the_clock_goes_back() {
        let (_dir, catalog) = catalog().await;
        let mut numbers = Vec::new();
        for now_ms in [100, 100, 50] {
            let purged = Purged::Object(ObjectKey::Sha256(Oid::EMPTY));
            numbers.push(catalog.add_tombstone(&purged, "admin", now_ms).await.unwrap().sequence);
        }
        assert_eq!(numbers, [100, 101, 102]);
        assert_eq!(catalog.last_tombstone().await.unwrap(), 102);
        assert_eq!(catalog.tombstones_after(100, 9).await.unwrap().len(), 2);
        assert_eq!(catalog.purges(102, 1).await.unwrap()[0].sequence, 101);
    }

    #[tokio::test]
    async fn a_row_becomes_what_the_nodes_are_told() {
        let (_dir, catalog) = catalog().await;
        let prefix = "https://h/'; DELETE FROM tombstones; --".to_owned();
        let row = catalog.add_tombstone(&Purged::Upstream(prefix.clone()), "admin", 9).await.unwrap();
        assert_eq!(row.tombstone().unwrap().what, Some(v1::tombstone::What::Upstream(prefix)));
        let damaged = Purge { kind: "object".to_owned(), target: "sha256:xy".to_owned(), ..row };
        assert_eq!(damaged.tombstone(), None);
    }
}
