//! What can go wrong on the way to an upstream, and whose business it is.
//!
//! Owns: the one error of this crate and its consequences (`blame`, `status`). Never: a credential, a query string
//! or a header value in any of its words; hosts and statuses only.

/// Who an error belongs to: it decides who may hear of it and whether another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The presented credential: told to its own caller, never to another one.
    Credential,
    /// The upstream host: everybody waits for it.
    Host,
    /// This node or its configuration.
    Here,
}

/// Why an upstream did not give what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The address of the request cannot be used.
    #[error("the address is refused: {0}")]
    Malformed(&'static str),
    /// The upstream is not on the allow-list.
    #[error("`{upstream}` is not an allowed upstream: add it to the key `upstreams` (or `--allow-upstream`)")]
    NotAllowed {
        /// `scheme://host:port`.
        upstream: String,
    },
    /// The host's address is one nobody may be sent to.
    #[error("`{host}` is refused: its address is {kind}; {advice}")]
    Address {
        /// The host as asked for.
        host: String,
        /// What kind of address it has.
        kind: &'static str,
        /// What an operator can do about it.
        advice: &'static str,
    },
    /// The upstream answered with an error.
    #[error("the origin answered {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own words, cut short, for the caller whose credential it was.
        message: String,
    },
    /// The upstream, as a host, asks everybody to wait.
    #[error("`{host}` asks to wait for {retry_after_s} s")]
    Busy {
        /// The host.
        host: String,
        /// Seconds until it may be asked again, at least 1.
        retry_after_s: u32,
    },
    /// No answer: name, route, TLS or time.
    #[error("`{host}` cannot be reached: {words}")]
    Unreachable {
        /// The host.
        host: String,
        /// What failed.
        words: String,
    },
    /// The answer ended before its end.
    #[error("the origin's answer broke off at byte {at}")]
    Cut {
        /// Offset of the first byte that did not come.
        at: u64,
    },
    /// The answer is encoded although identity was asked for: its bytes are not the object's.
    #[error("the origin insists on content-encoding `{0}`")]
    Encoding(String),
    /// The answer came without the range that was asked for, and the wanted bytes lie too far into it.
    #[error("the origin does not answer ranges")]
    Unranged,
    /// More than five redirects.
    #[error("the origin redirects too often")]
    TooManyRedirects,
    /// A redirect that may not be followed.
    #[error("a redirect of the origin is refused: {0}")]
    Redirect(&'static str),
    /// The answer contradicts itself or the request.
    #[error("the origin's answer makes no sense: {0}")]
    Nonsense(&'static str),
}

impl OriginError {
    /// Whose business this is.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Refused { status, .. } if *status < 500 => Blame::Credential,
            Self::Malformed(_) | Self::NotAllowed { .. } | Self::Address { .. } => Blame::Here,
            Self::Redirect(_) | Self::TooManyRedirects => Blame::Credential,
            _ => Blame::Host,
        }
    }

    /// The HTTP status that says the same to a client.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NotAllowed { .. } | Self::Address { .. } => 403,
            Self::Refused { status, .. } => *status,
            Self::Busy { .. } => 429,
            _ => 502,
        }
    }

    /// Seconds after which another try makes sense; `None` where it does not say.
    pub const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Busy { retry_after_s, .. } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Refused { status, .. } => matches!(*status, 408 | 425 | 500 | 502 | 504),
            _ => false,
        }
    }
}

/// Everything that is wrong with the configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWords(pub Vec<String>);

impl std::fmt::Display for ConfigWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigWords {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> OriginError {
        OriginError::Refused { status, message: String::new() }
    }

    #[test]
    fn a_refusal_belongs_to_its_credential() {
        for status in [400, 401, 403, 404, 410, 416, 422] {
            assert_eq!(refused(status).blame(), Blame::Credential, "{status}");
            assert_eq!(refused(status).status(), status);
            assert!(!refused(status).is_passing());
        }
    }

    #[test]
    fn an_outage_belongs_to_the_host_and_passes() {
        let busy = OriginError::Busy { host: "h".to_owned(), retry_after_s: 3 };
        assert_eq!((busy.blame(), busy.status(), busy.retry_after_s()), (Blame::Host, 429, Some(3)));
        for error in [refused(500), refused(502), OriginError::Cut { at: 3 }, busy] {
            assert_eq!(error.blame(), Blame::Host);
            assert!(error.is_passing(), "{error}");
        }
    }

    #[test]
    fn a_host_that_is_not_listed_names_the_key_to_set() {
        let error = OriginError::NotAllowed { upstream: "https://h:443".to_owned() };
        assert!(error.to_string().contains("`upstreams`"));
        assert_eq!((error.status(), error.blame()), (403, Blame::Here));
    }
}
