//! The values-style file of `darner up --config`: the words of the Helm chart, the seed documents' included.
//!
//! Owns: which words are known at which place, and telling of all that are not, each by its dotted name. Never: the
//! meaning of a service's own configuration; `<section>.config` is handed to the service, which checks it itself.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::failure::{Failure, io};

/// A part of the file: one kind of process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// How many; absent: the command's default.
    pub replicas: Option<u16>,
    /// False: none of it runs.
    pub enable: Option<bool>,
    /// The service's own configuration, passed on as it is.
    pub config: Map<String, Value>,
}

impl Section {
    /// How many processes the file asks for.
    pub fn count(&self) -> Option<u16> {
        if self.enable == Some(false) { Some(0) } else { self.replicas }
    }
}

/// What a values file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// Section `scheduler`.
    pub scheduler: Section,
    /// Section `seedPeer`.
    pub seed_peer: Section,
    /// Section `dfdaemon`, also spelled `peerDaemon`.
    pub dfdaemon: Section,
    /// Section `manager`.
    pub manager: Section,
    /// Key `upstreams`.
    pub upstreams: Vec<String>,
    /// Key `resolve`.
    pub resolve: Vec<String>,
    /// Key `upstreamCa`.
    pub upstream_ca: Option<PathBuf>,
    /// Key `otlp`.
    pub otlp: Option<String>,
    /// Key `tenant`.
    pub tenant: Option<String>,
    /// Key `mtls.enabled`.
    pub mtls: Option<bool>,
    /// Keys that are fine in a cluster of pods and mean nothing in a local one.
    pub ignored: Vec<String>,
}

/// Reads a values file; every mistake in it is told at once.
pub fn read(path: &Path) -> Result<Values, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| io("read", path, &error))?;
    parse(&text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
        Failure::usage(format!("{} is not right:\n{}", path.display(), lines.join("\n")))
            .hint("the known words are those of the chart's values.yaml; a service's own keys go under `<part>.config`")
    })
}

/// The meaning of a values text, or all its mistakes.
pub fn parse(text: &str) -> Result<Values, Vec<String>> {
    let document: Value = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_saphyr::from_str(text).map_err(|error| vec![format!("not YAML: {error}")])?
    };
    let mut reader = Reader::default();
    let values = match document {
        Value::Null => Values::default(),
        Value::Object(map) => reader.values(map),
        _ => return Err(vec!["the file must be a map of keys".to_owned()]),
    };
    if reader.mistakes.is_empty() { Ok(values) } else { Err(reader.mistakes) }
}

/// Walks the document and gathers mistakes on the way.
#[derive(Default)]
struct Reader {
    mistakes: Vec<String>,
}

impl Reader {
    fn values(&mut self, map: Map<String, Value>) -> Values {
        let mut values = Values::default();
        for (key, value) in map {
            match key.as_str() {
                "scheduler" => values.scheduler = self.section(&key, value, &mut values.ignored),
                "seedPeer" => values.seed_peer = self.section(&key, value, &mut values.ignored),
                "dfdaemon" | "peerDaemon" => values.dfdaemon = self.section(&key, value, &mut values.ignored),
                "manager" => values.manager = self.section(&key, value, &mut values.ignored),
                "upstreams" => values.upstreams = self.texts(&key, value),
                "resolve" => values.resolve = self.texts(&key, value),
                "upstreamCa" => values.upstream_ca = self.text(&key, value).map(PathBuf::from),
                "otlp" => values.otlp = self.text(&key, value),
                "tenant" => values.tenant = self.text(&key, value),
                "mtls" => values.mtls = self.mtls(value, &mut values.ignored),
                "jaeger" => self.jaeger(value, &mut values.ignored),
                _ => self.unknown(&key),
            }
        }
        values
    }

    /// One kind of process: the seed documents' words beside `config`.
    fn section(&mut self, name: &str, value: Value, ignored: &mut Vec<String>) -> Section {
        let mut section = Section::default();
        for (key, value) in self.map(name, value) {
            let path = format!("{name}.{key}");
            match key.as_str() {
                "enable" => section.enable = self.truth(&path, &value),
                "replicas" => section.replicas = self.count(&path, &value),
                "config" => section.config = self.map(&path, value),
                "image" | "tag" => ignored.push(path),
                "metrics" => {
                    for (inner, value) in self.map(&path, value) {
                        let path = format!("{path}.{inner}");
                        match inner.as_str() {
                            "enable" => drop(self.truth(&path, &value)),
                            _ => self.unknown(&path),
                        }
                    }
                }
                _ => self.unknown(&path),
            }
        }
        section
    }

    fn mtls(&mut self, value: Value, ignored: &mut Vec<String>) -> Option<bool> {
        let mut enabled = None;
        for (key, value) in self.map("mtls", value) {
            let path = format!("mtls.{key}");
            match key.as_str() {
                "enabled" => enabled = self.truth(&path, &value),
                "trustDomain" => ignored.push(path),
                _ => self.unknown(&path),
            }
        }
        enabled
    }

    fn jaeger(&mut self, value: Value, ignored: &mut Vec<String>) {
        for (key, value) in self.map("jaeger", value) {
            let path = format!("jaeger.{key}");
            match key.as_str() {
                "enable" => {
                    if self.truth(&path, &value) == Some(true) {
                        ignored.push(path);
                    }
                }
                _ => self.unknown(&path),
            }
        }
    }

    fn map(&mut self, path: &str, value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            _ => {
                self.mistakes.push(format!("`{path}` must be a map of keys"));
                Map::new()
            }
        }
    }

    fn truth(&mut self, path: &str, value: &Value) -> Option<bool> {
        let truth = value.as_bool();
        if truth.is_none() {
            self.mistakes.push(format!("`{path}` must be true or false"));
        }
        truth
    }

    fn count(&mut self, path: &str, value: &Value) -> Option<u16> {
        let count = value.as_u64().and_then(|count| u16::try_from(count).ok());
        if count.is_none() {
            self.mistakes.push(format!("`{path}` must be a small whole number"));
        }
        count
    }

    fn text(&mut self, path: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            Value::Null => None,
            _ => {
                self.mistakes.push(format!("`{path}` must be text"));
                None
            }
        }
    }

    fn texts(&mut self, path: &str, value: Value) -> Vec<String> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| self.text(&format!("{path}.{index}"), item))
                .collect(),
            _ => {
                self.mistakes.push(format!("`{path}` must be a list of texts"));
                Vec::new()
            }
        }
    }

    fn unknown(&mut self, path: &str) {
        self.mistakes.push(format!("`{path}` is not a known key"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of the seed documents, shortened where it repeats itself.
    const SEED: &str = "
scheduler:
  image:
    repository: dragonflyoss/scheduler
    tag: latest
  replicas: 1
  metrics:
    enable: true
  config:
    verbose: true
    pprofPort: 18066
seedPeer:
  enable: true
  image: dragonflyoss/dfdaemon
  tag: latest
  replicas: 2
  metrics:
    enable: true
  config:
    verbose: true
dfdaemon:
  enable: true
  image: dragonflyoss/dfdaemon
  config:
    verbose: true
    proxy:
      defaultFilter: 'X-Amz-Algorithm&X-Amz-Credential'
      tcpListen:
        namespace: ''
        port: 65001
      proxies:
        - regx: blobs/sha256.*
        - regx: github-cloud.githubusercontent.com.*
manager:
  replicas: 1
  config:
    verbose: true
jaeger:
  enable: true
";

    #[test]
    fn the_seed_documents_file_is_taken_as_it_is() {
        let values = parse(SEED).expect("the seed file is fine");
        assert_eq!(values.scheduler.count(), Some(1));
        assert_eq!(values.seed_peer.count(), Some(2));
        assert_eq!(values.dfdaemon.count(), None);
        assert_eq!(values.dfdaemon.config["proxy"]["proxies"][0]["regx"], "blobs/sha256.*");
        assert_eq!(values.manager.config["verbose"], true);
        assert!(values.ignored.contains(&"jaeger.enable".to_owned()));
    }

    #[test]
    fn every_unknown_key_is_named_with_its_whole_path() {
        let mistakes =
            parse("bogus: 1\nscheduler:\n  replica: 2\n  metrics: {on: true}\njaeger: {port: 1}\n")
                .expect_err("four words nobody knows");
        for path in ["`bogus`", "`scheduler.replica`", "`scheduler.metrics.on`", "`jaeger.port`"] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(path)), "{path} in {mistakes:?}");
        }
    }

    #[test]
    fn wrong_types_are_told_beside_unknown_keys() {
        let mistakes = parse("upstreams: github.com\nseedPeer: {enable: 3, replicas: -1}\nresolve: [1]\n")
            .expect_err("four wrong types");
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        assert!(mistakes.iter().any(|mistake| mistake.contains("`resolve.0`")));
    }

    #[test]
    fn the_three_upstream_keys_are_those_of_the_chart() {
        let values = parse("upstreams: [github.com]\nresolve: ['a:1:127.0.0.1']\nupstreamCa: /ca.pem\n")
            .expect("known keys");
        assert_eq!(values.upstreams, ["github.com"]);
        assert_eq!(values.resolve, ["a:1:127.0.0.1"]);
        assert_eq!(values.upstream_ca, Some(PathBuf::from("/ca.pem")));
    }

    #[test]
    fn certificates_are_asked_for_in_the_words_of_the_chart() {
        assert_eq!(parse("mtls: {enabled: true, trustDomain: t}\n").expect("known keys").mtls, Some(true));
        assert!(parse("mtls: {enabled: 1, enable: true}\n").expect_err("two mistakes").len() == 2);
    }

    #[test]
    fn a_part_that_is_switched_off_counts_as_none_of_it() {
        let values = parse("seedPeer: {enable: false, replicas: 3}\n").expect("known keys");
        assert_eq!(values.seed_peer.count(), Some(0));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("").expect("nothing is fine"), Values::default());
        assert_eq!(parse("# only words\n").expect("nothing is fine"), Values::default());
    }

    #[test]
    fn a_file_that_is_no_map_or_no_yaml_is_refused() {
        assert!(parse("- a\n- b\n").is_err());
        assert!(parse("a: [1\n").is_err());
    }
}
