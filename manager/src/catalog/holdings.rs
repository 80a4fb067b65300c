//! Which node holds which object.
//!
//! Owns: the table `holdings`, at most [`MOST_PER_NODE`] rows of one node. Never: the truth; the nodes have it, and
//! tell all of it again at the start of every stream.

use darner_proto::{convert, v1};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, JsonText, short, stored};

/// Objects of one node that are shown; a node may hold more.
const MOST_PER_NODE: i64 = 200_000;
/// Upstreams kept per holding.
const MOST_UPSTREAMS: usize = 64;

/// One object and how many nodes have it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// `sha256:HEX` or `url:HEX`.
    pub object: String,
    /// Bytes; 0 while unknown.
    pub size: i64,
    /// Attached nodes that hold all of it.
    pub copies: i64,
    /// Attached nodes that hold a part of it.
    pub partials: i64,
    /// When it was used last anywhere.
    pub used_ms: i64,
}

/// One node's holding of an object.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Node id.
    pub node: String,
    /// `attached` or `away`.
    pub node_state: String,
    /// `partial`, `verified`, `pinned` or `authoritative`.
    pub state: String,
    /// Bytes; 0 while unknown.
    pub size: i64,
    /// Where the node read it from, or showed it equal through.
    #[sqlx(try_from = "String")]
    pub upstreams: JsonText,
    /// When it was used last there.
    pub used_ms: i64,
}

impl Catalog {
    /// Take a node's report: the whole inventory anew, or what changed.
    pub async fn report_holdings(&self, node: &str, report: &v1::HoldingsReport) -> Result<(), CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if report.full {
            sqlx::query("DELETE FROM holdings WHERE node = $1").bind(node).execute(&mut *transaction).await?;
        }
        for removed in &report.removed {
            let Ok(key) = convert::key(Some(removed)) else { continue };
            sqlx::query("DELETE FROM holdings WHERE object = $1 AND node = $2")
                .bind(key.to_string())
                .bind(node)
                .execute(&mut *transaction)
                .await?;
        }
        let count = sqlx::query_scalar("SELECT count(*) FROM holdings WHERE node = $1").bind(node);
        let held: i64 = count.fetch_one(&mut *transaction).await?;
        let room = usize::try_from(MOST_PER_NODE - held).unwrap_or(0);
        for added in report.added.iter().take(room) {
            let Ok(key) = convert::key(added.key.as_ref()) else { continue };
            let upstreams: Vec<_> =
                added.upstreams.iter().take(MOST_UPSTREAMS).map(|text| short(text)).collect();
            sqlx::query(
                "INSERT INTO holdings (object, node, size, state, upstreams, used_ms) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (object, node) DO UPDATE SET size = excluded.size, state = excluded.state,
                     upstreams = excluded.upstreams, used_ms = excluded.used_ms",
            )
            .bind(key.to_string())
            .bind(node)
            .bind(stored(added.size))
            .bind(state(&added.state))
            .bind(JsonText::of(&upstreams).as_str())
            .bind(stored(added.used_ms))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Objects in the order of their names, from the first one after `after`; those whose name begins with `prefix`.
    pub async fn objects(&self, prefix: &str, after: &str, limit: i64) -> Result<Vec<Object>, CatalogError> {
        // Names are made of `:` and lower-case letters and digits, so `prefix || '~'` is above all that begin with it.
        let listed = sqlx::query_as(
            "SELECT h.object, max(h.size) AS size,
                 sum(h.state <> 'partial' AND n.state = 'attached') AS copies,
                 sum(h.state = 'partial' AND n.state = 'attached') AS partials, max(h.used_ms) AS used_ms
             FROM holdings h JOIN nodes n ON n.id = h.node
             WHERE h.object > $1 AND h.object >= $2 AND h.object < $2 || '~'
             GROUP BY h.object ORDER BY h.object LIMIT $3",
        );
        Ok(listed.bind(after).bind(prefix).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Who holds an object, at most 1000 nodes.
    pub async fn holders(&self, object: &str) -> Result<Vec<Holder>, CatalogError> {
        let listed = sqlx::query_as(
            "SELECT h.node, n.state AS node_state, h.state, h.size, h.upstreams, h.used_ms
             FROM holdings h JOIN nodes n ON n.id = h.node WHERE h.object = $1 ORDER BY h.node LIMIT 1000",
        );
        Ok(listed.bind(object).fetch_all(&self.pool).await?)
    }
}

fn state(told: &str) -> &'static str {
    match told {
        "verified" => "verified",
        "pinned" => "pinned",
        "authoritative" => "authoritative",
        _ => "partial",
    }
}

#[cfg(test)]
mod tests {
    use darner_lfs::{ObjectKey, Oid};

    use super::*;
    use crate::catalog::Node;
    use crate::catalog::tests::catalog;

    fn key(first: u8) -> ObjectKey {
        let mut bytes = [0; 32];
        bytes[0] = first;
        ObjectKey::Sha256(Oid::from_bytes(bytes))
    }

    fn held(first: u8, state: &str) -> v1::HeldObject {
        let upstreams = vec!["https://h/'; DROP TABLE holdings; --<b>".to_owned()];
        v1::HeldObject {
            key: Some(key(first).into()),
            size: 9,
            state: state.to_owned(),
            upstreams,
            used_ms: 3,
        }
    }

    async fn attached(catalog: &Catalog, id: &str) {
        let state = "attached".to_owned();
        catalog.attach_node(&Node { id: id.to_owned(), state, ..Node::default() }).await.unwrap();
    }

    fn report(full: bool, added: Vec<v1::HeldObject>, removed: Vec<v1::ObjectKey>) -> v1::HoldingsReport {
        v1::HoldingsReport { full, added, removed }
    }

    #[tokio::test]
    async fn copies_are_counted_on_attached_nodes_only() {
        let (_dir, catalog) = catalog().await;
        for node in ["a", "b", "c"] {
            attached(&catalog, node).await;
        }
        catalog.report_holdings("a", &report(true, vec![held(1, "verified")], vec![])).await.unwrap();
        catalog.report_holdings("b", &report(true, vec![held(1, "partial")], vec![])).await.unwrap();
        catalog.report_holdings("c", &report(true, vec![held(1, "pinned")], vec![])).await.unwrap();
        catalog.node_away("c", 9).await.unwrap();
        let objects = catalog.objects("", "", 9).await.unwrap();
        assert_eq!((objects.len(), objects[0].copies, objects[0].partials), (1, 1, 1));
        assert_eq!(catalog.holders(&key(1).to_string()).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_full_report_replaces_and_a_delta_adds() {
        let (_dir, catalog) = catalog().await;
        attached(&catalog, "a").await;
        let first = report(true, vec![held(1, "verified"), held(2, "verified")], vec![]);
        catalog.report_holdings("a", &first).await.unwrap();
        let delta = report(false, vec![held(3, "bogus")], vec![key(1).into()]);
        catalog.report_holdings("a", &delta).await.unwrap();
        let names: Vec<_> =
            catalog.objects("", "", 9).await.unwrap().into_iter().map(|one| one.object).collect();
        assert_eq!(names, [key(2).to_string(), key(3).to_string()]);
        assert_eq!(catalog.holders(&names[1]).await.unwrap()[0].state, "partial");
        catalog.report_holdings("a", &report(true, vec![], vec![])).await.unwrap();
        assert!(catalog.objects("", "", 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn objects_are_found_by_the_beginning_of_their_name() {
        let (_dir, catalog) = catalog().await;
        attached(&catalog, "a").await;
        let all = report(
            true,
            vec![held(0x11, "verified"), held(0x12, "verified"), held(0x22, "verified")],
            vec![],
        );
        catalog.report_holdings("a", &all).await.unwrap();
        assert_eq!(catalog.objects("sha256:1", "", 9).await.unwrap().len(), 2);
        assert_eq!(catalog.objects("sha256:1", &key(0x11).to_string(), 9).await.unwrap().len(), 1);
        assert!(catalog.objects("sha256:%", "", 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn malformed_keys_are_skipped() {
        let (_dir, catalog) = catalog().await;
        attached(&catalog, "a").await;
        let nameless = v1::HeldObject { key: None, ..held(1, "verified") };
        catalog
            .report_holdings("a", &report(false, vec![nameless], vec![v1::ObjectKey::default()]))
            .await
            .unwrap();
        assert!(catalog.objects("", "", 9).await.unwrap().is_empty());
    }
}
