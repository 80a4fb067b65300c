//! The command line of a process.
//!
//! Owns: its few words. Never: reads a file (`Said::load` hands them to `config`).

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{self, ConfigError, Loaded};

/// What the command line says about the configuration.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) file: Option<PathBuf>,
    pub(super) values: Vec<(String, Value)>,
}

impl Said {
    pub(super) fn load<C: DeserializeOwned + Serialize + Default>(self) -> Result<Loaded<C>, ConfigError> {
        config::load(self.file.as_deref(), &self.values)
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// The service.
    Run(Said),
    /// The effective configuration.
    Print(Said),
    /// The version.
    Version,
    /// These words.
    Help,
}

pub(super) fn help(name: &str) -> String {
    format!(
        "usage: {name} [--config FILE] [--set KEY=VALUE]... [--print-config | --version | --help]\n\
         \x20 --config FILE     read the configuration from a YAML file\n\
         \x20 --set KEY=VALUE   set one key (dotted), over the file and the environment (DARNER__KEY__PART)\n\
         \x20 --print-config    print the effective configuration and the source of each value\n\
         \x20 --version         print the version"
    )
}

/// Reads the arguments after the program's name.
pub(super) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let mut arguments = arguments.map(|argument| {
        argument.into_string().map_err(|raw| format!("`{}` is no UTF-8", raw.to_string_lossy()))
    });
    let mut said = Said::default();
    let mut print = false;
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = |what: &str| match inline.clone() {
            Some(value) => Ok(value),
            None => arguments.next().unwrap_or_else(|| Err(format!("`{flag}` needs {what}"))),
        };
        match flag {
            "--config" if said.file.is_some() => return Err("`--config` was given twice".to_owned()),
            "--config" => said.file = Some(value("a file")?.into()),
            "--set" => {
                let pair = value("KEY=VALUE")?;
                let (key, value) =
                    pair.split_once('=').ok_or_else(|| format!("`--set {pair}` needs KEY=VALUE"))?;
                said.values.push((key.to_owned(), Value::String(value.to_owned())));
            }
            "--print-config" => print = true,
            "--version" | "-V" => return Ok(Wanted::Version),
            "--help" | "-h" => return Ok(Wanted::Help),
            _ => return Err(format!("unknown argument `{argument}`")),
        }
    }
    Ok(if print { Wanted::Print(said) } else { Wanted::Run(said) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Wanted, String> {
        read(line.iter().map(OsString::from))
    }

    #[test]
    fn both_spellings_of_a_value_are_understood() {
        let said = Said {
            file: Some("/a".into()),
            values: vec![("git.listen".to_owned(), "h:1".into()), ("x".to_owned(), "a=b".into())],
        };
        assert_eq!(
            parse(&["--config", "/a", "--set", "git.listen=h:1", "--set=x=a=b"]),
            Ok(Wanted::Run(said))
        );
        let said = Said { file: Some("/a=b".into()), values: Vec::new() };
        assert_eq!(parse(&["--print-config", "--config=/a=b"]), Ok(Wanted::Print(said)));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            (&["--config"][..], "needs a file"),
            (&["--set", "novalue"], "KEY=VALUE"),
            (&["--confg", "x"], "--confg"),
            (&["stray"], "stray"),
            (&["--config", "a", "--config", "b"], "twice"),
        ] {
            let words = parse(line).unwrap_err();
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn version_and_help_need_nothing_else() {
        assert_eq!(parse(&["--version"]), Ok(Wanted::Version));
        assert_eq!(parse(&["-h"]), Ok(Wanted::Help));
        assert_eq!(parse(&[]), Ok(Wanted::Run(Said::default())));
        assert!(help("peer-daemon").contains("peer-daemon [--config FILE]"));
    }
}
