//! `darner git-config`: the git configuration that makes a client go through Darner, to paste, apply or take back.
//!
//! Owns: which forges, which gateway, which form. Never: changes a configuration unless `--apply` says so, and never
//! prints a credential: what must be copied is named, and the shell (or git, with `--apply`) copies it.

pub mod copies;
pub mod discover;
pub mod form;

use clap::ValueEnum;

pub use darner_lfs::gateway::lines::SHELL_HELPER;
pub use darner_lfs::gateway::provider::Base;
pub use form::Form;

use super::failure::{Failure, Outcome};
use super::{git, say};
use darner_lfs::gateway::lines::{self, Setting, Wish};
use darner_lfs::gateway::provider::Provider;
use form::HOST_IP;

/// Where git runs, seen from the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In a pod: the daemon of the pod's own node.
    Pod,
    /// On the node (or the machine) of the daemon.
    Node,
    /// Anywhere else.
    External,
}

/// The file a setting goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// The user's.
    Global,
    /// The repository's.
    Local,
    /// The machine's.
    System,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Local => "local",
            Self::System => "system",
        }
    }
}

/// Print the git configuration that makes a client go through Darner.
#[derive(Debug, Clone, clap::Args)]
pub struct GitConfigArgs {
    /// github, gitlab, huggingface, or `[http://|https://]HOST[:PORT]` of a forge
    #[arg(value_name = "PROVIDER")]
    providers: Vec<String>,
    /// Where git runs
    #[arg(long = "for", value_enum, default_value = "node")]
    place: Place,
    /// Address of the daemon, when it is not the usual one of the place
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// A host that objects come from, besides those known
    #[arg(long, value_name = "HOST")]
    content_host: Vec<String>,
    /// Only this organisation or repository of the forge
    #[arg(long, value_name = "PATH")]
    only: Option<String>,
    /// For a CI job: its token goes along in a header
    #[arg(long)]
    ci: bool,
    /// Ask this repository which host its objects come from (one object is downloaded by git-lfs)
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Commands, an environment, or a pod's `env:` list [default: by place]
    #[arg(long, value_enum)]
    form: Option<Form>,
    /// Which file the commands change
    #[arg(long, value_enum, default_value = "global")]
    scope: Scope,
    /// Run the commands instead of printing them
    #[arg(long)]
    apply: bool,
    /// Take the configuration back
    #[arg(long)]
    undo: bool,
}

/// Prints the lines, or applies them.
pub fn run(args: &GitConfigArgs) -> Outcome {
    let wish = wish(args)?;
    let mut settings = lines::settings(&wish);
    settings.extend(copies::settings(&wish)?);
    if args.apply {
        return apply(args, &wish, &settings);
    }
    say::result(text(args, &wish, &settings)?.trim_end());
    Ok(())
}

/// The lines for a cluster on this machine: its gateway, and whatever it may read.
pub fn for_local_cluster(gateway: &str, upstreams: &[String]) -> String {
    let providers: Vec<Provider> = upstreams.iter().filter_map(|entry| Provider::named(entry)).collect();
    if providers.is_empty() {
        return "No upstream may be read yet: start again with --allow-upstream HOST.\n".to_owned();
    }
    let wish = Wish { gateway: gateway.to_owned(), providers, only: None, ci: false };
    let settings = lines::settings(&wish);
    format!(
        "Paste this, and git reaches these upstreams through the first daemon:\n\n{}\n\
         This takes it back: darner git-config --apply --undo --gateway {gateway} {}\n",
        form::commands(&settings, "global"),
        upstreams.join(" ")
    )
}

fn wish(args: &GitConfigArgs) -> Result<Wish, Failure> {
    let mut providers = Vec::new();
    for name in &args.providers {
        providers.push(Provider::named(name).ok_or_else(|| {
            Failure::usage(format!("`{name}` is no forge we know and no host"))
                .hint("give github, gitlab, huggingface, or the forge's host, for example git.example.com")
        })?);
    }
    if let Some(repo) = &args.repo {
        providers.push(discover::provider(repo)?);
    }
    let first = providers.first_mut().ok_or_else(|| {
        Failure::usage("which forge?").hint("give github, gitlab, huggingface, a host, or --repo URL")
    })?;
    for host in &args.content_host {
        let base =
            Base::parse(host).ok_or_else(|| Failure::usage(format!("`--content-host {host}` is no host")))?;
        first.contents.push(base);
    }
    Ok(Wish { gateway: gateway(args)?, providers, only: args.only.clone(), ci: args.ci })
}

/// The daemon's address, seen from the place.
fn gateway(args: &GitConfigArgs) -> Result<String, Failure> {
    let given = match (&args.gateway, args.place) {
        (Some(given), _) => given.trim_end_matches('/').to_owned(),
        (None, Place::Node) => "http://127.0.0.1:65001".to_owned(),
        // The NodePort of the documents; HOST_IP comes from the downward API.
        (None, Place::Pod) => format!("http://{HOST_IP}:30950"),
        (None, Place::External) => {
            return Err(Failure::usage("from outside there is no usual address")
                .hint("give the address of a node: --gateway http://NODE:30950"));
        }
    };
    let shown = given.replace(HOST_IP, "node");
    let right = url::Url::parse(&shown).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
    });
    if right {
        Ok(given)
    } else {
        Err(Failure::usage(format!("`--gateway {given}`: write http://HOST:PORT")))
    }
}

fn text(args: &GitConfigArgs, wish: &Wish, settings: &[Setting]) -> Result<String, Failure> {
    let usual = if args.place == Place::Pod { Form::Pod } else { Form::Commands };
    let form = args.form.unwrap_or(usual);
    if args.undo {
        return match form {
            Form::Commands => Ok(form::undo(settings, args.scope.word())),
            Form::Env | Form::Pod => Err(Failure::usage("an environment is undone by leaving it out")),
        };
    }
    if form == Form::Pod && wish.ci {
        return Err(Failure::usage("a token of a job cannot stand in a pod's `env:` list")
            .hint("run the commands inside the job: --form commands, or --form env"));
    }
    let body = match form {
        Form::Commands => form::commands(settings, args.scope.word()),
        Form::Env => form::env(settings),
        Form::Pod => form::pod(settings),
    };
    Ok(format!("{body}{}", advice(args.place, wish)))
}

/// What no configuration of git can say.
fn advice(place: Place, wish: &Wish) -> String {
    let host = wish.gateway.split_once("://").map_or("", |(_, authority)| authority);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let mut words = match place {
        Place::Pod => format!("# Behind a proxy also: NO_PROXY and no_proxy with {HOST_IP}\n"),
        Place::Node | Place::External => {
            format!(
                "# Behind a proxy also: export NO_PROXY=\"{host},$NO_PROXY\" no_proxy=\"{host},$no_proxy\"\n"
            )
        }
    };
    if place == Place::External && wish.gateway.starts_with("http://") {
        words.push_str(
            "# Credentials cross the network readable here: prefer --gateway https://... (same port).\n",
        );
    }
    words
}

fn apply(args: &GitConfigArgs, wish: &Wish, settings: &[Setting]) -> Outcome {
    if args.place == Place::Pod && args.gateway.is_none() {
        return Err(Failure::usage("the address of a node is only known inside the pod")
            .hint("run it there with --gateway http://$HOST_IP:30950"));
    }
    let scope = args.scope.word();
    let script = if args.undo { form::undo(settings, scope) } else { form::commands(settings, scope) };
    for line in script.lines() {
        // The shell completes what is only named, as it would for a person who pastes the line.
        let status = std::process::Command::new("sh")
            .args(["-c", line])
            .status()
            .map_err(|error| Failure::negative(format!("cannot run sh: {error}")))?;
        // 5 is git's word for "there was nothing to unset".
        let nothing_there = args.undo && status.code() == Some(5);
        if !status.success() && !nothing_there {
            return Err(Failure::negative(format!("git did not take this line: {line}")));
        }
    }
    let what = if args.undo { "taken back" } else { "set" };
    say::note(&format!("{what} in the {scope} configuration; gateway {}", wish.gateway));
    Ok(())
}

/// The version of git, for those who need more than a line.
pub fn git_version() -> Option<String> {
    git::answer(&["--version"])
}

#[cfg(test)]
mod tests;
