//! The settings as somebody can use them: commands to paste, an environment, or the `env` of a pod.
//!
//! Owns: quoting. Never: decides what is set. Every form says the same; a test with a real shell and git compares them.

use crate::cli::show;
use darner_lfs::gateway::lines::{How, Setting, Worth};

/// In a pod the address of its node is only known there.
pub const HOST_IP: &str = "$(HOST_IP)";

/// In which form the settings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// `git config` commands.
    Commands,
    /// `export GIT_CONFIG_COUNT=...` lines for a shell.
    Env,
    /// The `env:` list of a container.
    Pod,
}

/// `git config` commands for `--global`, `--local` or `--system`.
pub fn commands(settings: &[Setting], scope: &str) -> String {
    let mut text = String::new();
    for setting in settings {
        let (key, value) = (key(setting), value(setting));
        let words = match setting.how {
            How::Set => format!("{key} {value}"),
            How::Own => format!("--replace-all {key} {value}"),
            How::Further => format!("--add {key} {value}"),
            How::Beside => format!("--replace-all {key} {value} {}", exactly(setting)),
        };
        show::add(&mut text, format_args!("git config --{scope} {words}\n"));
    }
    text
}

/// The commands that take the settings back.
pub fn undo(settings: &[Setting], scope: &str) -> String {
    let mut text = String::new();
    for setting in settings {
        let words = match setting.how {
            How::Own => key(setting),
            How::Set | How::Beside => format!("{} {}", key(setting), exactly(setting)),
            // Gone with the first value of its key.
            How::Further => continue,
        };
        show::add(&mut text, format_args!("git config --{scope} --unset-all {words}\n"));
    }
    text
}

/// The pattern of git that only this value matches; `--fixed-value` is too young for some clients.
fn exactly(setting: &Setting) -> String {
    let (Worth::Text(text) | Worth::Shell(text)) = &setting.worth;
    let mut pattern = String::from("^");
    for letter in text.chars() {
        if r".[]*+?(){}|^$\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('$');
    quoted(&pattern)
}

/// `export` lines of an environment that git reads as configuration.
pub fn env(settings: &[Setting]) -> String {
    let mut text = format!("export GIT_CONFIG_COUNT={}\n", settings.len());
    for (index, setting) in settings.iter().enumerate() {
        show::add(&mut text, format_args!("export GIT_CONFIG_KEY_{index}={}\n", key(setting)));
        show::add(&mut text, format_args!("export GIT_CONFIG_VALUE_{index}={}\n", value(setting)));
    }
    text
}

/// The `env:` list of a container. Settings that a shell would have to complete have no place there.
pub fn pod(settings: &[Setting]) -> String {
    let mut text =
        String::from("env:\n- name: HOST_IP\n  valueFrom:\n    fieldRef:\n      fieldPath: status.hostIP\n");
    let plain: Vec<(&str, &str)> = settings
        .iter()
        .filter_map(|setting| match &setting.worth {
            Worth::Text(value) => Some((setting.key.as_str(), value.as_str())),
            Worth::Shell(_) => None,
        })
        .collect();
    let mut entry = |name: String, value: &str| {
        show::add(&mut text, format_args!("- name: {name}\n  value: {}\n", serde_json::Value::from(value)));
    };
    entry("GIT_CONFIG_COUNT".to_owned(), &plain.len().to_string());
    for (index, (key, value)) in plain.into_iter().enumerate() {
        entry(format!("GIT_CONFIG_KEY_{index}"), key);
        entry(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    text
}

/// A key as a word of a shell; the node's address is a variable there.
fn key(setting: &Setting) -> String {
    if setting.key.contains(HOST_IP) {
        format!("\"{}\"", setting.key.replace(HOST_IP, "${HOST_IP}"))
    } else {
        quoted(&setting.key)
    }
}

fn value(setting: &Setting) -> String {
    match &setting.worth {
        Worth::Text(text) => quoted(text),
        Worth::Shell(words) => format!("\"{words}\""),
    }
}

/// A word of a shell that stays what it is.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, how: How, worth: Worth) -> Setting {
        Setting { key: key.into(), worth, how }
    }

    #[test]
    fn words_are_quoted_only_when_they_need_it() {
        assert_eq!(quoted("url.http://h:1/https/g/.insteadOf"), "url.http://h:1/https/g/.insteadOf");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn the_nodes_address_becomes_a_variable_of_the_shell() {
        let settings =
            [setting("credential.http://$(HOST_IP):1.helper", How::Own, Worth::Text("a$l".into()))];
        assert_eq!(
            commands(&settings, "global"),
            "git config --global --replace-all \"credential.http://${HOST_IP}:1.helper\" 'a$l'\n"
        );
    }

    #[test]
    fn a_pods_list_is_yaml_and_leaves_out_what_needs_a_shell() {
        let settings = [
            setting("a.b", How::Set, Worth::Text("x: \"y\" # z".into())),
            setting("c.d", How::Set, Worth::Shell("$TOKEN".into())),
        ];
        let list: serde_json::Value = serde_saphyr::from_str(&pod(&settings)).expect("YAML");
        assert_eq!(list["env"][1]["value"], "1");
        assert_eq!(list["env"][3]["value"], "x: \"y\" # z");
        assert_eq!(list["env"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn undoing_looks_at_the_value_only_where_others_have_values_too() {
        let beside = setting("url.https://h/.pushInsteadOf", How::Beside, Worth::Text("https://h.x/".into()));
        let ours = setting("credential.http://h.helper", How::Own, Worth::Text(String::new()));
        let further = Setting { how: How::Further, ..ours.clone() };
        let text = undo(&[beside, ours, further], "global");
        assert_eq!(
            text,
            "git config --global --unset-all url.https://h/.pushInsteadOf '^https://h\\.x/$'\n\
             git config --global --unset-all credential.http://h.helper\n"
        );
    }
}
