//! The words of the Dragonfly documents, accepted as they stand there.
//!
//! `proxies[].regx` decide swarm or pass-through; they are never an allow-list. `insecure: true` is accepted, warned
//! about once and weakens nothing. `defaultFilter` is accepted and without effect: there it keeps signatures out of the
//! name of a file; here an object is named by its own digest, and what has none is not shared.

use regex::RegexSet;
use serde::{Deserialize, Deserializer, Serialize};

/// `proxy.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Proxy {
    /// Accepted and without effect, `A&B&C` or a list: no query key belongs to the name of an object here.
    #[serde(deserialize_with = "text_or_list")]
    pub default_filter: Vec<String>,
    /// Accepted; upstreams are verified whatever stands here.
    pub security: Security,
    /// Where Dragonfly listens; `git.listen` is what counts here.
    pub tcp_listen: TcpListen,
    /// The registry that `/v2/` mirrors.
    pub registry_mirror: RegistryMirror,
    /// Which URLs go through the swarm.
    pub proxies: Vec<Rule>,
}

/// `proxy.security.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Security {
    /// Accepted and without effect: an origin is always verified.
    pub insecure: bool,
    /// Accepted and without effect; see `upstreamCa`.
    pub cacert: String,
    /// Accepted and without effect; see `git.tls.cert`.
    pub cert: String,
    /// Accepted and without effect; see `git.tls.key`.
    pub key: String,
}

/// `proxy.tcpListen.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpListen {
    /// Accepted and without effect.
    pub namespace: String,
    /// Accepted and without effect: `git.listen` is what counts.
    pub port: Option<u16>,
}

/// `proxy.registryMirror.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegistryMirror {
    /// The registry.
    pub url: String,
    /// Accepted and without effect: an origin is always verified.
    pub insecure: bool,
    /// Accepted and without effect; see `upstreamCa`.
    pub certs: Vec<String>,
    /// Accepted and without effect.
    pub direct: bool,
}

/// `proxy.proxies[].*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// A regular expression over the whole URL.
    pub regx: String,
    /// Accepted and without effect: the allow-list says which scheme an upstream has.
    pub use_https: bool,
    /// Pass through although the expression matches.
    pub direct: bool,
}

/// The rules, compiled.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Absent without the vocabulary: then every object goes through the swarm.
    swarm: Option<(RegexSet, Vec<bool>)>,
}

impl Rules {
    /// Compiles the rules; a wrong expression is named with its key.
    pub fn new(proxy: Option<&Proxy>) -> Result<Self, String> {
        let Some(proxy) = proxy else { return Ok(Self::default()) };
        for (at, rule) in proxy.proxies.iter().enumerate() {
            regex::Regex::new(&rule.regx).map_err(|error| format!("`proxy.proxies[{at}].regx`: {error}"))?;
        }
        let set = RegexSet::new(proxy.proxies.iter().map(|rule| &rule.regx))
            .map_err(|error| format!("`proxy.proxies`: {error}"))?;
        let direct = proxy.proxies.iter().map(|rule| rule.direct).collect();
        let swarm = (!proxy.proxies.is_empty()).then_some((set, direct));
        Ok(Self { swarm })
    }

    /// Whether content at this URL goes through the swarm. The first rule that matches decides; without any rules
    /// everything that names an object does.
    pub fn swarm(&self, url: &str) -> bool {
        let Some((set, direct)) = &self.swarm else { return true };
        let first = set.matches(url).iter().next();
        first.is_some_and(|at| direct.get(at) == Some(&false))
    }
}

fn text_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    let list = match Either::deserialize(deserializer)? {
        Either::Text(text) => text.split('&').map(str::to_owned).collect(),
        Either::List(list) => list,
    };
    Ok(list.into_iter().filter(|key| !key.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_may_be_a_text_or_a_list() {
        for json in [r#"{"defaultFilter":"A&B&"}"#, r#"{"defaultFilter":["A","B"]}"#] {
            assert_eq!(serde_json::from_str::<Proxy>(json).unwrap().default_filter, ["A", "B"]);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |regx: &str, direct| Rule { regx: regx.to_owned(), direct, use_https: false };
        let proxies = vec![rule("secret", true), rule("blobs/sha256.*", false)];
        let rules = Rules::new(Some(&Proxy { proxies, ..Proxy::default() })).unwrap();
        assert!(rules.swarm("https://h/v2/blobs/sha256:aa"));
        assert!(!rules.swarm("https://h/secret/blobs/sha256:aa"));
        assert!(!rules.swarm("https://h/other"));
        assert!(Rules::new(None).unwrap().swarm("https://h/other"));
    }

    #[test]
    fn a_wrong_expression_is_named() {
        let proxies = vec![Rule { regx: "(".to_owned(), ..Rule::default() }];
        let words = Rules::new(Some(&Proxy { proxies, ..Proxy::default() })).unwrap_err();
        assert!(words.contains("`proxy.proxies[0].regx`"), "{words}");
    }
}
