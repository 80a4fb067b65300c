//! The versioned configuration that the nodes are pushed.
//!
//! Owns: the table `configurations`; the newest [`MOST_VERSIONS`] are kept. Never: judges a configuration; what
//! comes here was validated. Version 0 is the empty one, before the operator said anything.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, JsonText};

/// Versions kept for people to look back.
const MOST_VERSIONS: i64 = 1000;

/// One version of the pushed configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Grows by one with every change; 0 before the first.
    pub version: i64,
    /// What the operator wants; it narrows what a node's own file allows.
    #[sqlx(rename = "json", try_from = "String")]
    pub config: JsonText,
    /// Who changed it.
    pub author: String,
    /// When.
    pub changed_ms: i64,
}

impl Catalog {
    /// The configuration in force.
    pub async fn configuration(&self) -> Result<Configuration, CatalogError> {
        let newest = sqlx::query_as("SELECT * FROM configurations ORDER BY version DESC LIMIT 1");
        Ok(newest.fetch_optional(&self.pool).await?.unwrap_or_default())
    }

    /// Put a configuration in force if `expected` is still the newest version; nothing happens otherwise.
    pub async fn configure(
        &self,
        expected: i64,
        config: &JsonText,
        author: &str,
        now_ms: i64,
    ) -> Result<Option<Configuration>, CatalogError> {
        let changed = sqlx::query_as(
            "INSERT INTO configurations (version, json, author, changed_ms)
             SELECT $1 + 1, $2, $3, $4 WHERE (SELECT coalesce(max(version), 0) FROM configurations) = $1
             RETURNING *",
        );
        let changed = changed.bind(expected).bind(config.as_str()).bind(author).bind(now_ms);
        Ok(changed.fetch_optional(&self.pool).await?)
    }

    pub(super) async fn tidy_configurations(&self) -> Result<(), CatalogError> {
        sqlx::query(
            "DELETE FROM configurations WHERE version <= (SELECT max(version) FROM configurations) - $1",
        )
        .bind(MOST_VERSIONS)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;

    #[tokio::test]
    async fn before_the_first_change_nothing_is_wanted() {
        let (_dir, catalog) = catalog().await;
        let first = catalog.configuration().await.unwrap();
        assert_eq!((first.version, first.config.as_str()), (0, "{}"));
    }

    #[tokio::test]
    async fn of_two_changes_on_the_same_version_one_wins() {
        let (_dir, catalog) = catalog().await;
        let one = JsonText::from("{\"serve\":true}".to_owned());
        assert_eq!(catalog.configure(0, &one, "a", 5).await.unwrap().unwrap().version, 1);
        assert_eq!(catalog.configure(0, &one, "b", 6).await.unwrap(), None);
        assert_eq!(catalog.configure(7, &one, "b", 6).await.unwrap(), None);
        let newest = catalog.configuration().await.unwrap();
        assert_eq!((newest.author.as_str(), newest.config), ("a", one));
    }

    #[tokio::test]
    async fn tidying_keeps_the_version_in_force() {
        let (_dir, catalog) = catalog().await;
        catalog.configure(0, &JsonText::default(), "a", 5).await.unwrap();
        catalog.tidy(6).await.unwrap();
        assert_eq!(catalog.configuration().await.unwrap().version, 1);
    }
}
