//! The nodes of the cluster: who attached, who is away, and the numbers each told last.
//!
//! Owns: the table `nodes`, at most [`MOST_NODES`] rows. Never: decides that a node is gone; a stream says so.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, JsonText, short};

/// Nodes kept. A node beyond them is refused until older ones are forgotten.
const MOST_NODES: i64 = 10_000;
/// A node away for so long is forgotten with its holdings.
const FORGET_AFTER_MS: i64 = 7 * 24 * 3_600_000;

/// One node as the manager knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Lasts as long as the node's data directory.
    pub id: String,
    /// `peer-daemon`, `seed-peer` or `scheduler`.
    pub component: String,
    /// `attached`, `away`, or `configured` (a scheduler named in the manager's file).
    pub state: String,
    /// The machine's name.
    pub host_name: String,
    /// Zone label.
    pub zone: String,
    /// Tenant label; nodes of different tenants never exchange.
    pub tenant: String,
    /// Version of its software.
    pub version: String,
    /// host:port of the piece link.
    pub piece_address: String,
    /// host:port of its gRPC service.
    pub grpc_address: String,
    /// host:port of its admin port.
    pub admin_address: String,
    /// When the present or last stream began.
    pub attached_ms: i64,
    /// When it was heard last.
    pub seen_ms: i64,
    /// Its clock less ours, when it attached.
    pub clock_skew_ms: i64,
    /// The configuration version in force on it.
    pub config_version: i64,
    /// Why it refused the newest configuration; empty when it did not.
    pub config_error: String,
    /// The last tombstone it honoured.
    pub tombstone_sequence: i64,
    /// Its last numbers.
    #[sqlx(try_from = "String")]
    pub stats: JsonText,
}

impl Default for JsonText {
    fn default() -> Self {
        Self::from("{}".to_owned())
    }
}

impl Catalog {
    /// A node attached: it is new, or as it was with what it says of itself now.
    pub async fn attach_node(&self, node: &Node) -> Result<(), CatalogError> {
        let done = sqlx::query(
            "INSERT INTO nodes (id, component, state, host_name, zone, tenant, version, piece_address, grpc_address,
                 admin_address, attached_ms, seen_ms, clock_skew_ms, config_version, tombstone_sequence)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14
             WHERE (SELECT count(*) FROM nodes) < $15 OR EXISTS (SELECT 1 FROM nodes WHERE id = $1)
             ON CONFLICT (id) DO UPDATE SET component = excluded.component, state = excluded.state,
                 host_name = excluded.host_name, zone = excluded.zone, tenant = excluded.tenant,
                 version = excluded.version, piece_address = excluded.piece_address,
                 grpc_address = excluded.grpc_address, admin_address = excluded.admin_address,
                 attached_ms = excluded.attached_ms, seen_ms = excluded.seen_ms,
                 clock_skew_ms = excluded.clock_skew_ms, config_version = excluded.config_version,
                 config_error = '', tombstone_sequence = excluded.tombstone_sequence,
                 takes_upstreams = 0",
        )
        .bind(&node.id)
        .bind(&node.component)
        .bind(&node.state)
        .bind(short(&node.host_name))
        .bind(short(&node.zone))
        .bind(short(&node.tenant))
        .bind(short(&node.version))
        .bind(short(&node.piece_address))
        .bind(short(&node.grpc_address))
        .bind(short(&node.admin_address))
        .bind(node.attached_ms)
        .bind(node.clock_skew_ms)
        .bind(node.config_version)
        .bind(node.tombstone_sequence)
        .bind(MOST_NODES)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 { Err(CatalogError::Full("node")) } else { Ok(()) }
    }

    /// The node's stream ended.
    pub async fn node_away(&self, id: &str, now_ms: i64) -> Result<(), CatalogError> {
        sqlx::query("UPDATE nodes SET state = 'away', seen_ms = $2 WHERE id = $1")
            .bind(id)
            .bind(now_ms)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The node's last numbers.
    pub async fn node_stats(&self, id: &str, stats: &JsonText, now_ms: i64) -> Result<(), CatalogError> {
        sqlx::query("UPDATE nodes SET stats = $2, seen_ms = $3 WHERE id = $1")
            .bind(id)
            .bind(stats.as_str())
            .bind(now_ms)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The configuration in force on the node, or (with an error) the one it refused.
    pub async fn node_config(&self, id: &str, version: i64, error: &str) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE nodes SET config_error = $3,
                 config_version = CASE WHEN $3 = '' THEN $2 ELSE config_version END WHERE id = $1",
        )
        .bind(id)
        .bind(version)
        .bind(short(error))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The last tombstone the node honoured.
    pub async fn node_tombstones(&self, id: &str, sequence: i64) -> Result<(), CatalogError> {
        sqlx::query("UPDATE nodes SET tombstone_sequence = $2 WHERE id = $1")
            .bind(id)
            .bind(sequence)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The schedulers of the manager's file, exactly these.
    pub async fn set_schedulers(&self, addresses: &[String]) -> Result<(), CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM nodes WHERE component = 'scheduler'").execute(&mut *transaction).await?;
        for address in addresses {
            sqlx::query(
                "INSERT INTO nodes (id, component, state, grpc_address) VALUES ($1, 'scheduler', 'configured', $2)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(format!("scheduler/{address}"))
            .bind(address)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Nodes in the order of their ids, from the first one after `after`.
    pub async fn nodes(&self, after: &str, limit: i64) -> Result<Vec<Node>, CatalogError> {
        let listed =
            sqlx::query_as("SELECT * FROM nodes WHERE id > $1 ORDER BY id LIMIT $2").bind(after).bind(limit);
        Ok(listed.fetch_all(&self.pool).await?)
    }

    /// One node.
    pub async fn node(&self, id: &str) -> Result<Option<Node>, CatalogError> {
        Ok(sqlx::query_as("SELECT * FROM nodes WHERE id = $1").bind(id).fetch_optional(&self.pool).await?)
    }

    pub(super) async fn all_away(&self) -> Result<(), CatalogError> {
        sqlx::query("UPDATE nodes SET state = 'away' WHERE state = 'attached'").execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn tidy_nodes(&self, now_ms: i64) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM nodes WHERE state = 'away' AND seen_ms < $1")
            .bind(now_ms - FORGET_AFTER_MS)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;

    fn node(id: &str) -> Node {
        Node {
            id: id.to_owned(),
            component: "peer-daemon".to_owned(),
            state: "attached".to_owned(),
            attached_ms: 5,
            ..Node::default()
        }
    }

    #[tokio::test]
    async fn a_node_that_returns_keeps_its_numbers() {
        let (_dir, catalog) = catalog().await;
        catalog.attach_node(&node("a")).await.unwrap();
        catalog.node_stats("a", &JsonText::of(&7), 6).await.unwrap();
        catalog.node_away("a", 7).await.unwrap();
        catalog.attach_node(&Node { zone: "z".to_owned(), attached_ms: 8, ..node("a") }).await.unwrap();
        let found = catalog.node("a").await.unwrap().unwrap();
        assert_eq!((found.state.as_str(), found.zone.as_str(), found.stats.as_str()), ("attached", "z", "7"));
    }

    #[tokio::test]
    async fn after_a_restart_of_the_manager_nobody_is_attached() {
        let (_dir, catalog) = catalog().await;
        catalog.attach_node(&node("a")).await.unwrap();
        catalog.all_away().await.unwrap();
        assert_eq!(catalog.node("a").await.unwrap().unwrap().state, "away");
    }

    #[tokio::test]
    async fn a_refused_configuration_leaves_the_version_in_force() {
        let (_dir, catalog) = catalog().await;
        catalog.attach_node(&node("a")).await.unwrap();
        catalog.node_config("a", 3, "").await.unwrap();
        catalog.node_config("a", 4, "unknown key `x`").await.unwrap();
        let found = catalog.node("a").await.unwrap().unwrap();
        assert_eq!((found.config_version, found.config_error.as_str()), (3, "unknown key `x`"));
    }

    #[tokio::test]
    async fn only_the_schedulers_of_the_file_are_shown() {
        let (_dir, catalog) = catalog().await;
        catalog.set_schedulers(&["a:1".to_owned(), "b:1".to_owned(), "a:1".to_owned()]).await.unwrap();
        catalog.set_schedulers(&["b:1".to_owned()]).await.unwrap();
        let ids: Vec<_> = catalog.nodes("", 9).await.unwrap().into_iter().map(|node| node.id).collect();
        assert_eq!(ids, ["scheduler/b:1"]);
    }

    #[tokio::test]
    async fn a_node_long_away_is_forgotten_and_an_attached_one_is_not() {
        let (_dir, catalog) = catalog().await;
        catalog.attach_node(&node("gone")).await.unwrap();
        catalog.attach_node(&node("here")).await.unwrap();
        catalog.node_away("gone", 10).await.unwrap();
        catalog.tidy(11 + FORGET_AFTER_MS).await.unwrap();
        assert!(catalog.node("gone").await.unwrap().is_none());
        assert!(catalog.node("here").await.unwrap().is_some());
    }
}
