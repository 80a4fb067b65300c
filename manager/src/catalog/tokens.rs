//! Personal access tokens.
//!
//! Owns: the table `tokens`, at most [`MOST_TOKENS`] live ones per account. Never: a token itself, only its SHA-256
//! (256 random bits need no slow hash). A revoked row stays for people to see, until it is pushed out.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError, Role};

/// Rows of one account.
const MOST_TOKENS: i64 = 100;
/// The time of last use is written at most this often.
const USE_NOTED_EVERY_MS: i64 = 60_000;

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Names it in the API.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// Whose it is.
    #[serde(rename = "user")]
    pub user_name: String,
    /// What it may do, at most what the account may.
    pub role: Role,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends; 0: never.
    pub expires_ms: i64,
    /// When it was revoked; 0: it was not.
    pub revoked_ms: i64,
    /// When it was used last, to the minute; 0: never.
    pub used_ms: i64,
}

impl Catalog {
    /// Add a token.
    pub async fn add_token(&self, hash: &str, token: &Token) -> Result<Token, CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM tokens WHERE user_name = $1 AND (revoked_ms > 0 OR expires_ms BETWEEN 1 AND $2)
                     AND id IN (SELECT id FROM tokens WHERE user_name = $1 ORDER BY id DESC LIMIT -1 OFFSET $3)")
            .bind(&token.user_name)
            .bind(token.created_ms)
            .bind(MOST_TOKENS / 2)
            .execute(&mut *transaction)
            .await?;
        let added = sqlx::query_as(
            "INSERT INTO tokens (hash, name, user_name, role, created_ms, expires_ms)
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM tokens WHERE user_name = $3) < $7
             RETURNING id, name, user_name, role, created_ms, expires_ms, revoked_ms, used_ms",
        )
        .bind(hash)
        .bind(&token.name)
        .bind(&token.user_name)
        .bind(token.role)
        .bind(token.created_ms)
        .bind(token.expires_ms)
        .bind(MOST_TOKENS)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        added.ok_or(CatalogError::Full("token"))
    }

    /// The token of this hash, if it is good now. Its role is never more than its account's.
    pub async fn token(&self, hash: &str, now_ms: i64) -> Result<Option<Token>, CatalogError> {
        let found: Option<(Token, Role)> = sqlx::query_as::<_, TokenOfUser>(
            "SELECT t.id, t.name, t.user_name, t.role, t.created_ms, t.expires_ms, t.revoked_ms, t.used_ms,
                 u.role AS user_role
             FROM tokens t JOIN users u ON u.name = t.user_name
             WHERE t.hash = $1 AND t.revoked_ms = 0 AND (t.expires_ms = 0 OR t.expires_ms > $2)",
        )
        .bind(hash)
        .bind(now_ms)
        .fetch_optional(&self.pool)
        .await?
        .map(|found| (found.token, found.user_role));
        let Some((mut token, user_role)) = found else { return Ok(None) };
        token.role = token.role.min(user_role);
        if token.used_ms + USE_NOTED_EVERY_MS <= now_ms {
            let noted =
                sqlx::query("UPDATE tokens SET used_ms = $2 WHERE id = $1").bind(token.id).bind(now_ms);
            noted.execute(&self.pool).await?;
        }
        Ok(Some(token))
    }

    /// Tokens, newest first; of one account, or of all when `user` is empty.
    pub async fn tokens(&self, user: &str, before: i64, limit: i64) -> Result<Vec<Token>, CatalogError> {
        let listed = sqlx::query_as(
            "SELECT id, name, user_name, role, created_ms, expires_ms, revoked_ms, used_ms FROM tokens
             WHERE id < $1 AND ($2 = '' OR user_name = $2) ORDER BY id DESC LIMIT $3",
        );
        Ok(listed.bind(before).bind(user).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Revoke a token, of `user` only when it is not empty; false when there is no such live token.
    pub async fn revoke_token(&self, id: i64, user: &str, now_ms: i64) -> Result<bool, CatalogError> {
        let done = sqlx::query(
            "UPDATE tokens SET revoked_ms = $3 WHERE id = $1 AND revoked_ms = 0 AND ($2 = '' OR user_name = $2)",
        );
        Ok(done.bind(id).bind(user).bind(now_ms).execute(&self.pool).await?.rows_affected() == 1)
    }
}

#[derive(FromRow)]
struct TokenOfUser {
    #[sqlx(flatten)]
    token: Token,
    user_role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::User;
    use crate::catalog::tests::catalog;

    async fn with_users(catalog: &Catalog) {
        for (name, role) in [("boss", Role::Admin), ("eve", Role::Viewer)] {
            let (name, password_hash) = (name.to_owned(), String::new());
            catalog.add_user(&User { name, password_hash, role }, 1).await.unwrap();
        }
    }

    fn token(user: &str, expires_ms: i64) -> Token {
        Token {
            id: 0,
            name: "'; DROP TABLE tokens; --".to_owned(),
            user_name: user.to_owned(),
            role: Role::Admin,
            created_ms: 5,
            expires_ms,
            revoked_ms: 0,
            used_ms: 0,
        }
    }

    #[tokio::test]
    async fn a_token_is_good_until_it_expires_or_is_revoked() {
        let (_dir, catalog) = catalog().await;
        with_users(&catalog).await;
        catalog.add_token("h1", &token("boss", 100)).await.unwrap();
        let lasting = catalog.add_token("h2", &token("boss", 0)).await.unwrap();
        assert!(catalog.token("h1", 99).await.unwrap().is_some());
        assert!(catalog.token("h1", 100).await.unwrap().is_none());
        assert!(catalog.token("h2", i64::MAX / 2).await.unwrap().is_some());
        assert!(catalog.revoke_token(lasting.id, "", 7).await.unwrap());
        assert!(!catalog.revoke_token(lasting.id, "", 8).await.unwrap());
        assert!(catalog.token("h2", 9).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_token_never_does_more_than_its_account() {
        let (_dir, catalog) = catalog().await;
        with_users(&catalog).await;
        catalog.add_token("h", &token("eve", 0)).await.unwrap();
        assert_eq!(catalog.token("h", 9).await.unwrap().unwrap().role, Role::Viewer);
    }

    #[tokio::test]
    async fn nobody_revokes_or_lists_what_is_another_s() {
        let (_dir, catalog) = catalog().await;
        with_users(&catalog).await;
        let boss = catalog.add_token("h", &token("boss", 0)).await.unwrap();
        assert!(!catalog.revoke_token(boss.id, "eve", 9).await.unwrap());
        assert!(catalog.tokens("eve", i64::MAX, 9).await.unwrap().is_empty());
        assert_eq!(catalog.tokens("", i64::MAX, 9).await.unwrap(), [boss]);
    }

    #[tokio::test]
    async fn an_account_has_a_bound_and_revoked_tokens_make_room() {
        let (_dir, catalog) = catalog().await;
        with_users(&catalog).await;
        for number in 0..MOST_TOKENS {
            catalog.add_token(&number.to_string(), &token("eve", 0)).await.unwrap();
        }
        assert!(matches!(catalog.add_token("x", &token("eve", 0)).await, Err(CatalogError::Full("token"))));
        let first = catalog.token("0", 6).await.unwrap().unwrap();
        catalog.revoke_token(first.id, "eve", 7).await.unwrap();
        catalog.add_token("x", &token("eve", 0)).await.unwrap();
    }

    #[tokio::test]
    async fn use_is_noted_once_a_minute() {
        let (_dir, catalog) = catalog().await;
        with_users(&catalog).await;
        catalog.add_token("h", &token("eve", 0)).await.unwrap();
        for now_ms in [70_000, 80_000] {
            catalog.token("h", now_ms).await.unwrap();
        }
        assert_eq!(catalog.tokens("eve", i64::MAX, 9).await.unwrap()[0].used_ms, 70_000);
    }
}
