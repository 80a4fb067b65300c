//! Configuration that is keyed by a forge's URL, looked up under the gateway's URL from now on.
//!
//! Owns: finding such keys in the clone we are run in, and naming them again under the gateway. Never: shows a value:
//! an `extraheader` is a credential, so the shell copies it from git to git.

use crate::cli::failure::Failure;
use crate::cli::git;
use darner_lfs::gateway::lines::{How, Setting, Wish, Worth, through};
use darner_lfs::gateway::provider::Provider;

/// Keys of a forge's URL that matter under the gateway's, too; certificates of a client end at the gateway.
const COPIED: [(&str, &str); 4] =
    [("http", "extraheader"), ("lfs", "access"), ("lfs", "locksverify"), ("lfs", "contenttype")];

/// The keys of the configuration in reach, named again under the gateway.
pub fn settings(wish: &Wish) -> Result<Vec<Setting>, Failure> {
    let said = git::ask(&["config", "--name-only", "--get-regexp", r"^(http|lfs)\.https?://"])?;
    Ok(wish.providers.iter().flat_map(|provider| of(&said.out, &wish.gateway, provider)).collect())
}

fn of(names: &str, gateway: &str, provider: &Provider) -> Vec<Setting> {
    let forge = format!("{}/", provider.forge);
    let mut settings: Vec<Setting> = Vec::new();
    for name in names.lines() {
        for (section, key) in COPIED {
            let url = name
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.strip_suffix(key))
                .and_then(|rest| rest.strip_suffix('.'));
            let Some(below) = url.and_then(|url| below(url, &forge)) else { continue };
            let copied = format!("{section}.{}.{key}", through(gateway, &provider.forge, below));
            if settings.iter().all(|setting| setting.key != copied) {
                settings.push(Setting {
                    key: copied,
                    worth: Worth::Shell(format!("$(git config --get {})", super::form::quoted(name))),
                    how: How::Own,
                });
            }
        }
    }
    settings
}

/// What the URL has below the forge's own.
fn below<'a>(url: &'a str, forge: &str) -> Option<&'a str> {
    if url == forge.trim_end_matches('/') { Some("") } else { url.strip_prefix(forge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(names: &str) -> Vec<(String, String)> {
        let provider = Provider::named("github").expect("known");
        of(names, "http://g:1", &provider)
            .into_iter()
            .map(|setting| match setting.worth {
                Worth::Shell(words) => (setting.key, words),
                Worth::Text(text) => panic!("a value was read: {text}"),
            })
            .collect()
    }

    #[test]
    fn a_header_keyed_by_the_forge_is_named_again_under_the_gateway() {
        assert_eq!(
            copied("http.https://github.com/.extraheader\n"),
            [(
                "http.http://g:1/https/github.com/.extraheader".to_owned(),
                "$(git config --get http.https://github.com/.extraheader)".to_owned()
            )]
        );
    }

    #[test]
    fn a_repositorys_own_key_keeps_its_path() {
        let copied = copied("lfs.https://github.com/o/r.git/info/lfs.locksverify\n");
        assert_eq!(copied[0].0, "lfs.http://g:1/https/github.com/o/r.git/info/lfs.locksverify");
    }

    #[test]
    fn keys_of_other_hosts_and_keys_that_end_at_the_gateway_are_left_alone() {
        let names = "http.https://gitlab.com/.extraheader\nhttp.https://github.com/.sslcert\n\
                     http.https://github.com.evil.example/.extraheader\n";
        assert!(copied(names).is_empty());
    }

    #[test]
    fn a_key_said_twice_is_copied_once() {
        assert_eq!(copied("lfs.https://github.com.access\nlfs.https://github.com/.access\n").len(), 1);
    }
}
