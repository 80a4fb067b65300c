//! `darner keys`: the keys a cluster needs before its first node, into a directory or into Kubernetes Secrets.
//!
//! Owns: `tickets` (daemons seal with it), `grants-NAME` (each seed signs with its own), `grants-public` (everybody checks
//! with it); in Kubernetes, where a machine can read every Secret of its pods whole, what seeds sign with may lie in a Secret
//! of its own; and there also the authority whose certificates the parts show one another, and the webhook's pair.
//! Never: replaces or removes a key that is there; a second run adds what is missing. A run that is killed leaves what was
//! there: each Secret is written in one step.

use std::path::{Path, PathBuf};

use darner_chassis::clock::{Random, System};
use darner_chassis::seal::Sealer;
use darner_chassis::sign::Signer;

use super::failure::{Failure, Outcome, io};
use super::say;

mod api;
mod authority;
mod door;
mod secret;

/// Where the keys go.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).multiple(true)))]
pub struct KeysArgs {
    /// Name of a seed that signs (in Kubernetes its pod's); repeatable
    #[arg(long = "seed", value_name = "NAME")]
    pub seeds: Vec<String>,
    /// Directory that receives the files
    #[arg(long, value_name = "DIR", group = "where")]
    pub out: Option<PathBuf>,
    /// Secret of the pod's own namespace that receives them
    #[arg(long, value_name = "NAME", group = "where", conflicts_with = "out")]
    pub secret: Option<String>,
    /// Secret that receives what seeds sign with, apart from what daemons need
    #[arg(long, value_name = "NAME", requires = "secret")]
    pub seed_secret: Option<String>,
    /// KEY=VALUE label of a Secret that is made; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", conflicts_with = "out")]
    pub labels: Vec<String>,
    /// Remove the Secrets instead
    #[arg(long, conflicts_with_all = ["out", "seeds"])]
    pub remove: bool,
    /// The authority and what lets parts join it
    #[command(flatten)]
    pub authority: authority::AuthorityArgs,
    /// The webhook's certificate
    #[command(flatten)]
    pub door: door::DoorArgs,
}

/// Runs the command.
pub async fn run(args: KeysArgs) -> Outcome {
    for seed in &args.seeds {
        if seed.is_empty() || !seed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        {
            return Err(Failure::usage(format!("`--seed {seed}`: letters, digits, `-`, `.` and `_` only")));
        }
    }
    if let Some(out) = &args.out {
        return provide(out, &args.seeds).map(|made| say::note(&told(&made)));
    }
    let api = api::Api::of_this_pod()?;
    if args.remove { remove(&api, &args).await } else { provide_secrets(&api, &args).await }
}

async fn provide_secrets(api: &api::Api, args: &KeysArgs) -> Outcome {
    match (&args.secret, &args.seed_secret) {
        (Some(name), Some(of_seeds)) => {
            let before = secret::read(api, name).await?;
            let signing = secret::provide(api, of_seeds, &args.labels, |home| {
                take_over(before.path(), home)?;
                sign(home, &args.seeds)
            });
            let signing = signing.await?;
            secret::provide(api, name, &args.labels, |home| seal(home, signing.path())).await?;
        }
        (Some(name), None) => {
            secret::provide(api, name, &args.labels, |home| provide(home, &args.seeds)).await?;
        }
        (None, _) => {}
    }
    args.authority.provide(api, &args.labels).await?;
    args.door.provide(api, &args.labels).await
}

async fn remove(api: &api::Api, args: &KeysArgs) -> Outcome {
    for name in args.secret.iter().chain(&args.seed_secret) {
        secret::remove(api, name).await?;
    }
    args.authority.remove(api).await?;
    args.door.remove(api).await
}

/// One line about what was made.
fn told(made: &[String]) -> String {
    if made.is_empty() { "every key is there".to_owned() } else { format!("made {}", made.join(", ")) }
}

/// Makes the files that are not there yet; their names.
fn provide(directory: &Path, seeds: &[String]) -> Result<Vec<String>, Failure> {
    super::up::keys::private_directory(directory)?;
    let mut made = tickets(directory)?;
    made.append(&mut sign(directory, seeds)?);
    Ok(made)
}

/// Makes the ticket key if it is not there.
fn tickets(directory: &Path) -> Result<Vec<String>, Failure> {
    let tickets = directory.join("tickets");
    match Sealer::generate_file(&tickets) {
        Ok(()) => Ok(vec!["tickets".to_owned()]),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Vec::new()),
        Err(error) => Err(io("write", &tickets, &error)),
    }
}

/// Makes what daemons need: the ticket key, and the public halves of what seeds sign with.
fn seal(directory: &Path, signing: &Path) -> Result<Vec<String>, Failure> {
    let mut made = tickets(directory)?;
    let (path, public) = (directory.join("grants-public"), public(signing)?);
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&public) {
        super::up::write(&path, &public)?;
        made.push("grants-public".to_owned());
    }
    Ok(made)
}

/// Copies what seeds sign with from where an earlier version kept it.
fn take_over(before: &Path, directory: &Path) -> Outcome {
    for name in signers(before)? {
        let (from, to) = (before.join(&name), directory.join(&name));
        if !to.try_exists().map_err(|error| io("look at", &to, &error))? {
            let text = std::fs::read_to_string(&from).map_err(|error| io("read", &from, &error))?;
            super::up::write(&to, &text)?;
        }
    }
    Ok(())
}

/// Makes what these seeds sign with, where it is not there; the names.
fn sign(directory: &Path, seeds: &[String]) -> Result<Vec<String>, Failure> {
    let mut made = Vec::new();
    for seed in seeds {
        let (name, path) = (format!("grants-{seed}"), directory.join(format!("grants-{seed}")));
        if path.try_exists().map_err(|error| io("look at", &path, &error))? {
            continue;
        }
        let mut salt = [0; 4];
        System.fill(&mut salt);
        let signer = Signer::generate(format!("{seed}-{}", hex::encode(salt)))
            .map_err(|error| Failure::negative(error.to_string()))?;
        signer.save(&path).map_err(|error| io("write", &path, &error))?;
        made.push(name);
    }
    super::up::write(&directory.join("grants-public"), &public(directory)?)?;
    Ok(made)
}

/// The public halves of every signing key of the directory, also of seeds that are gone: their grants still live.
fn public(directory: &Path) -> Result<String, Failure> {
    let mut lines = Vec::new();
    for name in signers(directory)? {
        let signer =
            Signer::from_file(&directory.join(name)).map_err(|error| Failure::negative(error.to_string()))?;
        lines.push(signer.public_line());
    }
    lines.sort();
    Ok(lines.concat())
}

/// The files that seeds sign with.
fn signers(directory: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| io("read", directory, &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("grants-") && name != "grants-public" {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directory: &Path, name: &str) -> Vec<u8> {
        std::fs::read(directory.join(name)).expect("file")
    }

    #[test]
    fn a_second_run_keeps_every_key_and_adds_what_a_new_seed_needs() {
        let home = tempfile::tempdir().expect("a directory");
        let seeds = ["s-0".to_owned(), "s-1".to_owned()];
        assert_eq!(provide(home.path(), &seeds[..1]).expect("keys"), ["tickets", "grants-s-0"]);
        let before = (read(home.path(), "tickets"), read(home.path(), "grants-s-0"));
        assert_eq!(provide(home.path(), &seeds).expect("keys"), ["grants-s-1"]);
        assert_eq!((read(home.path(), "tickets"), read(home.path(), "grants-s-0")), before);
        assert_eq!(provide(home.path(), &seeds).expect("keys"), Vec::<String>::new());
    }

    #[test]
    fn apart_daemons_get_nothing_to_sign_with_and_seeds_keep_what_they_had() {
        let [before, signing, daemons] = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
        let seeds = ["s-0".to_owned(), "s-1".to_owned()];
        provide(before.path(), &seeds[..1]).expect("an earlier version's");
        take_over(before.path(), signing.path()).expect("taken over");
        assert_eq!(sign(signing.path(), &seeds).expect("keys"), ["grants-s-1"]);
        assert_eq!(read(signing.path(), "grants-s-0"), read(before.path(), "grants-s-0"));
        assert_eq!(seal(daemons.path(), signing.path()).expect("keys"), ["tickets", "grants-public"]);
        assert_eq!(signers(daemons.path()).expect("names"), Vec::<String>::new());
        assert_eq!(read(daemons.path(), "grants-public"), read(signing.path(), "grants-public"));
        assert_eq!(seal(daemons.path(), signing.path()).expect("keys"), Vec::<String>::new());
    }

    #[test]
    fn a_seed_that_is_gone_is_still_believed() {
        let home = tempfile::tempdir().expect("a directory");
        provide(home.path(), &["s-0".to_owned(), "s-1".to_owned()]).expect("keys");
        provide(home.path(), &["s-0".to_owned()]).expect("keys");
        let public = String::from_utf8(read(home.path(), "grants-public")).expect("text");
        assert_eq!(public.lines().count(), 2, "{public}");
    }

    #[tokio::test]
    async fn a_name_that_is_no_file_name_is_refused() {
        let seeds = vec!["../x".to_owned()];
        let args = KeysArgs { seeds, out: Some("/nowhere".into()), ..KeysArgs::default() };
        assert!(run(args).await.unwrap_err().to_string().contains("../x"));
    }
}
