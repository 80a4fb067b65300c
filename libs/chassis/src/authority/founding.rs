//! What an authority needs before its first certificate: itself, and a token for each kind of part that may join.
//!
//! Owns: these texts, and that nothing that is there is made anew. Never: writes them anywhere; whoever asked keeps
//! them, and gives each part no more than the certificate and its own token.

use crate::authority::{AuthorityError, found};
use crate::clock::{Clock as _, Random as _, System};
use crate::identity::Role;

/// Who joins with a token.
pub const JOINING: [Role; 3] = [Role::Scheduler, Role::SeedPeer, Role::PeerDaemon];

/// The texts of an authority and of the tokens that let others join.
pub struct Founding {
    /// PEM of its certificate: the root everybody is given.
    pub certificate: String,
    /// PEM of its private key.
    pub key: String,
    /// Lines `ROLE NAME TOKEN`, as the manager reads them.
    pub tokens: String,
}

impl std::fmt::Debug for Founding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Founding").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Founding {
    /// Makes what is not there: `authority` (certificate, key) and `tokens` are texts of an earlier run.
    pub fn complete(
        trust_domain: &str,
        authority: Option<(String, String)>,
        tokens: Option<String>,
    ) -> Result<Self, AuthorityError> {
        let (certificate, key) = if let Some(there) = authority {
            there
        } else {
            let founded = found(trust_domain, System.now_ms())?;
            (founded.certificate, founded.key)
        };
        let tokens = tokens.unwrap_or_else(|| {
            let lines = JOINING.map(|role| [role.as_str(), " * ", &token(), "\n"].concat());
            lines.concat()
        });
        Ok(Self { certificate, key, tokens })
    }

    /// The token that lets any part of this role join, when there is one.
    pub fn token(&self, role: Role) -> Option<&str> {
        self.tokens.lines().find_map(|line| line.strip_prefix(&format!("{role} * "))).map(str::trim)
    }
}

/// A new secret of 256 bits.
fn token() -> String {
    let mut bytes = [0; 32];
    System.fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn a_second_run_keeps_what_is_there() {
        let first = Founding::complete("t", None, None).unwrap();
        assert!(Authority::of(&first.certificate, &first.key).is_ok());
        let there = Some((first.certificate.clone(), first.key.clone()));
        let again = Founding::complete("t", there, Some(first.tokens.clone())).unwrap();
        assert_eq!((again.certificate, again.tokens), (first.certificate, first.tokens));
    }

    #[test]
    fn each_role_has_a_token_of_its_own() {
        let made = Founding::complete("t", None, None).unwrap();
        let tokens = JOINING.map(|role| made.token(role).unwrap().to_owned());
        assert!(tokens.iter().all(|token| token.len() == 64), "{tokens:?}");
        assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);
        assert_eq!(made.token(Role::Manager), None);
    }

    #[test]
    fn neither_key_nor_token_is_shown_in_debug_output() {
        let made = Founding::complete("t", None, None).unwrap();
        let shown = format!("{made:?}");
        assert!(!shown.contains("PRIVATE") && !shown.contains(made.token(Role::Scheduler).unwrap()));
    }
}
