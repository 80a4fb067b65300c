//! Accounts and their sessions.
//!
//! Owns: the tables `users` and `sessions`, and the order of the roles. Never: a password or a cookie; only an
//! argon2 text and a SHA-256 come here, so a stolen database signs nobody in.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Catalog, CatalogError};

/// Sessions of all accounts together; the oldest end first.
const MOST_SESSIONS: i64 = 1000;

/// What an account or a token may do. Each role may do what the ones before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "TEXT", rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Prefetches and purges.
    Operator,
    /// Configures, and reads the audit.
    Admin,
}

/// One account.
#[derive(Debug, Clone, FromRow)]
pub struct User {
    /// Unique.
    pub name: String,
    /// Argon2 in PHC form.
    pub password_hash: String,
    /// What it may do.
    pub role: Role,
}

/// A session that is still good.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Session {
    /// Whose it is.
    pub user_name: String,
    /// The account's role now.
    pub role: Role,
    /// When it ends.
    pub expires_ms: i64,
}

impl Catalog {
    /// One account.
    pub async fn user(&self, name: &str) -> Result<Option<User>, CatalogError> {
        let found = sqlx::query_as("SELECT name, password_hash, role FROM users WHERE name = $1").bind(name);
        Ok(found.fetch_optional(&self.pool).await?)
    }

    /// Add an account; false when the name is taken.
    pub async fn add_user(&self, user: &User, now_ms: i64) -> Result<bool, CatalogError> {
        let done = sqlx::query(
            "INSERT INTO users (name, password_hash, role, created_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&user.name)
        .bind(&user.password_hash)
        .bind(user.role)
        .bind(now_ms)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Begin a session.
    pub async fn add_session(
        &self,
        hash: &str,
        user: &str,
        now_ms: i64,
        expires_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO sessions (hash, user_name, created_ms, expires_ms) VALUES ($1, $2, $3, $4)")
            .bind(hash)
            .bind(user)
            .bind(now_ms)
            .bind(expires_ms)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM sessions WHERE hash IN
                 (SELECT hash FROM sessions ORDER BY created_ms DESC, hash LIMIT -1 OFFSET $1)",
        )
        .bind(MOST_SESSIONS)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The session of a cookie, if it has not ended.
    pub async fn session(&self, hash: &str, now_ms: i64) -> Result<Option<Session>, CatalogError> {
        let found = sqlx::query_as(
            "SELECT s.user_name, u.role, s.expires_ms FROM sessions s JOIN users u ON u.name = s.user_name
             WHERE s.hash = $1 AND s.expires_ms > $2",
        );
        Ok(found.bind(hash).bind(now_ms).fetch_optional(&self.pool).await?)
    }

    /// End a session.
    pub async fn end_session(&self, hash: &str) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash).execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn tidy_sessions(&self, now_ms: i64) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM sessions WHERE expires_ms <= $1").bind(now_ms).execute(&self.pool).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;

    async fn with_user(catalog: &Catalog) {
        let (name, password_hash) = ("o'hara <b>".to_owned(), "x".to_owned());
        assert!(catalog.add_user(&User { name, password_hash, role: Role::Operator }, 1).await.unwrap());
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let (_dir, catalog) = catalog().await;
        with_user(&catalog).await;
        let again = User { name: "o'hara <b>".to_owned(), password_hash: "y".to_owned(), role: Role::Admin };
        assert!(!catalog.add_user(&again, 2).await.unwrap());
        assert_eq!(catalog.user("o'hara <b>").await.unwrap().unwrap().role, Role::Operator);
        assert!(catalog.user("' OR 1=1 --").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_session_ends_by_time_and_by_word() {
        let (_dir, catalog) = catalog().await;
        with_user(&catalog).await;
        for hash in ["a", "b"] {
            catalog.add_session(hash, "o'hara <b>", 1, 100).await.unwrap();
        }
        assert_eq!(catalog.session("a", 99).await.unwrap().unwrap().role, Role::Operator);
        assert_eq!(catalog.session("a", 100).await.unwrap(), None);
        catalog.end_session("b").await.unwrap();
        assert_eq!(catalog.session("b", 50).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_oldest_session_makes_room() {
        let (_dir, catalog) = catalog().await;
        with_user(&catalog).await;
        for number in 0..=MOST_SESSIONS {
            catalog.add_session(&number.to_string(), "o'hara <b>", number, 1 << 40).await.unwrap();
        }
        assert_eq!(catalog.session("0", 5).await.unwrap(), None);
        assert!(catalog.session("1", 5).await.unwrap().is_some());
    }
}
