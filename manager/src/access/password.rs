//! Passwords, slowly.
//!
//! Owns: argon2id, one computation at a time (each takes 7 MiB for some 50 ms, off the runtime's threads). Never:
//! tells an unknown name from a wrong password, not by time either. Callers that would wait long are told to come
//! back, so a flood of attempts holds no memory.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

/// How long an attempt waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest password that is looked at.
pub const LONGEST: usize = 1024;

/// Why a password was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many at once.
    #[error("too many attempts at once")]
    Busy,
    /// The machine has no random source or no memory.
    #[error("the password could not be computed: {0}")]
    Failed(String),
}

/// The one place where passwords are computed.
#[derive(Debug)]
pub struct Passwords(Semaphore);

impl Default for Passwords {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Passwords {
    /// What is kept of a password.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.alone(move || hash(&password)).await?
    }

    /// Whether the password is the one kept; `kept` is absent for an unknown name, which takes as long.
    pub async fn matches(&self, password: String, kept: Option<String>) -> Result<bool, PasswordError> {
        self.alone(move || match kept {
            Some(kept) => Ok(verify(&password, &kept)),
            None => hash(&password).map(|_| false),
        })
        .await?
    }

    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(PATIENCE, self.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(PasswordError::Busy) };
        tokio::task::spawn_blocking(work).await.map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let failed = |error: argon2::Error| PasswordError::Failed(error.to_string());
    // Of the settings OWASP calls equal, the one with the least memory: the allocator keeps what was once taken.
    let params = Params::new(7 * 1024, 5, 1, None).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError::Failed(error.to_string()))
}

fn verify(password: &str, kept: &str) -> bool {
    let Ok(kept) = PasswordHash::new(kept) else {
        tracing::error!("a kept password is damaged");
        return false;
    };
    Argon2::default().verify_password(password.as_bytes(), &kept).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_matches() {
        let passwords = Passwords::default();
        let kept = passwords.hash("right".to_owned()).await.unwrap();
        assert!(kept.starts_with("$argon2id$"));
        assert!(passwords.matches("right".to_owned(), Some(kept.clone())).await.unwrap());
        assert!(!passwords.matches("wrong".to_owned(), Some(kept)).await.unwrap());
        assert!(!passwords.matches("right".to_owned(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_damaged_record_matches_nothing() {
        let passwords = Passwords::default();
        assert!(!passwords.matches(String::new(), Some(String::new())).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_turned_away() {
        let passwords = Passwords::default();
        let _busy = passwords.0.acquire().await.unwrap();
        assert!(matches!(passwords.matches("x".to_owned(), None).await, Err(PasswordError::Busy)));
    }
}
