//! `darner credential`: the git credential helper of the gateway.
//!
//! Owns: turning the gateway's host and path into the forge they stand for. Never: keeps a credential, prints one
//! anywhere but to git, or answers for a request without a path (it would be offered to any forge). The inline shell
//! helper of `git-config` does the same without this executable; a test compares the two.

use std::io::Read;

use super::failure::{Failure, Outcome};
use super::{git, say, show};

/// More than any credential description has.
const REQUEST_BYTES: u64 = 64 * 1024;

/// What git asks a helper for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Find a credential.
    Get,
    /// Keep one that worked.
    Store,
    /// Forget one that did not.
    Erase,
}

impl Action {
    /// The same for the forge, in the words of `git credential`.
    fn at_the_forge(self) -> &'static str {
        match self {
            Self::Get => "fill",
            Self::Store => "approve",
            Self::Erase => "reject",
        }
    }
}

/// Answers git, for the forge that the path on standard input names.
pub fn run(action: Action) -> Outcome {
    let mut request = String::new();
    std::io::stdin()
        .take(REQUEST_BYTES)
        .read_to_string(&mut request)
        .map_err(|error| Failure::negative(format!("cannot read the request of git: {error}")))?;
    let Some(for_the_forge) = translated(&request) else {
        return Err(Failure::negative("the request names no forge: its path is not /https/HOST/...")
            .hint("set credential.<gateway>.useHttpPath to true; `darner git-config` prints the line"));
    };
    let said = git::tell(&["credential", action.at_the_forge()], &for_the_forge)?;
    let answer = answered(&said.out);
    if action == Action::Get && !answer.is_empty() {
        say::result(answer.trim_end());
    }
    // Having none is an answer too: git goes on to ask somebody else.
    Ok(())
}

/// The request as the forge's own; `None` when its path is not the gateway's form.
fn translated(request: &str) -> Option<String> {
    let attributes: Vec<(&str, &str)> =
        request.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once('=')).collect();
    let path = attributes.iter().find(|(name, _)| *name == "path").map(|(_, value)| *value)?;
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    let (scheme, host, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        return None;
    }
    // Git itself asks without the LFS part, so that both share one credential.
    let repository = rest.split("/info/lfs").next().unwrap_or_default();
    let mut text = format!("protocol={scheme}\nhost={host}\npath={repository}\n");
    for (name, value) in attributes {
        if !matches!(name, "protocol" | "host" | "path") {
            show::add(&mut text, format_args!("{name}={value}\n"));
        }
    }
    text.push('\n');
    Some(text)
}

/// The forge's answer without its address: git would take it for the gateway's.
fn answered(answer: &str) -> String {
    answer
        .lines()
        .filter(|line| {
            !["protocol=", "host=", "path="].iter().any(|address| line.starts_with(address))
                && !line.is_empty()
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_becomes_the_forge_and_the_rest_stays() {
        let request =
            "protocol=http\nhost=127.0.0.1:65001\npath=https/github.com/o/r.git/info/lfs\nusername=me\n\n";
        let told = translated(request).expect("a forge");
        assert_eq!(told, "protocol=https\nhost=github.com\npath=o/r.git\nusername=me\n\n");
    }

    #[test]
    fn a_forge_with_a_port_and_plain_http_is_kept_as_it_is() {
        let told = translated("path=http/git.example:8080/r\n").expect("a forge");
        assert_eq!(told, "protocol=http\nhost=git.example:8080\npath=r\n\n");
    }

    #[test]
    fn without_a_path_of_the_gateways_form_there_is_no_forge() {
        for request in
            ["host=h\n", "path=\n", "path=https\n", "path=https//x\n", "path=ftp/h/x\n", "path=o/r.git\n"]
        {
            assert_eq!(translated(request), None, "{request}");
        }
    }

    #[test]
    fn what_comes_after_the_empty_line_is_not_read() {
        let told = translated("path=https/h/r\n\nusername=late\n").expect("a forge");
        assert!(!told.contains("late"));
    }

    #[test]
    fn the_answer_does_not_carry_the_forges_address() {
        let answer = answered("protocol=https\nhost=h\npath=p\nusername=u\npassword=host=x\n\n");
        assert_eq!(answer, "username=u\npassword=host=x\n");
    }
}
