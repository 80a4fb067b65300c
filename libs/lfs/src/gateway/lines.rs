//! Which git configuration makes a client go through Darner: modes A and B together.
//!
//! Owns: the settings and why each is there. Never: writes or prints them. B (the gateway) rewrites the forge's own
//! URLs, so that a Batch comes to us; A (the href rewrite) covers what B cannot: SSH remotes, and content hosts named
//! in answers that did not pass us.

use super::provider::{Base, Provider};

/// The git credential helper of the gateway, for clients without our executable: it asks git for the credential of the
/// forge that the path names. POSIX shell without a single quote (so that any shell can quote it), without a command
/// substitution (Kubernetes would take it for a variable), and for every forge at once.
pub const SHELL_HELPER: &str = concat!(
    r#"!f() { case $1 in get) a=fill;; store) a=approve;; erase) a=reject;; *) exit 0;; esac; "#,
    r#"while IFS= read -r l && test -n "$l"; do case $l in "#,
    r#"path=http/*/*|path=https/*/*) l=${l#path=}; s=${l%%/*}; l=${l#*/}; h=${l%%/*}; l=${l#*/}; "#,
    r#"printf "protocol=%s\nhost=%s\npath=%s\n" "$s" "$h" "${l%%/info/lfs*}";; "#,
    r#"protocol=*|host=*|path=*) ;; "#,
    r#"*) printf "%s\n" "$l";; esac; done | git credential $a | "#,
    r#"grep -v -e ^protocol= -e ^host= -e ^path=; }; f"#,
);

/// What a setting is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// This text.
    Text(String),
    /// What a shell makes of these words: a secret is never in our output, only the name of its variable.
    Shell(String),
}

/// How a setting stands to the values that are there already. Pasting twice changes nothing, and no value of somebody
/// else is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A key with one value.
    Set,
    /// The key is the gateway's own: whatever was there is replaced.
    Own,
    /// The key is the gateway's own, and this is a further value.
    Further,
    /// Others may have values of this key: ours goes beside them.
    Beside,
}

/// One line of git configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The value.
    pub worth: Worth,
    /// What becomes of other values.
    pub how: How,
}

impl Setting {
    fn new(how: How, key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), worth: Worth::Text(value.into()), how }
    }

    fn shell(how: How, key: String, words: String) -> Self {
        Self { key, worth: Worth::Shell(words), how }
    }
}

/// What the lines are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `http://127.0.0.1:65001`, without a slash at the end.
    pub gateway: String,
    /// The forges.
    pub providers: Vec<Provider>,
    /// Only this organisation or repository of the forge.
    pub only: Option<String>,
    /// For a CI job: its token travels in a header, not through a helper.
    pub ci: bool,
}

/// The settings, in the order in which they must be set.
pub fn settings(wish: &Wish) -> Vec<Setting> {
    let gateway = wish.gateway.as_str();
    let mut settings = Vec::new();
    let mut covered: Vec<String> = Vec::new();
    for provider in &wish.providers {
        let below =
            wish.only.as_deref().map_or_else(String::new, |only| format!("{}/", only.trim_matches('/')));
        rewrite(gateway, &provider.forge, &below, &mut settings, &mut covered);
        if wish.ci {
            job(gateway, provider, &below, &mut settings);
        }
        for content in &provider.contents {
            rewrite(gateway, content, "", &mut settings, &mut covered);
        }
    }
    // Mode A: the addresses in an answer are rewritten too, also those an SSH remote was given.
    settings.push(Setting::new(How::Set, "lfs.transfer.enablehrefrewrite", "true"));
    // Objects inside an SSH connection pass nobody.
    settings.push(Setting::new(How::Set, "lfs.sshtransfer", "never"));
    // The empty one first: no other helper may keep a credential of a forge under the gateway's name.
    settings.push(Setting::new(How::Own, format!("credential.{gateway}.helper"), ""));
    settings.push(Setting::new(How::Further, format!("credential.{gateway}.helper"), SHELL_HELPER));
    // All forges share the gateway's host; only the path tells them apart.
    settings.push(Setting::new(How::Own, format!("credential.{gateway}.useHttpPath"), "true"));
    settings
}

/// Reads through the gateway, writes straight to the forge.
fn rewrite(gateway: &str, base: &Base, below: &str, settings: &mut Vec<Setting>, covered: &mut Vec<String>) {
    let plain = format!("{base}/{below}");
    if covered.contains(&plain) {
        return;
    }
    settings.push(Setting::new(
        How::Own,
        format!("url.{}.insteadOf", through(gateway, base, below)),
        plain.as_str(),
    ));
    // Identity: a push (and a presigned upload, whose host is signed) is left alone.
    settings.push(Setting::new(How::Beside, format!("url.{plain}.pushInsteadOf"), plain.as_str()));
    covered.push(plain);
}

/// A job's token: in a header, because curl drops a credential of the URL at a redirect.
fn job(gateway: &str, provider: &Provider, below: &str, settings: &mut Vec<Setting>) {
    let (user, variable) = provider.job;
    let base = &provider.forge;
    let through = through(gateway, base, below);
    let with_token = format!("{}://{user}:${{{variable}}}@{}/{below}", base.scheme, base.host);
    settings.push(Setting::shell(How::Further, format!("url.{through}.insteadOf"), with_token));
    let header = format!("Authorization: Basic $(printf '{user}:%s' \"${variable}\" | base64 | tr -d '\\n')");
    settings.push(Setting::shell(How::Own, format!("http.{through}.extraheader"), header));
}

/// The address of a base (or a part of it) at the gateway.
pub fn through(gateway: &str, base: &Base, below: &str) -> String {
    format!("{gateway}/{}/{}/{below}", base.scheme, base.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(names: &[&str]) -> Wish {
        Wish {
            gateway: "http://127.0.0.1:65001".into(),
            providers: names.iter().filter_map(|name| Provider::named(name)).collect(),
            only: None,
            ci: false,
        }
    }

    fn value<'a>(settings: &'a [Setting], key: &str) -> Vec<&'a str> {
        settings
            .iter()
            .filter(|setting| setting.key == key)
            .map(|setting| match &setting.worth {
                Worth::Text(text) | Worth::Shell(text) => text.as_str(),
            })
            .collect()
    }

    #[test]
    fn both_modes_are_always_there() {
        let settings = settings(&wish(&["github"]));
        let forge = "url.http://127.0.0.1:65001/https/github.com/.insteadOf";
        let content = "url.http://127.0.0.1:65001/https/github-cloud.githubusercontent.com/.insteadOf";
        assert_eq!(value(&settings, forge), ["https://github.com/"]);
        assert_eq!(value(&settings, content), ["https://github-cloud.githubusercontent.com/"]);
        assert_eq!(value(&settings, "lfs.transfer.enablehrefrewrite"), ["true"]);
        assert_eq!(value(&settings, "lfs.sshtransfer"), ["never"]);
    }

    #[test]
    fn a_push_keeps_going_straight_to_where_it_went() {
        let settings = settings(&wish(&["gitlab"]));
        assert_eq!(value(&settings, "url.https://gitlab.com/.pushInsteadOf"), ["https://gitlab.com/"]);
    }

    #[test]
    fn helpers_of_others_are_shut_out_before_ours_is_added() {
        let settings = settings(&wish(&["gitlab"]));
        let helpers = value(&settings, "credential.http://127.0.0.1:65001.helper");
        assert_eq!(helpers, ["", SHELL_HELPER]);
        assert_eq!(value(&settings, "credential.http://127.0.0.1:65001.useHttpPath"), ["true"]);
    }

    #[test]
    fn a_host_named_twice_has_one_line() {
        let settings = settings(&wish(&["github", "github.com", "github-cloud.githubusercontent.com"]));
        let keys: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
        let lines =
            |host: &str| keys.iter().filter(|key| key.ends_with(&format!("/{host}/.insteadOf"))).count();
        assert_eq!((lines("github.com"), lines("github-cloud.githubusercontent.com")), (1, 1));
    }

    #[test]
    fn one_organisation_can_be_chosen() {
        let settings = settings(&Wish { only: Some("/acme/".into()), ..wish(&["github"]) });
        let key = "url.http://127.0.0.1:65001/https/github.com/acme/.insteadOf";
        assert_eq!(value(&settings, key), ["https://github.com/acme/"]);
    }

    #[test]
    fn the_token_of_a_job_is_only_named() {
        let settings = settings(&Wish { ci: true, ..wish(&["gitlab"]) });
        let header = value(&settings, "http.http://127.0.0.1:65001/https/gitlab.com/.extraheader");
        assert_eq!(header.len(), 1);
        assert!(header[0].contains("$CI_JOB_TOKEN"), "{header:?}");
        let rewritten = value(&settings, "url.http://127.0.0.1:65001/https/gitlab.com/.insteadOf");
        assert_eq!(rewritten, ["https://gitlab.com/", "https://gitlab-ci-token:${CI_JOB_TOKEN}@gitlab.com/"]);
    }

    #[test]
    fn the_helper_can_be_quoted_anywhere() {
        for forbidden in ["'", "$(", "`", "\n"] {
            assert!(!SHELL_HELPER.contains(forbidden), "{forbidden}");
        }
    }
}
