//! The pushed configuration (`ConfigVersion.json`): what the operator wants of every node, on top of its own file.
//!
//! Owns: the keys, their shapes, and the one rule that a push narrows what a node's file allows and never widens it:
//! the only way to use a wish is to meet it with the node's own value, and each meeting returns at most that value.
//! Never: I/O. An older node refuses a key it does not know by name and keeps what it had.

use serde_json::{Map, Value};

/// Most entries of a pushed list; longer ones are a mistake, not a wish.
const MAX_ENTRIES: usize = 256;
/// Longest text of one entry.
const MAX_ENTRY_BYTES: usize = 512;
/// Every key, for the words of a refusal.
const KEYS: &str = "`upstreams`, `public`, `fallback`, `storage.budget`, `prefetchOnBatch`, `serve`";

/// What the operator wants. The default wants nothing: every node keeps to its own file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Only these of a node's upstreams may be dialled; absent: all of them.
    upstreams: Option<Vec<String>>,
    /// Only these of a node's public prefixes stay exempt from proof; absent: all of them.
    public: Option<Vec<String>>,
    /// False: nobody but a seed reads the origin, also when all seeds are gone.
    fallback_to_origin: bool,
    /// Upper bound of every node's storage budget.
    budget_bytes: Option<u64>,
    /// False: a Batch no longer starts downloads ahead of its GETs.
    prefetch_on_batch: bool,
    /// False is the kill switch: git is sent to its origin for everything.
    serve: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            upstreams: None,
            public: None,
            fallback_to_origin: true,
            budget_bytes: None,
            prefetch_on_batch: true,
            serve: true,
        }
    }
}

/// Every mistake of one pushed configuration, each with its key in back-ticks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Mistakes(pub Vec<String>);

impl Wanted {
    /// Read a pushed configuration; all mistakes at once.
    pub fn parse(json: &[u8]) -> Result<Self, Mistakes> {
        let value: Value =
            serde_json::from_slice(json).map_err(|error| Mistakes(vec![format!("not JSON: {error}")]))?;
        Self::from_value(&value)
    }

    /// The same for JSON already parsed.
    pub fn from_value(value: &Value) -> Result<Self, Mistakes> {
        let Value::Object(keys) = value else {
            return Err(Mistakes(vec!["the configuration must be a JSON object".to_owned()]));
        };
        let mut wanted = Self::default();
        let mut mistakes = Vec::new();
        for (key, value) in keys {
            if let Err(mistake) = wanted.take(key, value) {
                mistakes.extend(mistake);
            }
        }
        if mistakes.is_empty() { Ok(wanted) } else { Err(Mistakes(mistakes)) }
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), Vec<String>> {
        match key {
            "upstreams" => self.upstreams = Some(texts(key, value)?),
            "public" => self.public = Some(texts(key, value)?),
            "fallback" => self.fallback_to_origin = fallback(value)?,
            "prefetchOnBatch" => self.prefetch_on_batch = flag(key, value)?,
            "serve" => self.serve = flag(key, value)?,
            "storage" => self.take_storage(value)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn take_storage(&mut self, value: &Value) -> Result<(), Vec<String>> {
        let Value::Object(keys) = value else {
            return Err(vec!["`storage` must be an object".to_owned()]);
        };
        self.budget_bytes = budget(keys)?;
        Ok(())
    }

    /// The upstreams a node may dial: its own, less what the operator did not keep.
    pub fn upstreams(&self, own: &[String]) -> Vec<String> {
        kept(self.upstreams.as_deref(), own, upstream_name)
    }

    /// Whether the operator named the upstreams to keep at all.
    pub const fn narrows_upstreams(&self) -> bool {
        self.upstreams.is_some()
    }

    /// The public prefixes of a node that stay public.
    pub fn public(&self, own: &[String]) -> Vec<String> {
        kept(self.public.as_deref(), own, |entry| entry.trim_end_matches('/').to_owned())
    }

    /// Whether a daemon may read the origin when all seeds are gone, given what its own file says.
    pub fn fallback_to_origin(&self, own: bool) -> bool {
        own && self.fallback_to_origin
    }

    /// The storage budget, given the node's own.
    pub fn budget_bytes(&self, own: u64) -> u64 {
        self.budget_bytes.map_or(own, |wanted| wanted.min(own))
    }

    /// Whether a Batch starts downloads, given what the node's own file says.
    pub fn prefetch_on_batch(&self, own: bool) -> bool {
        own && self.prefetch_on_batch
    }

    /// False while the kill switch is thrown.
    pub fn serves(&self) -> bool {
        self.serve
    }
}

fn unknown(key: &str) -> Vec<String> {
    let shown: String = key.chars().take(80).collect();
    vec![format!("unknown key `{shown}`; a push knows {KEYS}")]
}

fn flag(key: &str, value: &Value) -> Result<bool, Vec<String>> {
    value.as_bool().ok_or_else(|| vec![format!("`{key}` must be true or false")])
}

fn fallback(value: &Value) -> Result<bool, Vec<String>> {
    match value.as_str() {
        Some("origin") => Ok(true),
        Some("fail") => Ok(false),
        _ => Err(vec!["`fallback` must be `origin` or `fail`".to_owned()]),
    }
}

fn budget(keys: &Map<String, Value>) -> Result<Option<u64>, Vec<String>> {
    let mut found = None;
    let mut mistakes = Vec::new();
    for (key, value) in keys {
        match (key.as_str(), bytes(value)) {
            ("budget", Some(bytes)) => found = Some(bytes),
            ("budget", None) => {
                mistakes.push("`storage.budget` must be a number of bytes or a text as `10GiB`".to_owned());
            }
            _ => mistakes.extend(unknown(&format!("storage.{key}"))),
        }
    }
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

fn texts(key: &str, value: &Value) -> Result<Vec<String>, Vec<String>> {
    let entries = value.as_array().ok_or_else(|| vec![format!("`{key}` must be a list of texts")])?;
    if entries.len() > MAX_ENTRIES {
        return Err(vec![format!("`{key}` has more than {MAX_ENTRIES} entries")]);
    }
    let mut mistakes = Vec::new();
    let mut texts = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        match entry.as_str() {
            Some(text) if plain(text) => texts.push(text.to_owned()),
            _ => mistakes
                .push(format!("`{key}[{index}]` must be a text of 1 to {MAX_ENTRY_BYTES} printable bytes")),
        }
    }
    if mistakes.is_empty() { Ok(texts) } else { Err(mistakes) }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ENTRY_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Bytes as a number, or a text with one of the usual units.
fn bytes(value: &Value) -> Option<u64> {
    let Some(text) = value.as_str() else { return value.as_u64() };
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// An upstream entry in one spelling: scheme said, default port dropped, lower case.
fn upstream_name(entry: &str) -> String {
    let entry = entry.trim_end_matches('/').to_ascii_lowercase();
    let (scheme, host) = entry.split_once("://").unwrap_or(("https", &entry));
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    format!("{scheme}://{}", host.strip_suffix(default_port).unwrap_or(host))
}

fn kept(wanted: Option<&[String]>, own: &[String], name: impl Fn(&str) -> String) -> Vec<String> {
    let Some(wanted) = wanted else { return own.to_vec() };
    let wanted: Vec<String> = wanted.iter().map(|entry| name(entry)).collect();
    own.iter().filter(|entry| wanted.contains(&name(entry))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Wanted, Mistakes> {
        Wanted::parse(json.as_bytes())
    }

    fn texts_of(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn nothing_wanted_leaves_a_node_as_it_is() {
        let wanted = parsed("{}").unwrap();
        let own = texts_of(&["github.com"]);
        assert_eq!(wanted, Wanted::default());
        assert_eq!(wanted.upstreams(&own), own);
        assert_eq!(wanted.budget_bytes(7), 7);
        assert!(wanted.serves() && wanted.fallback_to_origin(true) && wanted.prefetch_on_batch(true));
    }

    #[test]
    fn a_push_cannot_add_an_upstream_the_node_does_not_have() {
        let wanted = parsed(r#"{"upstreams":["https://github.com:443/","evil.example"]}"#).unwrap();
        assert_eq!(wanted.upstreams(&texts_of(&["GitHub.com", "gitlab.com"])), texts_of(&["GitHub.com"]));
    }

    #[test]
    fn a_plain_http_entry_is_not_the_https_one() {
        let wanted = parsed(r#"{"upstreams":["http://h"]}"#).unwrap();
        assert_eq!(wanted.upstreams(&texts_of(&["h", "http://h:80"])), texts_of(&["http://h:80"]));
    }

    #[test]
    fn an_empty_list_closes_everything() {
        let wanted = parsed(r#"{"upstreams":[],"public":[]}"#).unwrap();
        assert!(wanted.upstreams(&texts_of(&["h"])).is_empty());
        assert!(wanted.public(&texts_of(&["https://h/o"])).is_empty());
    }

    #[test]
    fn switches_only_ever_turn_off() {
        let on = parsed(r#"{"fallback":"origin","prefetchOnBatch":true,"serve":true}"#).unwrap();
        assert!(!on.fallback_to_origin(false) && !on.prefetch_on_batch(false));
        let off = parsed(r#"{"fallback":"fail","prefetchOnBatch":false,"serve":false}"#).unwrap();
        assert!(!off.fallback_to_origin(true) && !off.prefetch_on_batch(true) && !off.serves());
    }

    #[test]
    fn a_budget_takes_units_and_never_grows() {
        let wanted = parsed(r#"{"storage":{"budget":"2 GiB"}}"#).unwrap();
        assert_eq!(wanted.budget_bytes(1 << 40), 2 << 30);
        assert_eq!(wanted.budget_bytes(5), 5);
        for wrong in [r#""10GB""#, r#""-1""#, "-1", "1.5", r#""99999999999TiB""#, "null", r#""é""#] {
            assert!(parsed(&format!(r#"{{"storage":{{"budget":{wrong}}}}}"#)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_by_name() {
        let Mistakes(told) = parsed(
            r#"{"upstream":[],"serve":1,"fallback":"x","storage":{"inodes":1,"budget":[]},"public":[7]}"#,
        )
        .unwrap_err();
        for key in
            ["`upstream`", "`serve`", "`fallback`", "`storage.inodes`", "`storage.budget`", "`public[0]`"]
        {
            assert!(told.iter().any(|mistake| mistake.contains(key)), "{key} in {told:?}");
        }
    }

    #[test]
    fn only_an_object_is_a_configuration() {
        for wrong in ["[]", "null", "7", "", "{", "\"x\""] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_has_a_bound_and_plain_entries() {
        let long = format!(r#"{{"public":[{}"x"]}}"#, r#""x","#.repeat(MAX_ENTRIES));
        assert!(parsed(&long).is_err());
        assert!(parsed(r#"{"public":["a b"]}"#).is_err());
        assert!(parsed(r#"{"public":[""]}"#).is_err());
    }
}
