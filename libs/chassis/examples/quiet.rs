//! The smallest process of the house: it is ready, waits to be told to leave, and leaves. The tests run it.

use std::process::ExitCode;

use darner_chassis::command::{self, Ended, Started};
use darner_chassis::config::Secret;
use darner_chassis::settings::Shared;
use serde::{Deserialize, Serialize};

/// What it understands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    #[serde(flatten)]
    shared: Shared,
    password: Secret,
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}

fn main() -> ExitCode {
    command::run("quiet", "1.2.3", run)
}

async fn run(started: Started<Config>) -> Ended {
    started.ready.write(&[])?;
    started.drain.wait().await;
    Ok(())
}
