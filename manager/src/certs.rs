//! `manager certs`: the files an authority needs, made once, and certificates for those who take theirs from files.
//!
//! Owns: the layout below a directory, and that nothing that is there is replaced: a second run makes what is missing.
//! Never: speaks to a running manager. Keys and tokens are for their owner only. After a crash between two files the
//! next run makes the rest.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use darner_chassis::authority::Authority;
use darner_chassis::authority::founding::{Founding, JOINING};
use darner_chassis::clock::{Clock as _, System};
use darner_chassis::files;
use darner_chassis::identity::Role;

/// How `certs` is called.
pub const USAGE: &str = "usage: manager certs init --trust-domain NAME --out DIR\n\
    \x20      manager certs issue --ca DIR --role ROLE --name NAME [--days N] --out DIR\n\
    \x20 init    makes DIR/ca/{ca.crt,ca.key,tokens} for the manager (`ca.*`) and DIR/ROLE/{ca.crt,token} for each\n\
    \x20         other part (`tls.caCert`, `tls.joinToken`); what is there stays\n\
    \x20 issue   makes DIR/{tls.crt,tls.key,ca.crt} for a part that takes its certificate from files";

/// One file to be made: its path below the directory, and its text.
type Made = (PathBuf, String);

/// Carries out the words after `certs` and says how it went: the exit code is 0, or 2 with what is wrong.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer to whoever called")]
pub fn answer(words: &[String]) -> std::process::ExitCode {
    match run(words) {
        Ok(told) => {
            println!("{told}");
            std::process::ExitCode::SUCCESS
        }
        Err(told) => {
            eprintln!("manager certs: {told}");
            std::process::ExitCode::from(2)
        }
    }
}

/// Carries out the words after `certs`; the text to show, or what is wrong.
pub fn run(words: &[String]) -> Result<String, String> {
    let (what, flags) = words.split_first().ok_or_else(|| USAGE.to_owned())?;
    let flags = Flags::read(flags)?;
    match what.as_str() {
        "init" => {
            let trust_domain = flags.needed("--trust-domain")?;
            let out = PathBuf::from(flags.needed("--out")?);
            init(trust_domain, &out)?;
            Ok(format!("authority and tokens are in {}", out.display()))
        }
        "issue" => {
            let role: Role = flags.needed("--role")?.parse().map_err(|error| format!("--role: {error}"))?;
            let days = flags.get("--days").unwrap_or("30");
            let days: u64 = days.parse().map_err(|_odd| format!("--days: `{days}` is no number"))?;
            let lasts = Duration::from_hours(days.saturating_mul(24));
            let out = PathBuf::from(flags.needed("--out")?);
            issue(Path::new(flags.needed("--ca")?), (role, flags.needed("--name")?), lasts, &out)?;
            Ok(format!("certificate is in {}", out.display()))
        }
        other => Err(format!("unknown word `{other}`\n{USAGE}")),
    }
}

/// The files of a new authority; `authority` and `tokens` are texts that are there already.
fn material(
    trust_domain: &str,
    authority: Option<(String, String)>,
    tokens: Option<String>,
) -> Result<Vec<Made>, String> {
    let founding = Founding::complete(trust_domain, authority, tokens).map_err(|error| error.to_string())?;
    let mut parts = Vec::new();
    for role in JOINING {
        let token = founding.token(role).ok_or_else(|| format!("the tokens hold none for any {role}"))?;
        let directory = Path::new(role.as_str());
        parts.push((directory.join("ca.crt"), founding.certificate.clone()));
        parts.push((directory.join("token"), format!("{token}\n")));
    }
    let mut made = vec![
        (PathBuf::from("ca/ca.key"), founding.key),
        (PathBuf::from("ca/ca.crt"), founding.certificate),
        (PathBuf::from("ca/tokens"), founding.tokens),
    ];
    made.append(&mut parts);
    Ok(made)
}

fn init(trust_domain: &str, out: &Path) -> Result<(), String> {
    let there = |name: &str| read(&out.join("ca").join(name));
    let authority = match (there("ca.crt")?, there("ca.key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        // The key is written first: without a certificate nobody knows it yet.
        (None, _) => None,
        (Some(_), None) => return Err(format!("{}: the key of the authority is missing", out.display())),
    };
    for (path, text) in material(trust_domain, authority, there("tokens")?)? {
        keep(&out.join(path), &text)?;
    }
    Ok(())
}

fn issue(ca: &Path, named: (Role, &str), lasts: Duration, out: &Path) -> Result<(), String> {
    let text = |name: &str| {
        let path = ca.join(name);
        read(&path)?.ok_or_else(|| format!("{} is missing", path.display()))
    };
    let authority = Authority::of(&text("ca.crt")?, &text("ca.key")?).map_err(|error| error.to_string())?;
    let pair = authority.issue(named, System.now_ms(), lasts).map_err(|error| error.to_string())?;
    keep(&out.join("tls.key"), &pair.key)?;
    keep(&out.join("tls.crt"), &pair.issued.chain)?;
    keep(&out.join("ca.crt"), authority.certificate())
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Writes a file that only its owner reads, unless it is there; it is there whole or not at all.
fn keep(path: &Path, text: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.try_exists().map_err(told)? {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(told)?;
    }
    files::replace(path, text).map_err(told)
}

/// `--flag value` pairs.
struct Flags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Flags<'a> {
    fn read(words: &'a [String]) -> Result<Self, String> {
        const KNOWN: [&str; 6] = ["--trust-domain", "--out", "--ca", "--role", "--name", "--days"];
        let mut flags = Vec::new();
        for pair in words.chunks(2) {
            match pair {
                [flag, value] if KNOWN.contains(&flag.as_str()) => {
                    flags.push((flag.as_str(), value.as_str()));
                }
                [flag] if KNOWN.contains(&flag.as_str()) => return Err(format!("`{flag}` needs a value")),
                [flag, ..] => return Err(format!("unknown argument `{flag}`\n{USAGE}")),
                [] => {}
            }
        }
        Ok(Self(flags))
    }

    fn get(&self, wanted: &str) -> Option<&'a str> {
        self.0.iter().find(|(flag, _)| *flag == wanted).map(|(_, value)| *value)
    }

    fn needed(&self, wanted: &str) -> Result<&'a str, String> {
        self.get(wanted).ok_or_else(|| format!("`{wanted}` is missing\n{USAGE}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn text(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn a_second_run_keeps_everything_and_makes_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let call = format!("init --trust-domain t --out {}", dir.path().display());
        run(&words(&call)).unwrap();
        let before =
            ["ca/ca.crt", "ca/ca.key", "ca/tokens", "seed-peer/token"].map(|name| text(dir.path(), name));
        std::fs::remove_file(dir.path().join("seed-peer/token")).unwrap();
        run(&words(&call)).unwrap();
        let after =
            ["ca/ca.crt", "ca/ca.key", "ca/tokens", "seed-peer/token"].map(|name| text(dir.path(), name));
        assert_eq!(before, after);
    }

    #[test]
    fn each_part_gets_its_own_token_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        run(&words(&format!("init --trust-domain t --out {}", dir.path().display()))).unwrap();
        let tokens = text(dir.path(), "ca/tokens");
        for role in JOINING {
            let token = text(dir.path(), &format!("{role}/token"));
            assert!(tokens.contains(&format!("{role} * {}", token.trim())), "{role}");
            let path = dir.path().join(role.as_str()).join("token");
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_ne!(text(dir.path(), "seed-peer/token"), text(dir.path(), "peer-daemon/token"));
    }

    #[test]
    fn a_pair_is_issued_from_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        run(&words(&format!("init --trust-domain t --out {at}"))).unwrap();
        let call = format!("issue --ca {at}/ca --role scheduler --name s-0 --days 2 --out {at}/pair");
        run(&words(&call)).unwrap();
        assert_eq!(darner_chassis::tls::name_in(&dir.path().join("pair/tls.crt")).as_deref(), Some("s-0"));
        assert_eq!(text(dir.path(), "pair/ca.crt"), text(dir.path(), "ca/ca.crt"));
    }

    #[test]
    fn wrong_words_are_refused_in_words() {
        for (call, told) in [
            ("init", "`--trust-domain`"),
            ("init --out", "needs a value"),
            ("init --trust-domain a/b --out /nonexistent/x", "a/b"),
            ("issue --role king --name a --ca / --out /", "`king`"),
            ("rotate", "unknown word"),
            ("init --colour red", "`--colour`"),
        ] {
            let words = run(&words(call)).unwrap_err();
            assert!(words.contains(told), "{call}: {words}");
        }
    }
}
