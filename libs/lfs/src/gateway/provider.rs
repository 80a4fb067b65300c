//! Forges we know: where their repositories are, and where their objects come from.
//!
//! Owns: host names, as found in real Batch answers. Never: asks anybody; `--repo` asks the forge itself.

use std::fmt;

/// A scheme and a host, with a port when it is not the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `HOST[:PORT]`.
    pub host: String,
}

impl Base {
    /// An https base.
    pub fn https(host: &str) -> Self {
        Self { scheme: "https", host: host.to_owned() }
    }

    /// Reads `[http://|https://]HOST[:PORT][/...]`; https when not said, the path is not ours to judge.
    pub fn parse(entry: &str) -> Option<Self> {
        let (scheme, rest) = match entry.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            Some(_) => return None,
            None => ("https", entry),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let right = url::Url::parse(&format!("{scheme}://{host}/")).is_ok_and(|url| url.has_host());
        (right && !host.contains([' ', '?', '#'])).then(|| Self { scheme, host: host.to_ascii_lowercase() })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

/// What a client must be told about a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Where repositories are cloned from and Batches go.
    pub forge: Base,
    /// Where the objects come from, besides the forge itself.
    pub contents: Vec<Base>,
    /// User name and variable of the token that its CI hands to a job.
    pub job: (&'static str, &'static str),
}

impl Provider {
    /// The forge of this name or address.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "github" | "github.com" => Some(Self {
                forge: Base::https("github.com"),
                contents: vec![Base::https("github-cloud.githubusercontent.com")],
                job: ("x-access-token", "GITHUB_TOKEN"),
            }),
            // Objects of gitlab.com come from the forge's own host.
            "gitlab" | "gitlab.com" => Some(Self {
                forge: Base::https("gitlab.com"),
                contents: Vec::new(),
                job: ("gitlab-ci-token", "CI_JOB_TOKEN"),
            }),
            "huggingface" | "huggingface.co" => Some(Self {
                forge: Base::https("huggingface.co"),
                contents: [
                    "cdn-lfs.huggingface.co",
                    "cdn-lfs-us-1.huggingface.co",
                    "cdn-lfs-eu-1.huggingface.co",
                    "cdn-lfs.hf.co",
                    "cdn-lfs-us-1.hf.co",
                    "cdn-lfs-eu-1.hf.co",
                    "cas-bridge.xethub.hf.co",
                ]
                .map(Base::https)
                .to_vec(),
                job: ("hf_user", "HF_TOKEN"),
            }),
            other if other.contains(['.', ':']) || other == "localhost" => {
                let job = ("token", "GIT_TOKEN");
                Some(Self { forge: Base::parse(other)?, contents: Vec::new(), job })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_ones_own_is_its_own_content_host_until_told_otherwise() {
        let provider = Provider::named("http://git.example.com:8080").expect("a host");
        assert_eq!(provider.forge.to_string(), "http://git.example.com:8080");
        assert!(provider.contents.is_empty());
    }

    #[test]
    fn a_word_that_is_no_forge_and_no_host_is_not_guessed() {
        for word in ["githup", "", "ssh://git@github.com", "ftp://a.b"] {
            assert_eq!(Provider::named(word), None, "{word}");
        }
    }

    #[test]
    fn a_base_leaves_out_user_and_path() {
        assert_eq!(
            Base::parse("https://me:secret@Git.Example:8443/org/repo"),
            Base::parse("git.example:8443")
        );
        assert_eq!(
            Base::parse("[2001:db8::1]:8443").map(|base| base.host),
            Some("[2001:db8::1]:8443".into())
        );
        assert_eq!(Base::parse("a b"), None);
    }
}
