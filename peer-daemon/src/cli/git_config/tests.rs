//! The printed configuration, word for word and with real git.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: GitConfigArgs,
}

fn args(words: &str) -> GitConfigArgs {
    <Line as clap::Parser>::try_parse_from(std::iter::once("git-config").chain(words.split_whitespace()))
        .expect("arguments")
        .args
}

/// What is printed for these words, without what the surrounding clone may add.
fn printed(words: &str) -> String {
    let args = args(words);
    let wish = wish(&args).expect("a wish");
    text(&args, &wish, &lines::settings(&wish)).expect("text")
}

/// The file of this name beside this test; written anew when `DARNER_GOLDEN` is set.
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/git_config/golden").join(name);
    if std::env::var_os("DARNER_GOLDEN").is_some() {
        std::fs::write(&path, got).expect("write");
    }
    let wanted = std::fs::read_to_string(&path).expect("a golden file");
    assert_eq!(got, wanted, "{name}; DARNER_GOLDEN=1 writes it anew");
}

#[test]
fn the_lines_for_each_provider_and_place_are_those_of_the_golden_files() {
    for (name, words) in [
        ("github-node.txt", "github"),
        ("github-ci-node.txt", "github --ci"),
        ("gitlab-node.txt", "gitlab"),
        ("gitlab-ci-node.txt", "gitlab --ci"),
        ("huggingface-node.txt", "huggingface"),
        ("custom-node.txt", "http://git.example.com:8080 --content-host objects.example.com"),
        ("github-org-node.txt", "github --only acme"),
        ("github-pod.yaml", "github --for pod"),
        ("gitlab-pod-commands.txt", "gitlab --for pod --form commands"),
        ("github-external.txt", "github --for external --gateway http://node.example.com:30950"),
        ("github-env.txt", "github --form env"),
        ("github-undo.txt", "github --undo"),
    ] {
        golden(name, &printed(words));
    }
}

#[test]
fn what_cannot_be_known_is_asked_for() {
    let told = |words: &str| wish(&args(words)).expect_err("something is missing").to_string();
    assert!(told("").contains("which forge"));
    assert!(told("githup").contains("`githup`"));
    assert!(told("github --for external").contains("--gateway"));
    assert!(told("github --gateway ftp://x").contains("ftp://x"));
    assert!(told("github --gateway http://h:1/path").contains("/path"));
}

#[test]
fn a_jobs_token_has_no_place_in_a_pods_list() {
    let args = args("gitlab --ci --for pod");
    let wish = wish(&args).expect("a wish");
    assert!(text(&args, &wish, &[]).is_err());
}

/// A home directory with a global git configuration of its own.
struct HomeOfOne {
    directory: tempfile::TempDir,
}

impl HomeOfOne {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        command
    }

    fn paste(&self, script: &str) {
        let status = self.command("sh").args(["-e", "-c", script]).env("CI_JOB_TOKEN", "tok3n").status();
        assert!(status.expect("sh").success(), "{script}");
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = self.command("git").args(arguments).output().expect("git");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    fn credential(&self, action: &str, request: &str) -> String {
        let mut child = self
            .command("git")
            .args(["credential", action])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git");
        child.stdin.take().expect("piped").write_all(request.as_bytes()).expect("git reads");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
    }
}

const GATEWAY: &str = "protocol=http\nhost=127.0.0.1:65001\n";

/// Two forges, each with its own password, kept by git's own `store` helper.
fn home_with_two_forges() -> HomeOfOne {
    let home = HomeOfOne::new();
    home.git(&["config", "--global", "credential.helper", "store"]);
    home.credential("approve", "protocol=https\nhost=github.com\nusername=a\npassword=for-github\n\n");
    home.credential("approve", "protocol=https\nhost=gitlab.com\nusername=b\npassword=for-gitlab\n\n");
    home.paste(&printed("github gitlab"));
    home
}

#[test]
fn two_forges_behind_one_gateway_get_each_its_own_password() {
    let home = home_with_two_forges();
    let github = home.credential("fill", &format!("{GATEWAY}path=https/github.com/o/r.git/info/lfs\n\n"));
    let gitlab = home.credential("fill", &format!("{GATEWAY}path=https/gitlab.com/o/r.git\n\n"));
    assert!(github.contains("username=a\n") && github.contains("password=for-github"), "{github}");
    assert!(gitlab.contains("username=b\n") && gitlab.contains("password=for-gitlab"), "{gitlab}");
    assert!(github.contains("host=127.0.0.1:65001"), "the answer is still the gateway's: {github}");
}

#[test]
fn a_forge_without_a_password_gets_none_of_another_forge() {
    let home = home_with_two_forges();
    for path in ["https/evil.example/o/r.git", "http/github.com/o/r.git", "https/github.com.evil.example/o"] {
        let filled = home.credential("fill", &format!("{GATEWAY}path={path}\n\n"));
        assert!(!filled.contains("password="), "{path}: {filled}");
    }
    let without_path = home.credential("fill", &format!("{GATEWAY}\n"));
    assert!(!without_path.contains("password="), "{without_path}");
}

#[test]
fn a_password_that_worked_is_kept_for_the_forge_and_a_wrong_one_forgotten() {
    let home = home_with_two_forges();
    let asked = format!("{GATEWAY}path=https/github.com/o/r.git/info/lfs\nusername=c\npassword=new\n\n");
    home.credential("approve", &asked);
    let kept = std::fs::read_to_string(home.path().join(".git-credentials")).expect("git's store");
    assert!(kept.contains("https://c:new@github.com"), "{kept}");
    assert!(!kept.contains("65001"), "nothing is kept under the gateway's name: {kept}");
    home.credential("reject", &asked);
    let kept = std::fs::read_to_string(home.path().join(".git-credentials")).expect("git's store");
    assert!(!kept.contains("c:new"), "{kept}");
    assert!(kept.contains("for-gitlab"), "{kept}");
}

#[test]
fn clones_read_through_the_gateway_and_push_straight_to_the_forge() {
    let home = home_with_two_forges();
    home.git(&["init", "--quiet", "clone"]);
    home.git(&["-C", "clone", "remote", "add", "origin", "https://github.com/o/r.git"]);
    let fetch = home.git(&["-C", "clone", "remote", "get-url", "origin"]);
    let push = home.git(&["-C", "clone", "remote", "get-url", "--push", "origin"]);
    assert_eq!(fetch, "http://127.0.0.1:65001/https/github.com/o/r.git");
    assert_eq!(push, "https://github.com/o/r.git");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn pasting_twice_is_pasting_once_and_undo_leaves_nothing_of_ours() {
    let home = HomeOfOne::new();
    home.git(&["config", "--global", "url.https://github.com/.pushInsteadOf", "gh:"]);
    let before = home.git(&["config", "--global", "--list"]);
    home.paste(&printed("github gitlab"));
    let once = home.git(&["config", "--global", "--list"]);
    home.paste(&printed("github gitlab"));
    // Git moves a key that is replaced to its end; what counts is what is there.
    assert_eq!(sorted(&home.git(&["config", "--global", "--list"])), sorted(&once));
    let helpers = home.git(&["config", "--get-all", "credential.http://127.0.0.1:65001.helper"]);
    assert!(helpers.starts_with('\n'), "the empty one first: {helpers}");
    assert!(once.contains("pushinsteadof=gh:"), "{once}");
    home.paste(&printed("github gitlab --undo"));
    assert_eq!(home.git(&["config", "--global", "--list"]), before);
}

#[test]
fn every_form_says_the_same_to_git() {
    let home = HomeOfOne::new();
    home.paste(&printed("github"));
    let pasted = home.git(&["config", "--global", "--list"]);
    let bare = HomeOfOne::new();
    let script = format!("{}\ngit config --list", printed("github --form env"));
    let output = bare.command("sh").args(["-e", "-c", &script]).output().expect("sh");
    let exported = String::from_utf8(output.stdout).expect("text");
    assert_eq!(sorted(&exported), sorted(&pasted));
    let list: serde_json::Value =
        serde_saphyr::from_str(&printed("github --for pod --gateway http://127.0.0.1:65001")).expect("YAML");
    let mut command = bare.command("git");
    for entry in list["env"].as_array().expect("a list").iter().skip(1) {
        command.env(entry["name"].as_str().expect("name"), entry["value"].as_str().expect("value"));
    }
    let output = command.args(["config", "--list"]).output().expect("git");
    assert_eq!(String::from_utf8(output.stdout).expect("text"), exported);
}

#[test]
fn a_jobs_token_is_completed_by_its_shell() {
    let home = HomeOfOne::new();
    home.paste(&printed("gitlab --ci"));
    let header = home.git(&["config", "--get", "http.http://127.0.0.1:65001/https/gitlab.com/.extraheader"]);
    // gitlab-ci-token:tok3n
    assert_eq!(header, "Authorization: Basic Z2l0bGFiLWNpLXRva2VuOnRvazNu");
    home.git(&["init", "--quiet", "clone"]);
    home.git(&["-C", "clone", "remote", "add", "origin", "https://gitlab-ci-token:tok3n@gitlab.com/o/r.git"]);
    let fetch = home.git(&["-C", "clone", "remote", "get-url", "origin"]);
    assert_eq!(fetch, "http://127.0.0.1:65001/https/gitlab.com/o/r.git");
}

#[test]
fn a_local_cluster_prints_lines_for_exactly_what_it_may_read() {
    let lines =
        for_local_cluster("http://127.0.0.1:7000", &["http://127.0.0.1:9000".into(), "github.com".into()]);
    assert!(
        lines.contains("url.http://127.0.0.1:7000/http/127.0.0.1:9000/.insteadOf http://127.0.0.1:9000/")
    );
    assert!(lines.contains("/https/github.com/.insteadOf"));
    assert!(
        lines.contains("--undo --gateway http://127.0.0.1:7000 http://127.0.0.1:9000 github.com"),
        "{lines}"
    );
    assert!(for_local_cluster("http://127.0.0.1:7000", &[]).contains("--allow-upstream"));
}
