//! The authority of a cluster and what lets parts join it, as Secrets: one for the manager, one for each other role.
//!
//! Owns: which entry is in which Secret. The key of the authority and the list of tokens are the manager's alone; every
//! other role has the certificate and its own token in a Secret of its own, so that a machine learns no more than what
//! runs on it needs. Never: replaces an entry that is there.

use std::path::Path;

use darner_chassis::authority::founding::{Founding, JOINING};
use darner_chassis::identity::Role;

use super::api::Api;
use super::secret;
use crate::cli::failure::{Failure, Outcome, io};
use crate::cli::up::write;

/// The Secrets of an authority.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuthorityArgs {
    /// Secret that receives an authority: its certificate, its key and the tokens with which parts join
    #[arg(long, value_name = "NAME", group = "where", conflicts_with = "out", requires = "trust_domain")]
    pub authority: Option<String>,
    /// Name that every certificate of that authority carries
    #[arg(long, value_name = "NAME", requires = "authority")]
    pub trust_domain: Option<String>,
    /// ROLE=NAME of the Secret in which the parts of a role find certificate and token; repeatable
    #[arg(long = "join", value_name = "ROLE=NAME", requires = "authority", value_parser = join)]
    pub joins: Vec<(Role, String)>,
}

fn join(text: &str) -> Result<(Role, String), String> {
    let (role, name) = text.split_once('=').ok_or("expected ROLE=NAME")?;
    let role = role.parse().map_err(|error| format!("{error}"))?;
    if !JOINING.contains(&role) {
        return Err(format!("{role} joins nobody"));
    }
    Ok((role, name.to_owned()))
}

impl AuthorityArgs {
    /// Makes what is missing of them.
    pub(super) async fn provide(&self, api: &Api, labels: &[String]) -> Outcome {
        let (Some(name), Some(trust_domain)) = (&self.authority, &self.trust_domain) else { return Ok(()) };
        let home = secret::provide(api, name, labels, |home| found(home, trust_domain)).await?;
        let founding = read(home.path(), trust_domain)?;
        for (role, name) in &self.joins {
            secret::provide(api, name, labels, |home| admit(home, &founding, *role)).await?;
        }
        Ok(())
    }

    /// Removes all of them.
    pub(super) async fn remove(&self, api: &Api) -> Outcome {
        for name in self.authority.iter().chain(self.joins.iter().map(|(_, name)| name)) {
            secret::remove(api, name).await?;
        }
        Ok(())
    }
}

/// Writes what the directory lacks of an authority; the names.
fn found(home: &Path, trust_domain: &str) -> Result<Vec<String>, Failure> {
    let founding = read(home, trust_domain)?;
    let all = [("ca.key", founding.key), ("ca.crt", founding.certificate), ("tokens", founding.tokens)];
    keep(home, &all)
}

/// Writes what the directory lacks for a part of this role to join; the names.
fn admit(home: &Path, founding: &Founding, role: Role) -> Result<Vec<String>, Failure> {
    let token = founding
        .token(role)
        .ok_or_else(|| Failure::negative(format!("the tokens of the authority hold none for any {role}")))?;
    keep(home, &[("ca.crt", founding.certificate.clone()), ("token", token.to_owned())])
}

/// What the directory holds, and what it lacks made anew.
fn read(home: &Path, trust_domain: &str) -> Result<Founding, Failure> {
    let authority = match (text(home, "ca.crt")?, text(home, "ca.key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(Failure::negative(
                "of the authority only one of ca.crt and ca.key is there".to_owned(),
            ));
        }
    };
    Founding::complete(trust_domain, authority, text(home, "tokens")?)
        .map_err(|error| Failure::negative(format!("authority: {error}")))
}

/// Writes the files that are not there yet; their names.
fn keep(home: &Path, files: &[(&str, String)]) -> Result<Vec<String>, Failure> {
    let mut made = Vec::new();
    for (name, content) in files {
        if text(home, name)?.is_none() {
            write(&home.join(name), content)?;
            made.push((*name).to_owned());
        }
    }
    Ok(made)
}

fn text(home: &Path, name: &str) -> Result<Option<String>, Failure> {
    let path = home.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", &path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_only_what_is_missing_is_added() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(found(home.path(), "t").expect("made"), ["ca.key", "ca.crt", "tokens"]);
        let before = text(home.path(), "ca.key").expect("read");
        std::fs::remove_file(home.path().join("tokens")).expect("removed");
        assert_eq!(found(home.path(), "t").expect("made"), ["tokens"]);
        assert_eq!(found(home.path(), "t").expect("made"), Vec::<String>::new());
        assert_eq!(text(home.path(), "ca.key").expect("read"), before);
    }

    #[test]
    fn half_an_authority_is_told_and_left_alone() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("ca.crt"), "x").expect("written");
        assert!(found(home.path(), "t").unwrap_err().to_string().contains("only one of"));
    }

    #[test]
    fn a_part_finds_its_own_token_and_not_the_key() {
        let (ca, home) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
        found(ca.path(), "t").expect("made");
        let founding = read(ca.path(), "t").expect("read");
        assert_eq!(admit(home.path(), &founding, Role::SeedPeer).expect("made"), ["ca.crt", "token"]);
        let token = text(home.path(), "token").expect("read").expect("a token");
        assert!(founding.tokens.contains(&format!("seed-peer * {token}\n")));
        assert_eq!(text(home.path(), "ca.key").expect("read"), None);
        assert_eq!(text(home.path(), "ca.crt").expect("read").expect("there"), founding.certificate);
    }

    #[test]
    fn a_secret_to_join_with_names_a_role_that_joins() {
        assert_eq!(join("peer-daemon=x"), Ok((Role::PeerDaemon, "x".to_owned())));
        for wrong in ["x", "king=x", "manager=x"] {
            assert!(join(wrong).is_err(), "{wrong}");
        }
    }
}
