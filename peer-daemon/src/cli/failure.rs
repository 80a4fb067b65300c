//! How a command that did not succeed ends: in words, with a hint, and with an exit code a script can rely on.
//!
//! Owns: the two ways to fail and how they are printed. Never: the decision to fail. After a crash there is
//! nothing to do here: the kernel's own status is the answer then.

use std::fmt;
use std::process::ExitCode;

/// What a command gives back.
pub type Outcome = Result<(), Failure>;

/// Which exit code a failure ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The answer is no, or the work could not be done: 1.
    Negative,
    /// The call itself is wrong, or asks for a part that is not here yet: 2.
    Usage,
}

/// Why a command ends without success, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    words: String,
    hint: Option<String>,
}

impl Failure {
    /// The work could not be done.
    pub fn negative(words: impl Into<String>) -> Self {
        Self { kind: Kind::Negative, words: words.into(), hint: None }
    }

    /// The call is wrong.
    pub fn usage(words: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, words: words.into(), hint: None }
    }

    /// The call asks for a part of Darner that a later issue brings.
    pub fn later(what: &str) -> Self {
        Self::usage(format!("{what} is not part of this build yet; it comes later"))
    }

    /// The same failure with the next thing to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Which code it ends with.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self.kind {
            Kind::Negative => ExitCode::from(1),
            Kind::Usage => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.words)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// An I/O failure in words: what was tried, on which path, and why it did not work.
pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::negative(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_prints_an_error_line_and_a_hint_line() {
        let failure = Failure::negative("port 1 is in use").hint("choose another");
        assert_eq!(failure.to_string(), "error: port 1 is in use\nhint: choose another");
        assert_eq!(Failure::negative("no").to_string(), "error: no");
    }

    #[test]
    fn a_part_that_comes_later_is_a_usage_failure() {
        let failure = Failure::later("`--redis`");
        assert_eq!(failure.kind(), Kind::Usage);
        assert!(failure.to_string().contains("`--redis`"));
        assert!(failure.to_string().contains("later"));
    }
}
