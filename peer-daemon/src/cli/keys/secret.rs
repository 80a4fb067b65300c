//! Files as a Secret of the pod's own namespace.
//!
//! Owns: a Secret laid out as files, completed, and written back in one step with the pod's own service account. Never:
//! touches an entry that is there; somebody who wrote at the same time is read again, five times at most.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::Api;
use crate::cli::failure::{Failure, Outcome, io};
use crate::cli::say;

/// Writers that came in between are met again so often.
const TRIES: usize = 5;

/// Makes what the Secret lacks, and the Secret when there is none: `complete` makes the files that are missing in a
/// directory and says which. What the Secret holds then is in the directory that is returned.
pub(super) async fn provide(
    api: &Api,
    name: &str,
    labels: &[String],
    complete: impl Fn(&Path) -> Result<Vec<String>, Failure>,
) -> Result<TempDir, Failure> {
    let what = format!("Secret {name}");
    for _ in 0..TRIES {
        let there = api.look(&what, &api.secrets(Some(name))).await?;
        let home =
            tempfile::tempdir().map_err(|error| io("make a directory in", &std::env::temp_dir(), &error))?;
        if let Some(secret) = &there {
            lay_out(secret, home.path())?;
        }
        let made = complete(home.path())?;
        if made.is_empty() && there.is_some() {
            say::note(&format!("{what}: everything is there"));
            return Ok(home);
        }
        let secret = composed(name, labels, there.as_ref(), home.path())?;
        let (method, path) = match there {
            Some(_) => (Method::PUT, api.secrets(Some(name))),
            None => (Method::POST, api.secrets(None)),
        };
        if api.write(&what, (method, &path), &secret).await? {
            say::note(&format!("{what}: {}", super::told(&made)));
            return Ok(home);
        }
    }
    Err(Failure::negative(format!("{what}: somebody else writes it all the time")))
}

/// What a Secret holds, as files; nothing where there is none.
pub(super) async fn read(api: &Api, name: &str) -> Result<TempDir, Failure> {
    let home =
        tempfile::tempdir().map_err(|error| io("make a directory in", &std::env::temp_dir(), &error))?;
    if let Some(secret) = api.look(&format!("Secret {name}"), &api.secrets(Some(name))).await? {
        lay_out(&secret, home.path())?;
    }
    Ok(home)
}

/// Removes the Secret; one that is not there is as good.
pub(super) async fn remove(api: &Api, name: &str) -> Outcome {
    api.remove(&format!("Secret {name}"), &api.secrets(Some(name))).await
}

/// Writes the entries of a Secret as files.
fn lay_out(secret: &Value, home: &Path) -> Outcome {
    for (name, text) in secret.get("data").and_then(Value::as_object).into_iter().flatten() {
        let content = text.as_str().and_then(|text| STANDARD.decode(text).ok());
        let content = content
            .ok_or_else(|| Failure::negative(format!("the entry {name} of the Secret cannot be read")))?;
        let path = home.join(name);
        std::fs::write(&path, content).map_err(|error| io("write", &path, &error))?;
    }
    Ok(())
}

/// The Secret with every file of the directory.
fn composed(name: &str, labels: &[String], there: Option<&Value>, home: &Path) -> Result<Value, Failure> {
    let failed = |error: &std::io::Error| io("read", home, error);
    let mut data = BTreeMap::new();
    for entry in std::fs::read_dir(home).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let content = std::fs::read(entry.path()).map_err(|error| failed(&error))?;
        data.insert(entry.file_name().to_string_lossy().into_owned(), STANDARD.encode(content));
    }
    if let Some(there) = there {
        let mut secret = there.clone();
        if let Some(secret) = secret.as_object_mut() {
            secret.insert("data".to_owned(), json!(data));
        }
        return Ok(secret);
    }
    let mut all = BTreeMap::new();
    for label in labels {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`--label {label}` needs KEY=VALUE")))?;
        all.insert(key, value);
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "labels": all }, "data": data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_secret_holds_survives_a_second_making() {
        let home = tempfile::tempdir().expect("a directory");
        super::super::provide(home.path(), &["s-0".to_owned()]).expect("keys");
        let labels = ["app=dragonfly".to_owned()];
        let mut secret = composed("keys", &labels, None, home.path()).expect("a secret");
        assert_eq!(secret["metadata"]["labels"]["app"], "dragonfly");
        secret["metadata"]["resourceVersion"] = json!("7");

        let again = tempfile::tempdir().expect("a directory");
        lay_out(&secret, again.path()).expect("files");
        super::super::provide(again.path(), &["s-0".to_owned(), "s-1".to_owned()]).expect("keys");
        let grown = composed("keys", &[], Some(&secret), again.path()).expect("a secret");
        for entry in ["tickets", "grants-s-0"] {
            assert_eq!(grown["data"][entry], secret["data"][entry], "{entry}");
        }
        assert!(grown["data"]["grants-s-1"].is_string());
        // Kubernetes refuses it when somebody else wrote in between.
        assert_eq!(grown["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn a_label_that_is_none_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        let words = composed("keys", &["app".to_owned()], None, home.path()).unwrap_err().to_string();
        assert!(words.contains("`--label app`"), "{words}");
    }
}
