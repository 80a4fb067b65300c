//! Which host a repository's objects come from, found the way the documents tell people to: let git-lfs download one
//! object and read where its answer points.
//!
//! Owns: a temporary clone without files, and reading git-lfs's own trace. Never: a credential of ours; git and git-lfs
//! use the user's. The clone is removed at the end; after a crash it lies in the system's temporary directory.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::failure::Failure;
use crate::cli::up::passing_directory;
use darner_lfs::gateway::provider::{Base, Provider};

/// Asks the repository.
pub fn provider(repo: &str) -> Result<Provider, Failure> {
    let mut provider = match Base::parse(repo).filter(|_| repo.contains("://")) {
        Some(base) => Provider::named(&base.host)
            .filter(|known| known.forge == base)
            .or_else(|| Provider::named(&base.to_string())),
        None => ssh_host(repo).and_then(Provider::named),
    }
    .ok_or_else(|| Failure::usage(format!("`--repo {repo}` is no address of a repository")))?;
    let clone = passing_directory("repo")?;
    let found = content_host(repo, &clone);
    // What is left of it is the temporary directory's business.
    drop(std::fs::remove_dir_all(&clone));
    let base = found?;
    if base != provider.forge && !provider.contents.contains(&base) {
        provider.contents.push(base);
    }
    Ok(provider)
}

/// `git@host:path` and `ssh://[user@]host[:port]/path`.
fn ssh_host(repo: &str) -> Option<&str> {
    let rest = repo.strip_prefix("ssh://").unwrap_or(repo);
    let authority = rest.split(['/', ':']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty() && (repo.starts_with("ssh://") || repo.contains(':'))).then_some(host)
}

fn content_host(repo: &str, clone: &Path) -> Result<Base, Failure> {
    let path = clone.to_string_lossy();
    // Without files and without blobs: only the pointers are fetched, when git-lfs looks for them.
    git(
        repo,
        clone,
        &["clone", "--quiet", "--depth", "1", "--filter=blob:limit=1k", "--no-checkout", repo, &path],
        false,
    )?;
    let (listed, _) = git(repo, clone, &["lfs", "ls-files", "--name-only"], false)?;
    let Some(file) = listed.lines().next() else {
        return Err(Failure::negative(format!("{repo} has no Git LFS object in its newest commit")));
    };
    let include = format!("--include={file}");
    let (_, trace) = git(repo, clone, &["lfs", "fetch", "origin", "HEAD", &include], true)?;
    first_href(&trace).ok_or_else(|| {
        Failure::negative(format!("git-lfs did not say where the objects of {repo} come from"))
            .hint("run GIT_CURL_VERBOSE=1 git clone by hand and look for `href`")
    })
}

/// Runs git without the user's rewrites of this repository: they may lead to us already.
fn git(repo: &str, clone: &Path, arguments: &[&str], traced: bool) -> Result<(String, String), Failure> {
    let mut command = Command::new("git");
    // The longest prefix wins, and none is longer than the whole.
    command.args([
        "-c",
        &format!("url.{repo}.insteadOf={repo}"),
        "-c",
        "lfs.transfer.enablehrefrewrite=false",
    ]);
    command.current_dir(clone).args(arguments).stdin(Stdio::inherit());
    command.env("GIT_LFS_SKIP_SMUDGE", "1");
    if traced {
        command.env("GIT_TRACE", "1").env("GIT_CURL_VERBOSE", "1");
    }
    let output = command.output().map_err(|error| Failure::negative(format!("cannot run git: {error}")))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // A traced download may end badly and still have told what we want to know.
    if output.status.success() || traced {
        return Ok((String::from_utf8_lossy(&output.stdout).into_owned(), errors));
    }
    let what = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    Err(Failure::negative(format!("git {what} failed: {}", errors.trim_end())))
}

/// The host of the first `href` in a trace of git-lfs.
fn first_href(trace: &str) -> Option<Base> {
    let (_, rest) = trace.split_once("\"href\":")?;
    let (_, rest) = rest.split_once('"')?;
    let (href, _) = rest.split_once('"')?;
    Base::parse(href)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_the_answer_git_lfs_traces() {
        let trace = "15:31:04 trace git-lfs: HTTP: {\"objects\":[{\"oid\":\"c0\",\"actions\":{\"download\":\
            {\"href\":\"https://github-cloud.githubusercontent.com/alambic/media/c0?X-Amz-Signature=s\"}}}]}";
        assert_eq!(first_href(trace), Some(Base::https("github-cloud.githubusercontent.com")));
        assert_eq!(first_href("no answer"), None);
    }

    #[test]
    fn the_forge_of_an_ssh_address_is_its_host() {
        assert_eq!(ssh_host("git@github.com:o/r.git"), Some("github.com"));
        assert_eq!(ssh_host("ssh://git@git.example:2222/o/r.git"), Some("git.example"));
        assert_eq!(ssh_host("/a/path"), None);
    }
}
