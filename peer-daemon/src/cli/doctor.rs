//! `darner doctor`: says in words whether this clone goes through Darner, and if not, why not.
//!
//! Owns: gathering what git and git-lfs would do here (`facts`) and judging it (`diagnose`, pure). Never: changes
//! anything, contacts the origin, or prints a value that may be a credential.

mod diagnose;
mod facts;

use super::failure::{Failure, Outcome};
use super::say;
use diagnose::{Finding, diagnose};
use facts::gather;

/// Does this clone go through Darner, and why not.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// The remote to look at
    #[arg(long, value_name = "NAME", default_value = "origin")]
    remote: String,
    /// Address of the daemon, when the configuration of git does not say it
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
}

/// Looks at the clone we are in.
pub fn run(args: &DoctorArgs) -> Outcome {
    let facts = gather(&args.remote, args.gateway.as_deref())?;
    let report = diagnose(&facts);
    for finding in &report.findings {
        say::result(&shown(finding));
    }
    match report.through {
        Some(how) => {
            say::result(&format!("This clone goes through Darner: {how}."));
            Ok(())
        }
        None => Err(Failure::negative("this clone does not go through Darner").hint(report.next)),
    }
}

fn shown(finding: &Finding) -> String {
    match finding {
        Finding::Well(words) => format!("ok      {words}"),
        Finding::Note(words) => format!("note    {words}"),
        Finding::Wrong(words) => format!("wrong   {words}"),
    }
}
