//! What git and git-lfs would do in this clone, asked from themselves.
//!
//! Owns: the questions. Never: judges the answers. Every answer may be missing: then git could not say.

use std::net::ToSocketAddrs;
use std::time::Duration;

use url::Url;

use crate::cli::failure::Failure;
use crate::cli::git::{self, answer};

/// A daemon on this node answers at once, or it is not there.
const REACH: Duration = Duration::from_secs(1);

/// What was found.
#[allow(clippy::struct_excessive_bools, reason = "independent answers of git, not a state")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `git version 2.39.5`
    pub git: Option<String>,
    /// `git-lfs/3.3.0 (...)`
    pub lfs: Option<String>,
    /// The remote's address as it is written down, without a credential.
    pub written: Option<String>,
    /// True when that address carries a user or a password.
    pub userinfo: bool,
    /// The endpoint git-lfs will ask.
    pub endpoint: Option<String>,
    /// `lfs.url` or `remote.<r>.lfsurl`, when one overrides the remote's.
    pub overridden: Option<String>,
    /// `url.<base>.insteadof <prefix>`, as (base, prefix).
    pub rewrites: Vec<(String, String)>,
    /// `lfs.transfer.enablehrefrewrite`
    pub href_rewrite: bool,
    /// `lfs.sshtransfer`
    pub ssh_transfer: Option<String>,
    /// `http.proxy`
    pub proxy: Option<String>,
    /// `lfs.standalonetransferagent`
    pub agent: Option<String>,
    /// A helper is set for the gateway, and it is asked with the path.
    pub helper: bool,
    /// The gateway that the configuration names.
    pub gateway: Option<String>,
    /// Whether somebody listens there.
    pub reached: bool,
    /// A proxy of the environment would stand between git and the gateway.
    pub proxied: bool,
}

/// Asks.
pub(super) fn gather(remote: &str, gateway: Option<&str>) -> Result<Facts, Failure> {
    if git::answer(&["rev-parse", "--git-dir"]).is_none() {
        return Err(Failure::negative("this is no clone").hint("run it inside the clone that should be fast"));
    }
    let written = answer(&["config", "--get", &format!("remote.{remote}.url")]);
    let userinfo = written.as_deref().is_some_and(has_userinfo);
    let rewrites = rewrites();
    let gateway =
        gateway.map(|url| url.trim_end_matches('/').to_owned()).or_else(|| named_gateway(&rewrites));
    let (helper, reached, proxied) = match gateway.as_deref() {
        Some(gateway) => (helper(gateway), reached(gateway), proxied(gateway)),
        None => (false, false, false),
    };
    Ok(Facts {
        git: answer(&["--version"]),
        lfs: answer(&["lfs", "version"]),
        written: written.as_deref().map(without_credential),
        userinfo,
        endpoint: endpoint(remote),
        overridden: answer(&["config", "--get", "lfs.url"])
            .or_else(|| answer(&["config", "--get", &format!("remote.{remote}.lfsurl")]))
            .or_else(|| answer(&["config", "-f", ".lfsconfig", "--get", "lfs.url"]))
            .map(|url| without_credential(&url)),
        rewrites,
        href_rewrite: answer(&["config", "--type=bool", "--get", "lfs.transfer.enablehrefrewrite"])
            .as_deref()
            == Some("true"),
        ssh_transfer: answer(&["config", "--get", "lfs.sshtransfer"]),
        proxy: answer(&["config", "--get", "http.proxy"]).map(|url| without_credential(&url)),
        agent: answer(&["config", "--get", "lfs.standalonetransferagent"]),
        helper,
        gateway,
        reached,
        proxied,
    })
}

/// What `git lfs env` says the endpoint of the remote is.
fn endpoint(remote: &str) -> Option<String> {
    let told = answer(&["lfs", "env"])?;
    let own = format!("Endpoint ({remote})=");
    let line =
        told.lines().find_map(|line| line.strip_prefix(&own).or_else(|| line.strip_prefix("Endpoint=")))?;
    line.split(' ').next().map(without_credential)
}

fn rewrites() -> Vec<(String, String)> {
    let told = answer(&["config", "--get-regexp", r"^url\..*\.insteadof$"]).unwrap_or_default();
    told.lines()
        .filter_map(|line| {
            let (key, prefix) = line.split_once(".insteadof ")?;
            Some((key.strip_prefix("url.")?.to_owned(), prefix.to_owned()))
        })
        .collect()
}

/// `http://HOST:PORT` of the first rewrite that has a gateway's form.
fn named_gateway(rewrites: &[(String, String)]) -> Option<String> {
    rewrites.iter().find_map(|(base, _)| {
        let (before, after) = base.split_once("/https/").or_else(|| base.split_once("/http/"))?;
        (before.starts_with("http") && !after.is_empty()).then(|| without_credential(before))
    })
}

fn helper(gateway: &str) -> bool {
    let path = answer(&["config", "--type=bool", "--get-urlmatch", "credential.useHttpPath", gateway]);
    let helper = answer(&["config", "--get-urlmatch", "credential.helper", gateway]);
    path.as_deref() == Some("true") && helper.is_some_and(|helper| !helper.is_empty())
}

fn reached(gateway: &str) -> bool {
    let Some(url) = Url::parse(gateway).ok().filter(Url::has_host) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    (host.as_str(), port).to_socket_addrs().is_ok_and(|mut addresses| {
        addresses.any(|address| std::net::TcpStream::connect_timeout(&address, REACH).is_ok())
    })
}

/// libcurl sends even 127.0.0.1 to `http_proxy` unless `no_proxy` names it.
fn proxied(gateway: &str) -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let over = if gateway.starts_with("https://") {
        set("https_proxy").or_else(|| set("HTTPS_PROXY"))
    } else {
        set("http_proxy")
    };
    let host = Url::parse(gateway).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let spared = set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default();
    over.is_some() && !spared.split(',').map(str::trim).any(|name| name == "*" || name == host)
}

fn has_userinfo(url: &str) -> bool {
    url.starts_with("http") && Url::parse(url).is_ok_and(|url| !url.username().is_empty())
}

/// A URL fit to be shown.
pub(super) fn without_credential(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url)
            if url.scheme().starts_with("http")
                && (!url.username().is_empty() || url.password().is_some()) =>
        {
            let cleared = url.set_username("").and_then(|()| url.set_password(None));
            cleared.map_or_else(|()| "an address with a credential".to_owned(), |()| url.to_string())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_an_address_is_seen_and_not_shown() {
        assert!(has_userinfo("https://job:secret@h/r"));
        assert!(!has_userinfo("git@h:r"));
        assert_eq!(without_credential("https://job:secret@h/r"), "https://h/r");
        assert_eq!(without_credential("git@h:r"), "git@h:r");
    }

    #[test]
    fn the_gateway_is_found_in_the_rewrites() {
        let rewrites = vec![
            ("git@h:".to_owned(), "https://h/".to_owned()),
            ("http://127.0.0.1:65001/https/h/".to_owned(), "https://h/".to_owned()),
        ];
        assert_eq!(named_gateway(&rewrites).as_deref(), Some("http://127.0.0.1:65001"));
        assert_eq!(named_gateway(&rewrites[..1]), None);
    }
}
