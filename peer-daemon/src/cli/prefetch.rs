//! `darner prefetch`: asks the manager to fetch a repository's objects before anybody needs them.
//!
//! Owns: the call and an honest account of the answer. Never: fetches anything itself, shows a token.

use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::failure::{Failure, Outcome, io};
use super::http::{Call, message};
use super::say;
use super::up::Cluster;

/// Ask the manager to fetch a repository's objects.
#[derive(Debug, Clone, clap::Args)]
pub struct PrefetchArgs {
    /// Address of the repository
    remote: String,
    /// Branch, tag or commit
    #[arg(long = "ref", value_name = "REF", default_value = "HEAD")]
    reference: String,
    /// Only paths that match (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No paths that match (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Address of the manager
    #[arg(long, value_name = "URL", env = "DARNER_MANAGER")]
    manager: Option<String>,
    /// File with a token of the manager
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Data directory of a running `darner up`: its manager and its admin account are used
    #[arg(long, value_name = "DIR", env = "DARNER_DATA")]
    data: Option<PathBuf>,
}

/// Posts the wish.
pub async fn run(args: PrefetchArgs) -> Outcome {
    let local = args.data.as_deref().map(local).transpose()?;
    let manager = args
        .manager
        .clone()
        .or_else(|| local.as_ref().map(|cluster| cluster.manager.url.clone()))
        .ok_or_else(|| {
            Failure::usage("which manager?").hint("give --manager URL, or --data DIR of `darner up`")
        })?;
    let base = Url::parse(&manager)
        .map_err(|error| Failure::usage(format!("`--manager {manager}` is no address: {error}")))?;
    let (name, value) = credential(&args, local.as_ref(), &base).await?;
    let call =
        Call::new(Method::POST, at(&base, "/api/v1/prefetches")).json("application/json", &wish(&args));
    let answer = call.header(name, &value).send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    told(status, &body)
}

fn wish(args: &PrefetchArgs) -> Value {
    let mut wish = json!({ "remote": args.remote, "ref": args.reference, "dryRun": args.dry_run });
    if let Value::Object(wish) = &mut wish {
        for (key, patterns) in [("include", &args.include), ("exclude", &args.exclude)] {
            if !patterns.is_empty() {
                wish.insert(key.to_owned(), json!(patterns));
            }
        }
    }
    wish
}

/// The header that says who asks: a token, or a session of the local cluster's admin.
async fn credential(
    args: &PrefetchArgs,
    local: Option<&Cluster>,
    base: &Url,
) -> Result<(&'static str, String), Failure> {
    if let Some(path) = &args.token_file {
        return Ok(("authorization", format!("Bearer {}", read(path)?)));
    }
    if let Ok(token) = std::env::var("DARNER_TOKEN") {
        return Ok(("authorization", format!("Bearer {token}")));
    }
    let Some(cluster) = local else {
        return Err(Failure::usage("who asks?").hint("give --token-file FILE, or the variable DARNER_TOKEN"));
    };
    let login = json!({ "user": cluster.admin.user, "password": read(&cluster.admin.password_file)? });
    let call = Call::new(Method::POST, at(base, "/api/v1/session")).json("application/json", &login);
    let answer = call.send().await?;
    let status = answer.status();
    let cookies: Vec<String> = answer
        .response
        .headers()
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next().map(str::to_owned))
        .collect();
    if status.is_success() && !cookies.is_empty() {
        return Ok(("cookie", cookies.join("; ")));
    }
    Err(Failure::negative(format!("the manager did not let the admin account in ({status})")))
}

fn told(status: StatusCode, body: &[u8]) -> Outcome {
    if status.is_success() {
        say::result(String::from_utf8_lossy(body).trim_end());
        return Ok(());
    }
    let words = message(body);
    let failure = Failure::negative(format!("the manager answers {status}: {words}"));
    Err(match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => failure
            .hint("this manager has no prefetch yet; a `git lfs fetch` through any daemon warms the cluster"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failure.hint("the token must belong to an operator")
        }
        _ => failure,
    })
}

/// The cluster of `darner up` in this directory.
pub fn local(data: &Path) -> Result<Cluster, Failure> {
    let path = data.join(super::up::CLUSTER_FILE);
    let text = std::fs::read(&path)
        .map_err(|error| io("read", &path, &error).hint("is `darner up` running with this --data?"))?;
    serde_json::from_slice(&text).map_err(|error| Failure::negative(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| io("read", path, &error))?;
    Ok(text.trim().to_owned())
}

fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> PrefetchArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: PrefetchArgs,
        }
        <Line as clap::Parser>::try_parse_from(words.split_whitespace()).expect("arguments").args
    }

    #[test]
    fn the_wish_has_the_words_of_the_contract() {
        let wish = wish(&args("p https://h/o/r --ref main --include *.bin --exclude old/* --dry-run"));
        let expected = json!({
            "remote": "https://h/o/r", "ref": "main", "dryRun": true, "include": ["*.bin"], "exclude": ["old/*"],
        });
        assert_eq!(wish, expected);
    }

    #[test]
    fn a_manager_without_prefetch_is_not_dressed_up() {
        let told =
            told(StatusCode::NOT_FOUND, b"{\"message\":\"no such route\"}").expect_err("no").to_string();
        assert!(
            told.contains("404") && told.contains("no such route") && told.contains("no prefetch yet"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn without_a_manager_the_question_is_which_one() {
        let failure = run(args("p https://h/o/r")).await.expect_err("no manager");
        assert!(failure.to_string().contains("--manager"), "{failure}");
    }
}
