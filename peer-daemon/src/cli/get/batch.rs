//! A Batch for one object, through the gateway, with the credential git has for the forge.
//!
//! Owns: asking once without a credential and once with it, and telling git whether it was right. Never: keeps it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::Meant;
use crate::cli::failure::Failure;
use crate::cli::git;
use crate::cli::http::{Call, message};

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// Where the object can be read, and what goes with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    href: String,
    headers: Vec<(String, String)>,
}

impl Action {
    /// The request for the object.
    pub(super) fn call(&self) -> Result<Call, Failure> {
        let url = Url::parse(&self.href)
            .map_err(|error| Failure::negative(format!("the answer's address: {error}")))?;
        let mut call = Call::new(Method::GET, url);
        call.headers.clone_from(&self.headers);
        Ok(call)
    }
}

/// Asks the endpoint through the gateway.
pub(super) async fn ask(gateway: &Url, endpoint: &str, meant: Meant) -> Result<Action, Failure> {
    let forge = Url::parse(endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            Failure::usage(format!("`--endpoint {endpoint}`: write https://HOST/REPO.git/info/lfs"))
        })?;
    let call = call(gateway, &forge, meant)?;
    let first = call.send().await?;
    if first.status() != StatusCode::UNAUTHORIZED {
        return action(first.status(), &first.bytes().await?, meant);
    }
    let request = description(&forge);
    let filled = git::tell(&["credential", "fill"], &format!("{request}\n"))?;
    let authorization = basic(&filled.out).filter(|_| filled.well).ok_or_else(|| {
        Failure::negative(format!(
            "{} asks who you are, and git has no credential for it",
            forge.origin().ascii_serialization()
        ))
    })?;
    let second = call.header("authorization", &authorization).send().await?;
    let status = second.status();
    let verdict = if status == StatusCode::UNAUTHORIZED { "reject" } else { "approve" };
    git::tell(&["credential", verdict], &format!("{}\n", filled.out.trim_end()))?;
    action(status, &second.bytes().await?, meant)
}

fn call(gateway: &Url, forge: &Url, meant: Meant) -> Result<Call, Failure> {
    let authority = match forge.port() {
        Some(port) => format!("{}:{port}", forge.host_str().unwrap_or_default()),
        None => forge.host_str().unwrap_or_default().to_owned(),
    };
    let path = format!("/{}/{authority}{}/objects/batch", forge.scheme(), forge.path().trim_end_matches('/'));
    let url = gateway.join(&path).map_err(|error| Failure::usage(format!("not an address: {error}")))?;
    let wanted = json!({
        "operation": "download",
        "transfers": ["basic"],
        "hash_algo": "sha256",
        "objects": [{ "oid": meant.oid.to_string(), "size": meant.size.unwrap_or(0) }],
    });
    Ok(Call::new(Method::POST, url).header("accept", MEDIA_TYPE).json(MEDIA_TYPE, &wanted))
}

/// The forge as git describes one; without the LFS part, as git itself asks.
fn description(forge: &Url) -> String {
    let host = forge.port().map_or_else(
        || forge.host_str().unwrap_or_default().to_owned(),
        |port| format!("{}:{port}", forge.host_str().unwrap_or_default()),
    );
    let path = forge.path().split("/info/lfs").next().unwrap_or_default().trim_start_matches('/');
    let user =
        if forge.username().is_empty() { String::new() } else { format!("username={}\n", forge.username()) };
    format!("protocol={}\nhost={host}\npath={path}\n{user}", forge.scheme())
}

fn basic(filled: &str) -> Option<String> {
    let value = |name: &str| filled.lines().find_map(|line| line.strip_prefix(name));
    let pair = format!("{}:{}", value("username=")?, value("password=")?);
    Some(format!("Basic {}", STANDARD.encode(pair)))
}

fn action(status: StatusCode, body: &[u8], meant: Meant) -> Result<Action, Failure> {
    if status != StatusCode::OK {
        return Err(Failure::negative(format!("the endpoint answers {status}: {}", message(body))));
    }
    let told: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::negative(format!("the endpoint's answer is no JSON: {error}")))?;
    let object =
        told.pointer("/objects/0").ok_or_else(|| Failure::negative("the endpoint's answer is empty"))?;
    if let Some(error) = object.get("error") {
        let words = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        let code = error.get("code").and_then(Value::as_u64).unwrap_or_default();
        return Err(Failure::negative(format!("the endpoint refuses {}: {code} {words}", meant.oid)));
    }
    let download = object.pointer("/actions/download").or_else(|| object.pointer("/_links/download"));
    let href = download.and_then(|action| action.get("href")).and_then(Value::as_str);
    let href =
        href.ok_or_else(|| Failure::negative(format!("the endpoint does not say where {} is", meant.oid)))?;
    let headers = download
        .and_then(|action| action.get("header"))
        .and_then(Value::as_object)
        .map(|map| {
            map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        })
        .unwrap_or_default();
    Ok(Action { href: href.to_owned(), headers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use darner_lfs::Oid;

    const MEANT: Meant = Meant { oid: Oid::EMPTY, size: Some(5) };

    #[test]
    fn the_batch_goes_through_the_gateway_under_the_forges_name() {
        let gateway = Url::parse("http://127.0.0.1:65001").expect("a URL");
        let forge = Url::parse("https://h:8443/o/r.git/info/lfs").expect("a URL");
        let call = call(&gateway, &forge, MEANT).expect("a call");
        assert_eq!(call.url.as_str(), "http://127.0.0.1:65001/https/h:8443/o/r.git/info/lfs/objects/batch");
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!(body["objects"][0]["size"], 5);
    }

    #[test]
    fn git_is_asked_for_the_forges_credential_not_the_gateways() {
        let forge = Url::parse("https://me@h:8443/o/r.git/info/lfs").expect("a URL");
        assert_eq!(description(&forge), "protocol=https\nhost=h:8443\npath=o/r.git\nusername=me\n");
    }

    #[test]
    fn the_action_carries_address_and_headers() {
        let body =
            br#"{"objects":[{"oid":"x","actions":{"download":{"href":"http://g/x","header":{"A":"b"}}}}]}"#;
        let action = action(StatusCode::OK, body, MEANT).expect("an action");
        assert_eq!(action, Action { href: "http://g/x".into(), headers: vec![("A".into(), "b".into())] });
    }

    #[test]
    fn a_refusal_of_the_object_or_the_whole_is_told_in_the_endpoints_words() {
        let body = br#"{"objects":[{"oid":"x","error":{"code":404,"message":"gone"}}]}"#;
        let told = action(StatusCode::OK, body, MEANT).expect_err("refused").to_string();
        assert!(told.contains("404 gone"), "{told}");
        let told = action(StatusCode::FORBIDDEN, b"{\"message\":\"not you\"}", MEANT)
            .expect_err("refused")
            .to_string();
        assert!(told.contains("403") && told.contains("not you"), "{told}");
    }

    #[test]
    fn a_credential_needs_both_halves() {
        assert_eq!(basic("username=u\npassword=p\n").as_deref(), Some("Basic dTpw"));
        assert_eq!(basic("username=u\n"), None);
    }
}
