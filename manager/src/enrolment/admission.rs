//! Who may have a certificate, and under which name.
//!
//! Owns: the seam ([`Admission`]) and its body for join tokens out of a file. Never: makes a certificate, counts
//! attempts. A token is a bearer secret: whoever holds the token of a role can join as any part of that role, unless its
//! line names one. Tokens are compared in constant time, as hashes, so that neither content nor length is told.

use std::path::{Path, PathBuf};

use darner_chassis::identity::Role;
use sha2::{Digest, Sha256};

/// What somebody wants a certificate for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it says it is.
    pub role: Role,
    /// Which one it says it is.
    pub name: String,
}

/// Why somebody gets none. Said to whoever asks: it tells nothing of the tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token does not let it join under this role and name.
    #[error("the token does not let {} `{}` join", .0.role, .0.name)]
    Token(Claim),
    /// Nobody can tell now.
    #[error("tokens cannot be checked now: {0}")]
    Unchecked(String),
}

/// Decides whether a token lets somebody join.
#[tonic::async_trait]
pub trait Admission: Send + Sync + std::fmt::Debug {
    /// Whether this token lets whoever shows it join as it claims.
    async fn admit(&self, token: &str, claim: &Claim) -> Result<(), Refused>;
}

/// Largest token file: lines of ten thousand nodes.
const LARGEST_FILE: u64 = 2 << 20;
/// The name that stands for any.
const ANY: &str = "*";

/// Join tokens out of a file, read at every question: it is asked seldom, and a token taken out counts no more.
#[derive(Debug)]
pub struct JoinTokens {
    path: PathBuf,
}

impl JoinTokens {
    /// The tokens of a file; every mistake in it is told by its line.
    pub fn open(path: &Path) -> Result<Self, String> {
        read(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

#[tonic::async_trait]
impl Admission for JoinTokens {
    async fn admit(&self, token: &str, claim: &Claim) -> Result<(), Refused> {
        let lines = read(&self.path).map_err(|words| {
            tracing::error!(error = words, "join tokens are of no use");
            Refused::Unchecked("the manager's log says why".to_owned())
        })?;
        let shown = Sha256::digest(token.as_bytes());
        // All are looked at, whatever is found before.
        let lets = lines.iter().filter(|line| line.fits(claim) & line.is(&shown)).count();
        if lets > 0 { Ok(()) } else { Err(Refused::Token(claim.clone())) }
    }
}

struct Line {
    role: Role,
    name: String,
    hash: [u8; 32],
}

impl Line {
    fn fits(&self, claim: &Claim) -> bool {
        self.role == claim.role && (self.name == ANY || self.name == claim.name)
    }

    fn is(&self, shown: &[u8]) -> bool {
        self.hash.iter().zip(shown).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

fn read(path: &Path) -> Result<Vec<Line>, String> {
    let told = |words: String| format!("`ca.tokens`: {}: {words}", path.display());
    let size = std::fs::metadata(path).map_err(|error| told(error.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(told("it is larger than 2 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let parsed: Result<Vec<_>, _> =
        lines.map(|(at, line)| parse(line).map_err(|words| told(format!("line {at}: {words}")))).collect();
    match parsed {
        Ok(lines) if lines.is_empty() => Err(told("it holds no token".to_owned())),
        other => other,
    }
}

fn parse(line: &str) -> Result<Line, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[role, name, token] = words.as_slice() else {
        return Err("expected `ROLE NAME TOKEN`".to_owned());
    };
    // The text of a wrong role is not repeated: the words may stand in another order, the token first.
    let role = role.parse().map_err(|_unknown| "the first word is no role".to_owned())?;
    if role == Role::Manager {
        return Err("the manager issues its own certificate".to_owned());
    }
    Ok(Line { role, name: name.to_owned(), hash: Sha256::digest(token.as_bytes()).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(role: Role, name: &str) -> Claim {
        Claim { role, name: name.to_owned() }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[tokio::test]
    async fn a_token_lets_join_its_own_role_and_name_only() {
        let file = file("# ours\nseed-peer * aaa\npeer-daemon node-1 bbb\npeer-daemon node-2 ccc\n");
        let tokens = JoinTokens::open(file.path()).unwrap();
        assert_eq!(tokens.admit("aaa", &claim(Role::SeedPeer, "any")).await, Ok(()));
        assert_eq!(tokens.admit("bbb", &claim(Role::PeerDaemon, "node-1")).await, Ok(()));
        for (token, role, name) in [
            ("aaa", Role::PeerDaemon, "node-1"),
            ("bbb", Role::SeedPeer, "node-1"),
            ("bbb", Role::PeerDaemon, "node-2"),
            ("", Role::SeedPeer, "any"),
            ("aa", Role::SeedPeer, "any"),
            ("*", Role::SeedPeer, "any"),
            ("aaa", Role::Manager, "any"),
        ] {
            let refused = tokens.admit(token, &claim(role, name)).await.unwrap_err();
            assert!(matches!(refused, Refused::Token(_)), "{token} {role} {name}");
        }
    }

    #[tokio::test]
    async fn a_token_taken_out_of_the_file_counts_no_more() {
        let file = file("seed-peer * aaa\nseed-peer * bbb\n");
        let tokens = JoinTokens::open(file.path()).unwrap();
        let seed = claim(Role::SeedPeer, "s");
        assert_eq!(tokens.admit("aaa", &seed).await, Ok(()));
        std::fs::write(file.path(), "seed-peer * bbb\n").unwrap();
        assert!(tokens.admit("aaa", &seed).await.is_err());
        assert_eq!(tokens.admit("bbb", &seed).await, Ok(()));
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(tokens.admit("bbb", &seed).await, Err(Refused::Unchecked(_))));
    }

    #[test]
    fn a_mistake_is_told_by_its_line_and_without_the_token() {
        for bad in ["seed-peer canary", "canary seed-peer *", "manager * canary", "seed-peer * canary x"] {
            let file = file(&format!("seed-peer * aaa\n{bad}\n"));
            let words = JoinTokens::open(file.path()).unwrap_err();
            assert!(words.contains("`ca.tokens`") && words.contains("line 2"), "{words}");
            assert!(!words.contains("canary"), "{words}");
        }
        assert!(JoinTokens::open(file("# none\n").path()).unwrap_err().contains("no token"));
    }
}
