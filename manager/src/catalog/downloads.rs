//! Downloads as the nodes told of them.
//!
//! Owns: the table `downloads`; the newest [`MOST_DOWNLOADS`] are kept. Never: follows a download; a node that dies
//! leaves its row `running` until it is pushed out.

use darner_proto::{convert, v1};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, JsonText, short, stored};

/// Downloads kept.
const MOST_DOWNLOADS: i64 = 20_000;
/// Parents kept per download.
const MOST_PARENTS: usize = 64;

/// One download of one node.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// Grows with every download the manager heard of.
    pub id: i64,
    /// Node id.
    pub node: String,
    /// The node's own name of the download.
    pub task: String,
    /// `sha256:HEX` or `url:HEX`.
    pub object: String,
    /// Bytes, when known.
    pub size: Option<i64>,
    /// When it began.
    pub started_ms: i64,
    /// When it ended; 0 while it runs.
    pub ended_ms: i64,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// `local`, `peer`, `seed` or `origin`.
    pub source: String,
    /// Trace id, or `sampled=false`.
    pub trace: String,
    /// The upstream it was asked for under.
    pub upstream: String,
    /// Why it failed.
    pub error: String,
    /// Bytes received so far.
    pub received: i64,
    /// Node id of a parent -> bytes taken from it.
    #[sqlx(try_from = "String")]
    pub bytes_by_parent: JsonText,
    /// Requests it stands for: small ones from a node's own disk are told together, under the object of the first.
    pub requests: i64,
}

impl Catalog {
    /// Take a node's report; what it says of a download it told of before replaces that.
    pub async fn report_downloads(
        &self,
        node: &str,
        told: &[v1::Download],
    ) -> Result<Vec<Download>, CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut rows = Vec::with_capacity(told.len());
        for download in told {
            let Ok(key) = convert::key(download.key.as_ref()) else { continue };
            let parents: std::collections::BTreeMap<_, _> = download
                .bytes_by_parent
                .iter()
                .take(MOST_PARENTS)
                .map(|(id, bytes)| (short(id), *bytes))
                .collect();
            let parents = JsonText::of(&parents);
            let row = sqlx::query_as(
                "INSERT INTO downloads (node, task, object, size, started_ms, ended_ms, state, source, trace, upstream,
                     error, received, bytes_by_parent, requests)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                 ON CONFLICT (node, task) DO UPDATE SET size = excluded.size, ended_ms = excluded.ended_ms,
                     state = excluded.state, source = excluded.source, trace = excluded.trace,
                     error = excluded.error, received = excluded.received,
                     bytes_by_parent = excluded.bytes_by_parent, requests = excluded.requests
                 RETURNING *",
            )
            .bind(node)
            .bind(short(&download.task))
            .bind(key.to_string())
            .bind(download.size.map(stored))
            .bind(stored(download.started_ms))
            .bind(stored(download.ended_ms))
            .bind(short(&download.state))
            .bind(short(&download.source))
            .bind(short(&download.trace))
            .bind(short(&download.upstream))
            .bind(short(&download.error))
            .bind(stored(download.received))
            .bind(parents.as_str())
            .bind(i64::from(download.requests.max(1)));
            rows.push(row.fetch_one(&mut *transaction).await?);
        }
        sqlx::query("DELETE FROM downloads WHERE id <= (SELECT max(id) FROM downloads) - $1")
            .bind(MOST_DOWNLOADS)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Downloads, newest first, from the first one older than `before`; of one node, or of all when `node` is empty.
    pub async fn downloads(
        &self,
        node: &str,
        before: i64,
        limit: i64,
    ) -> Result<Vec<Download>, CatalogError> {
        let listed = sqlx::query_as(
            "SELECT * FROM downloads WHERE id < $1 AND ($2 = '' OR node = $2) ORDER BY id DESC LIMIT $3",
        );
        Ok(listed.bind(before).bind(node).bind(limit).fetch_all(&self.pool).await?)
    }
}

#[cfg(test)]
mod tests {
    use darner_lfs::{ObjectKey, Oid};

    use super::*;
    use crate::catalog::tests::catalog;

    fn download(task: &str, state: &str) -> v1::Download {
        v1::Download {
            task: task.to_owned(),
            key: Some(ObjectKey::Sha256(Oid::EMPTY).into()),
            size: Some(u64::MAX),
            state: state.to_owned(),
            bytes_by_parent: [("<script>".to_owned(), 3)].into(),
            ..v1::Download::default()
        }
    }

    #[tokio::test]
    async fn a_download_that_goes_on_is_one_row() {
        let (_dir, catalog) = catalog().await;
        let first = catalog.report_downloads("a", &[download("t", "running")]).await.unwrap();
        let second = catalog.report_downloads("a", &[download("t", "done")]).await.unwrap();
        assert_eq!(first[0].id, second[0].id);
        let listed = catalog.downloads("", i64::MAX, 9).await.unwrap();
        assert_eq!((listed.len(), listed[0].state.as_str(), listed[0].size), (1, "done", Some(i64::MAX)));
    }

    #[tokio::test]
    async fn the_same_task_of_two_nodes_is_two_downloads() {
        let (_dir, catalog) = catalog().await;
        for node in ["a", "b"] {
            catalog.report_downloads(node, &[download("t", "done")]).await.unwrap();
        }
        assert_eq!(catalog.downloads("", i64::MAX, 9).await.unwrap().len(), 2);
        assert_eq!(catalog.downloads("b", i64::MAX, 9).await.unwrap()[0].node, "b");
    }

    #[tokio::test]
    async fn the_newest_come_first_and_a_page_goes_on_where_it_ended() {
        let (_dir, catalog) = catalog().await;
        let told: Vec<_> = (0..5).map(|task| download(&task.to_string(), "done")).collect();
        catalog.report_downloads("a", &told).await.unwrap();
        let page = catalog.downloads("", i64::MAX, 2).await.unwrap();
        let next = catalog.downloads("", page[1].id, 9).await.unwrap();
        assert_eq!((page[0].task.as_str(), next[0].task.as_str(), next.len()), ("4", "2", 3));
    }

    #[tokio::test]
    async fn old_downloads_are_pushed_out() {
        let (_dir, catalog) = catalog().await;
        catalog.report_downloads("a", &[download("old", "done")]).await.unwrap();
        sqlx::query("UPDATE sqlite_sequence SET seq = $1 WHERE name = 'downloads'")
            .bind(MOST_DOWNLOADS)
            .execute(&catalog.pool)
            .await
            .unwrap();
        catalog.report_downloads("a", &[download("new", "done")]).await.unwrap();
        assert_eq!(catalog.downloads("", i64::MAX, 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_row_says_how_many_requests_it_stands_for() {
        let (_dir, catalog) = catalog().await;
        let many = v1::Download { requests: 2000, ..download("many", "done") };
        let told = catalog.report_downloads("a", &[many, download("one", "done")]).await.unwrap();
        assert_eq!((told[0].requests, told[1].requests), (2000, 1));
    }

    #[tokio::test]
    async fn a_download_of_nothing_is_skipped() {
        let (_dir, catalog) = catalog().await;
        let nameless = v1::Download { key: None, ..download("t", "done") };
        assert!(catalog.report_downloads("a", &[nameless]).await.unwrap().is_empty());
    }
}
