//! The `darner` command line.
//!
//! Owns: the commands, their arguments, exit codes (0 well, 1 negative, 2 a wrong call) and the words on the terminal.
//! Never: bytes of objects, decisions of a service; it starts the services (`up`), asks them, and tells git about them.
//! A command keeps nothing between two calls but what `up --data` names.

pub mod credential;
pub mod doctor;
pub mod failure;
pub mod get;
pub mod git;
pub mod git_config;
pub mod http;
pub mod keys;
pub mod prefetch;
pub mod progress;
pub mod say;
pub mod show;
pub mod socket;
pub mod status;
pub mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Failure, Outcome};

/// Git LFS objects, fetched from the origin once and passed on from peer to peer.
#[derive(Debug, Parser)]
#[command(name = "darner", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a whole local cluster on loopback and keep it until SIGTERM or Ctrl-C
    Up(Box<up::UpArgs>),
    /// Print the git configuration that makes a client go through Darner
    GitConfig(git_config::GitConfigArgs),
    /// Git credential helper of the gateway
    Credential {
        /// What git asks for
        #[arg(value_enum)]
        action: credential::Action,
    },
    /// Git filter process (comes later)
    FilterProcess,
    /// Git clean filter (comes later)
    Clean {
        /// The path git passes
        path: Option<String>,
    },
    /// Git smudge filter (comes later)
    Smudge {
        /// The path git passes
        path: Option<String>,
    },
    /// Make the keys of a cluster, once: into a directory or a Kubernetes Secret
    Keys(keys::KeysArgs),
    /// Download objects through the daemon
    Get(Box<get::GetArgs>),
    /// Ask the manager to fetch a repository's objects before anybody needs them
    Prefetch(prefetch::PrefetchArgs),
    /// What the daemon of this node holds and does
    Status(socket::SocketArgs),
    /// Does this clone go through Darner, and why not
    Doctor(doctor::DoctorArgs),
    /// What the daemon of this node knows of one object
    Explain {
        /// 64 hexadecimal digits
        oid: String,
        #[command(flatten)]
        socket: socket::SocketArgs,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::note(&failure.to_string());
            failure.code()
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Up(args) => wait_for(up::run(*args)),
        Command::GitConfig(args) => git_config::run(&args),
        Command::Credential { action } => credential::run(action),
        Command::FilterProcess => Err(later("filter-process")),
        Command::Clean { .. } => Err(later("clean")),
        Command::Smudge { .. } => Err(later("smudge")),
        Command::Keys(args) => wait_for(keys::run(args)),
        Command::Get(args) => wait_for(get::run(*args)),
        Command::Prefetch(args) => wait_for(prefetch::run(args)),
        Command::Status(args) => wait_for(async move { status::status(&args).await }),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain { oid, socket } => wait_for(async move { status::explain(&socket, &oid).await }),
    }
}

fn later(command: &str) -> Failure {
    Failure::later(&format!("`darner {command}`"))
        .hint("until then git-lfs's own filter does this work: git lfs install")
}

/// Runs a command that waits for others, on this thread.
fn wait_for(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::negative(format!("cannot start the runtime: {error}")))?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_there() {
        let known: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in [
            "up",
            "git-config",
            "credential",
            "filter-process",
            "clean",
            "smudge",
            "get",
            "prefetch",
            "status",
            "doctor",
            "explain",
        ] {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn up_takes_every_flag_of_the_contract() {
        let line = "darner up --peers 4 --seeds 2 --schedulers 2 --port 0 --data d --config f --allow-upstream a \
                    --allow-upstream http://b:1 --resolve a:443:127.0.0.1 --upstream-ca c.pem --lfs-server \
                    --zone-of 0=x --zone-of 1=y --redis r --database d --otlp o --json";
        let parsed = Cli::try_parse_from(line.split_whitespace()).expect("a contract");
        let Command::Up(args) = parsed.command else { panic!("not up") };
        assert_eq!(
            (args.peers, args.seeds, args.schedulers, args.port),
            (Some(4), Some(2), Some(2), Some(0))
        );
        assert_eq!(args.allow_upstream, ["a", "http://b:1"]);
        assert_eq!(args.zone_of, ["0=x", "1=y"]);
        assert!(args.json && args.lfs_server);
    }

    #[test]
    fn filters_say_that_they_come_later_and_end_with_2() {
        for command in [Command::FilterProcess, Command::Clean { path: None }, Command::Smudge { path: None }]
        {
            let failure = run(command).expect_err("not here yet");
            assert_eq!(failure.kind(), failure::Kind::Usage);
            assert!(failure.to_string().contains("later"), "{failure}");
        }
    }
}
