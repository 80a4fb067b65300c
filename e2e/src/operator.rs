//! The operator: a person signed in at the manager's API.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::{self, Ask, Reply};

/// Somebody with the first account.
#[derive(Debug)]
pub struct Operator {
    address: String,
    cookie: String,
}

impl Operator {
    /// Signs in with the password the manager wrote down.
    pub async fn sign_in(cluster: &Cluster) -> anyhow::Result<Self> {
        let address = cluster.manager.url.strip_prefix("http://").context("a clear-text manager")?;
        let password = std::fs::read_to_string(&cluster.admin.password_file)?;
        let operator = Self { address: address.trim_end_matches('/').to_owned(), cookie: String::new() };
        let body = json!({ "user": cluster.admin.user, "password": password.trim() });
        let reply = operator.ask("POST", "/api/v1/session", &[], &body).await?;
        let cookie = reply.header("set-cookie").context("a session")?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { cookie, ..operator })
    }

    /// Asks for something, and fails unless it is given.
    pub async fn ask(
        &self,
        method: &str,
        target: &str,
        more: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Reply> {
        let mut headers = vec![("content-type", "application/json"), ("cookie", self.cookie.as_str())];
        headers.extend(more);
        let body = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
        let reply = http::ask(&self.address, Ask { method, target, headers, body }).await?;
        anyhow::ensure!(reply.status.is_success(), "{method} {target}: {} {}", reply.status, reply.text());
        Ok(reply)
    }

    /// Puts a configuration in force, whatever was before. Nodes hear of it a moment later.
    pub async fn configure(&self, wanted: &Value) -> anyhow::Result<()> {
        let now = self.ask("GET", "/api/v1/config", &[], &Value::Null).await?;
        let tag = now.header("etag").context("the version of the configuration")?;
        self.ask("PUT", "/api/v1/config", &[("if-match", tag)], wanted).await?;
        Ok(())
    }

    /// Purges one object everywhere.
    pub async fn purge(&self, oid: darner_lfs::Oid) -> anyhow::Result<()> {
        self.ask("POST", "/api/v1/purges", &[], &json!({ "oid": oid.to_string() })).await?;
        Ok(())
    }
}
