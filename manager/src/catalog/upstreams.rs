//! What nodes made of what the cluster says: the upstreams it adds, their zone; and the forgetting of pods that are gone.
//!
//! Owns: four columns of the table `nodes`. Never: the upstreams themselves; Kubernetes keeps them.

use std::collections::BTreeMap;

use darner_proto::v1;
use sqlx::FromRow;

use super::{Catalog, CatalogError, JsonText, short};
use crate::cluster::Spot;

/// Refusals kept of one node; there are no more upstreams than that.
const MOST_REFUSED: usize = 256;

/// What an attached node said.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct UpstreamsHeard {
    /// Its id.
    pub id: String,
    /// What it is.
    pub component: String,
    /// The list in force on it.
    pub upstreams_revision: String,
    /// JSON object: name of a resource -> why the node does not dial it.
    #[sqlx(try_from = "String")]
    pub upstreams_refused: JsonText,
}

impl Catalog {
    /// A node said which list it has in force.
    pub async fn node_upstreams(&self, id: &str, told: &v1::UpstreamsState) -> Result<(), CatalogError> {
        let refused: BTreeMap<String, String> = told
            .refused
            .iter()
            .take(MOST_REFUSED)
            .map(|refused| (short(&refused.name), short(&refused.reason)))
            .collect();
        let written = sqlx::query(
            "UPDATE nodes SET takes_upstreams = 1, upstreams_revision = $2, upstreams_refused = $3 WHERE id = $1",
        );
        let written = written.bind(id).bind(short(&told.revision)).bind(JsonText::of(&refused).as_str());
        written.execute(&self.pool).await?;
        Ok(())
    }

    /// The cluster knows where the node stands; a zone the node said itself stays.
    pub async fn node_zone(&self, id: &str, zone: &str) -> Result<(), CatalogError> {
        let written = sqlx::query("UPDATE nodes SET zone = $2 WHERE id = $1 AND zone = ''");
        written.bind(id).bind(short(zone)).execute(&self.pool).await?;
        Ok(())
    }

    /// What every attached node that takes upstreams said last.
    pub async fn upstreams_heard(&self) -> Result<Vec<UpstreamsHeard>, CatalogError> {
        let heard = sqlx::query_as(
            "SELECT id, component, upstreams_revision, upstreams_refused FROM nodes
             WHERE state = 'attached' AND takes_upstreams = 1 ORDER BY id",
        );
        Ok(heard.fetch_all(&self.pool).await?)
    }

    /// Forget the nodes that lived in this pod, once they have left.
    pub async fn forget_away(&self, gone: &Spot) -> Result<(), CatalogError> {
        let host = if gone.address.contains(':') {
            format!("[{}]:", gone.address)
        } else {
            format!("{}:", gone.address)
        };
        sqlx::query(
            "DELETE FROM nodes WHERE state = 'away' AND component = $1 AND substr(piece_address, 1, length($2)) = $2",
        )
        .bind(&gone.component)
        .bind(host)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Node;
    use crate::catalog::tests::catalog;

    fn node(id: &str, address: &str) -> Node {
        Node {
            id: id.to_owned(),
            component: "seed-peer".to_owned(),
            state: "attached".to_owned(),
            piece_address: address.to_owned(),
            ..Node::default()
        }
    }

    fn refusing(name: &str) -> v1::UpstreamsState {
        let refused = v1::RefusedUpstream { name: name.to_owned(), reason: "no".to_owned() };
        v1::UpstreamsState { revision: "r1".to_owned(), refused: vec![refused] }
    }

    #[tokio::test]
    async fn only_attached_nodes_that_take_upstreams_are_heard() {
        let (_dir, catalog) = catalog().await;
        for id in ["silent", "away", "here"] {
            catalog.attach_node(&node(id, "10.0.0.1:1")).await.unwrap();
        }
        catalog.node_upstreams("here", &refusing("corp")).await.unwrap();
        catalog.node_upstreams("away", &refusing("corp")).await.unwrap();
        catalog.node_away("away", 5).await.unwrap();
        let heard = catalog.upstreams_heard().await.unwrap();
        assert_eq!(heard.len(), 1);
        assert_eq!((heard[0].id.as_str(), heard[0].upstreams_refused.as_str()), ("here", r#"{"corp":"no"}"#));
    }

    #[tokio::test]
    async fn a_node_that_attaches_again_has_said_nothing_yet() {
        let (_dir, catalog) = catalog().await;
        catalog.attach_node(&node("a", "10.0.0.1:1")).await.unwrap();
        catalog.node_upstreams("a", &refusing("corp")).await.unwrap();
        catalog.attach_node(&node("a", "10.0.0.1:1")).await.unwrap();
        assert!(catalog.upstreams_heard().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_is_gone_is_forgotten_only_when_away_and_only_that_one() {
        let (_dir, catalog) = catalog().await;
        for (id, address) in
            [("one", "10.0.0.1:65002"), ("ten", "10.0.0.10:65002"), ("six", "[fd00::1]:65002")]
        {
            catalog.attach_node(&node(id, address)).await.unwrap();
        }
        let spot = |address: &str| Spot { component: "seed-peer".to_owned(), address: address.to_owned() };
        catalog.forget_away(&spot("10.0.0.1")).await.unwrap();
        assert!(catalog.node("one").await.unwrap().is_some(), "it is attached still");
        for id in ["one", "ten", "six"] {
            catalog.node_away(id, 5).await.unwrap();
        }
        catalog.forget_away(&Spot { component: "scheduler".to_owned(), ..spot("10.0.0.1") }).await.unwrap();
        catalog.forget_away(&spot("10.0.0.1")).await.unwrap();
        catalog.forget_away(&spot("fd00::1")).await.unwrap();
        let left: Vec<_> = catalog.nodes("", 9).await.unwrap().into_iter().map(|node| node.id).collect();
        assert_eq!(left, ["ten"]);
    }
}
