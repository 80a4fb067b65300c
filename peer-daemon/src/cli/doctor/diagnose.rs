//! The judgement: does what git would do lead through Darner.
//!
//! Owns: the rules, pure. Never: asks anything.

use super::facts::Facts;

/// One thing worth saying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// As it should be.
    Well(String),
    /// Good to know.
    Note(String),
    /// A reason why the clone goes past Darner, or fails.
    Wrong(String),
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// How it goes through Darner, when it does.
    pub through: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What to do next.
    pub next: String,
}

/// Judges.
pub(super) fn diagnose(facts: &Facts) -> Report {
    let mut findings = Vec::new();
    let lfs_there = tools(facts, &mut findings);
    let how = mode(facts);
    let mut sound = lfs_there;
    sound &= overrides(facts, how, &mut findings);
    sound &= route(facts, how, &mut findings);
    let through = match how {
        Some(mode) if sound => Some(mode.words().to_owned()),
        _ => None,
    };
    Report { through, findings, next: next(facts, how) }
}

/// The ways to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Gateway,
    HrefRewrite,
    Proxy,
}

impl Mode {
    fn words(self) -> &'static str {
        match self {
            Self::Gateway => "the forge's address is rewritten to the gateway (B)",
            Self::HrefRewrite => "the addresses of objects are rewritten to the gateway (A)",
            Self::Proxy => "the addresses of objects are rewritten and go to the proxy (C)",
        }
    }
}

fn mode(facts: &Facts) -> Option<Mode> {
    let gateway = facts.gateway.as_deref();
    let prefixed = |url: &str| gateway.is_some_and(|gateway| url.starts_with(&format!("{gateway}/")));
    if facts.endpoint.as_deref().is_some_and(prefixed) {
        return Some(Mode::Gateway);
    }
    if facts.href_rewrite && facts.rewrites.iter().any(|(base, _)| prefixed(base)) {
        return Some(Mode::HrefRewrite);
    }
    let downgraded = facts
        .rewrites
        .iter()
        .any(|(base, prefix)| base.starts_with("http://") && prefix.starts_with("https://"));
    (facts.href_rewrite && facts.proxy.is_some() && downgraded).then_some(Mode::Proxy)
}

fn tools(facts: &Facts, findings: &mut Vec<Finding>) -> bool {
    match &facts.lfs {
        None => {
            findings.push(Finding::Wrong("git-lfs is not installed: there is nothing to make faster".into()));
            return false;
        }
        Some(version) => {
            findings.push(Finding::Well(format!("{}, {version}", facts.git.as_deref().unwrap_or("git"))));
        }
    }
    let version = facts.lfs.as_deref().and_then(lfs_version);
    if version.is_some_and(|version| version < (2, 8, 0)) {
        findings.push(Finding::Wrong(
            "this git-lfs cannot rewrite addresses of objects; 2.8 and later can".into(),
        ));
        return false;
    }
    if version.is_some_and(|version| version < (3, 8, 1)) {
        findings.push(Finding::Note("git-lfs 3.8.1 closes known security holes; this one is older".into()));
    }
    true
}

fn lfs_version(text: &str) -> Option<(u32, u32, u32)> {
    let numbers = text.strip_prefix("git-lfs/")?.split(' ').next()?;
    let mut parts = numbers.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Configuration that leads elsewhere, whatever the rewrites say.
fn overrides(facts: &Facts, how: Option<Mode>, findings: &mut Vec<Finding>) -> bool {
    let mut sound = true;
    if let (Some(url), true) = (&facts.overridden, how != Some(Mode::Gateway)) {
        findings.push(Finding::Note(format!(
            "`lfs.url` sends Batches to {url}, not to the remote's own endpoint"
        )));
    }
    if let Some(agent) = &facts.agent {
        findings.push(Finding::Wrong(format!(
            "`lfs.standalonetransferagent` ({agent}) moves the objects: git-lfs asks nobody else"
        )));
        sound = false;
    }
    if facts.userinfo && how != Some(Mode::Gateway) {
        findings.push(Finding::Note(
            "the remote's address carries a user name: a rewrite of https://HOST/ does not match it \
             (`darner git-config --ci` prints one that does)"
                .into(),
        ));
    }
    let ssh = facts.written.as_deref().is_some_and(is_ssh);
    if ssh && facts.ssh_transfer.as_deref() != Some("never") {
        findings.push(Finding::Wrong(
            "the remote is SSH and `lfs.sshtransfer` is not `never`: objects may travel inside the SSH connection, \
             past everybody"
                .into(),
        ));
        sound = false;
    }
    sound & clashes(facts, findings)
}

/// Two rewrites of one prefix: git-lfs takes any of them.
fn clashes(facts: &Facts, findings: &mut Vec<Finding>) -> bool {
    let mut sound = true;
    let mut seen: Vec<&str> = Vec::new();
    for (_, prefix) in &facts.rewrites {
        if seen.contains(&prefix.as_str()) {
            findings.push(Finding::Wrong(format!(
                "two `url.*.insteadOf` rewrite {prefix}: which one wins is chance"
            )));
            sound = false;
        }
        seen.push(prefix);
    }
    sound
}

/// Whether the way to the daemon is open.
fn route(facts: &Facts, how: Option<Mode>, findings: &mut Vec<Finding>) -> bool {
    let mut sound = true;
    match (how, &facts.gateway) {
        (None, _) if facts.written.is_none() && facts.endpoint.is_none() => {
            findings
                .push(Finding::Wrong("the clone has no such remote, so there is nothing to fetch".into()));
        }
        (None, _) => {
            let endpoint = facts.endpoint.as_deref().unwrap_or("an unknown endpoint");
            findings.push(Finding::Wrong(format!(
                "git-lfs asks {endpoint} directly, and no rewrite leads to a daemon"
            )));
        }
        (Some(Mode::Proxy), _) => {
            findings.push(Finding::Note(
                "`http.proxy` also sends everything else of git through the daemon".into(),
            ));
        }
        (Some(_), Some(gateway)) if !facts.reached => {
            findings.push(Finding::Wrong(format!(
                "nobody listens on {gateway}: every git command on that host fails"
            )));
            sound = false;
        }
        (Some(_), Some(gateway)) => findings.push(Finding::Well(format!("the daemon on {gateway} listens"))),
        (Some(_), None) => {}
    }
    if how == Some(Mode::Gateway) && !facts.helper {
        findings.push(Finding::Note(
            "no credential helper with useHttpPath is set for the gateway: private repositories will ask for a password"
                .into(),
        ));
    }
    if how.is_some() && facts.proxied {
        findings.push(Finding::Wrong(
            "a proxy of the environment stands before the daemon: name it in no_proxy".into(),
        ));
        sound = false;
    }
    sound
}

fn next(facts: &Facts, how: Option<Mode>) -> String {
    let host = facts.written.as_deref().and_then(host).unwrap_or("HOST");
    match how {
        None => format!("paste what `darner git-config {host}` prints"),
        Some(_) => "mend what is marked `wrong`".to_owned(),
    }
}

fn is_ssh(url: &str) -> bool {
    url.starts_with("ssh://") || (!url.contains("://") && url.contains('@') && url.contains(':'))
}

fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    let host = if url.contains("://") { host } else { host.split(':').next()? };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests;
