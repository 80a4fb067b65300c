//! Who changed what.
//!
//! Owns: the table `audit`; the newest [`MOST_ENTRIES`] are kept. Never: a secret; an entry names what was changed,
//! not what was typed.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, short};

/// Entries kept.
const MOST_ENTRIES: i64 = 50_000;

/// One entry as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Grows.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// The account, as it called itself.
    pub actor: String,
    /// `session`, `token` or `password`.
    pub via: String,
    /// What was done, as `config.change`.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// One change to be written down.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The account, as it called itself.
    pub actor: &'a str,
    /// `session`, `token` or `password`.
    pub via: &'static str,
    /// What is done.
    pub action: &'static str,
    /// To what.
    pub target: &'a str,
    /// `done`, or why not.
    pub outcome: &'a str,
}

impl Catalog {
    /// Write a change down.
    pub async fn audit(&self, change: Change<'_>, now_ms: i64) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO audit (at_ms, actor, via, action, target, outcome) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(now_ms)
        .bind(short(change.actor))
        .bind(change.via)
        .bind(change.action)
        .bind(short(change.target))
        .bind(short(change.outcome))
        .execute(&self.pool)
        .await?;
        sqlx::query("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - $1")
            .bind(MOST_ENTRIES)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Entries, newest first.
    pub async fn audit_entries(&self, before: i64, limit: i64) -> Result<Vec<AuditEntry>, CatalogError> {
        let listed = sqlx::query_as("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2");
        Ok(listed.bind(before).bind(limit).fetch_all(&self.pool).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;

    #[tokio::test]
    async fn entries_come_newest_first_and_are_cut() {
        let (_dir, catalog) = catalog().await;
        let long = "x".repeat(10_000);
        for actor in ["first", long.as_str()] {
            let change = Change { actor, via: "session", action: "a", target: "t", outcome: "done" };
            catalog.audit(change, 3).await.unwrap();
        }
        let entries = catalog.audit_entries(i64::MAX, 9).await.unwrap();
        assert_eq!((entries[0].actor.len(), entries[1].actor.as_str()), (512, "first"));
    }

    #[tokio::test]
    async fn old_entries_are_pushed_out() {
        let (_dir, catalog) = catalog().await;
        let change = Change { actor: "a", via: "session", action: "a", target: "t", outcome: "done" };
        catalog.audit(change, 1).await.unwrap();
        sqlx::query("UPDATE sqlite_sequence SET seq = $1 WHERE name = 'audit'")
            .bind(MOST_ENTRIES)
            .execute(&catalog.pool)
            .await
            .unwrap();
        catalog.audit(change, 2).await.unwrap();
        assert_eq!(catalog.audit_entries(i64::MAX, 9).await.unwrap().len(), 1);
    }
}
