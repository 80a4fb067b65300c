//! The first account.
//!
//! Owns: `admin`, made once with a random password that lands in `<data>/admin-password`, readable by its owner
//! only. Never: touches that file once the account is there; an operator may delete it. After a crash between the
//! file and the account the next start writes a new password into the file, as the account is not there yet.

use std::io;
use std::path::{Path, PathBuf};

use darner_chassis::clock::Random;
use darner_chassis::files;

use super::password::{PasswordError, Passwords};
use super::secret;
use crate::catalog::{Catalog, CatalogError, Role, User};

/// Its name.
pub const NAME: &str = "admin";

/// Why the first account could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The file cannot be written.
    #[error("the first password cannot be written to {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The password could not be computed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The account could not be kept.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The file that receives the first password.
pub fn password_file(data: &Path) -> PathBuf {
    data.join("admin-password")
}

/// Make the first account unless it is there.
pub async fn ensure(
    catalog: &Catalog,
    passwords: &Passwords,
    random: &dyn Random,
    data: &Path,
    now_ms: i64,
) -> Result<(), FirstAdminError> {
    if catalog.user(NAME).await?.is_some() {
        return Ok(());
    }
    let password = secret::new(random);
    let path = password_file(data);
    files::replace(&path, &format!("{password}\n"))
        .map_err(|source| FirstAdminError::File { path: path.clone(), source })?;
    let password_hash = passwords.hash(password).await?;
    catalog.add_user(&User { name: NAME.to_owned(), password_hash, role: Role::Admin }, now_ms).await?;
    tracing::info!(user = NAME, file = %path.display(), "first account made, its password is in the file");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use darner_chassis::clock::System;

    use super::*;
    use crate::catalog::tests::catalog;

    #[tokio::test]
    async fn the_password_lands_once_in_a_file_of_its_owner() {
        let (dir, catalog) = catalog().await;
        let passwords = Passwords::default();
        ensure(&catalog, &passwords, &System, dir.path(), 1).await.unwrap();
        let path = password_file(dir.path());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(&path).unwrap().trim().to_owned();
        let kept = catalog.user(NAME).await.unwrap().unwrap();
        assert!(passwords.matches(password, Some(kept.password_hash)).await.unwrap());

        std::fs::remove_file(&path).unwrap();
        ensure(&catalog, &passwords, &System, dir.path(), 2).await.unwrap();
        assert!(!path.try_exists().unwrap());
    }

    #[tokio::test]
    async fn a_crash_before_the_account_leaves_no_dead_password() {
        let (dir, catalog) = catalog().await;
        std::fs::write(password_file(dir.path()), "of the crash").unwrap();
        ensure(&catalog, &Passwords::default(), &System, dir.path(), 1).await.unwrap();
        assert_ne!(std::fs::read_to_string(password_file(dir.path())).unwrap(), "of the crash");
    }

    #[tokio::test]
    async fn an_unwritable_directory_is_told_in_words() {
        let (_dir, catalog) = catalog().await;
        let nowhere = Path::new("/proc/nowhere");
        let error = ensure(&catalog, &Passwords::default(), &System, nowhere, 1).await.unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere/admin-password"), "{error}");
        assert!(catalog.user(NAME).await.unwrap().is_none());
    }
}
