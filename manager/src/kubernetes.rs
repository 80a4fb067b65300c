//! The manager inside Kubernetes: custom resources, the places of the parts, the webhook.
//!
//! Owns: what of it runs, and in which order it starts. Nothing of it runs unless `kubernetes.enabled` says so. Never:
//! something a download waits for: with the API server away everything stays as it was, and the nodes serve on. Of
//! several managers each watches and tells its own nodes; the one that holds the Lease writes.
//!
//! Rooms: `upstream` (the resource), `judge` (pure: what becomes of it), `keeper` (reads what it names), `frame` (watch,
//! judge, write, for every kind), `condition`, `lease` (who writes), `places` (EndpointSlices), `webhook`.

pub mod condition;
pub mod config;
pub mod frame;
pub mod judge;
pub mod keeper;
pub mod lease;
pub mod places;
pub mod upstream;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use darner_chassis::net::{self, BindError};
use darner_chassis::shown::{Shown, ShownError};
use darner_chassis::tasks::{Drain, Tasks};
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config, CustomResourceExt as _};
use tokio::sync::watch;

use crate::control::Control;
use config::{Kubernetes, Webhook};
use frame::Ground;
use lease::Candidate;

/// The API server ends a watch after 290 s.
const WATCH_SILENCE: Duration = Duration::from_secs(295);

/// Why the part of the manager that lives in Kubernetes cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{}", .0.join("; "))]
    Mistakes(Vec<String>),
    /// It is not known how the API server is reached.
    #[error("`kubernetes.enabled`: the API server is not known: {0}")]
    Unknown(String),
    /// The webhook cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The webhook has no certificate.
    #[error(transparent)]
    Certificate(#[from] ShownError),
}

/// The definitions of our kinds, as the chart installs them: file name and YAML.
pub fn definitions() -> Result<Vec<(String, String)>, String> {
    let definition = upstream::LfsUpstream::crd();
    let name = definition.metadata.name.clone().unwrap_or_default();
    let text = serde_saphyr::to_string(&definition).map_err(|error| error.to_string())?;
    let head = "# Made by `manager --print-crds`; a test of the manager compares it.\n";
    Ok(vec![(format!("{name}.yaml"), format!("{head}{text}"))])
}

/// What everything here stands on.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What the doors of the manager share.
    pub control: Control,
    /// Owner of the tasks.
    pub tasks: Tasks,
    /// Says when the process leaves.
    pub drain: Drain,
}

/// Start everything. Waits for nothing: the API server may come later. `schedulers` are those of the manager's own file,
/// shown while the cluster names none.
pub async fn start(config: &Kubernetes, schedulers: &[String], on: Standing) -> Result<(), StartError> {
    let mistakes = config.mistakes();
    if !mistakes.is_empty() {
        return Err(StartError::Mistakes(mistakes));
    }
    if !config.enabled {
        return Ok(());
    }
    let (client, namespace) = client(config).await?;
    tracing::info!(namespace, release = config.release, "running in Kubernetes");
    control_kinds(config, &client, &namespace, &on);
    let slices = Api::namespaced(client, &namespace);
    let following = places::follow(slices, config.release.clone(), schedulers.to_vec(), on.control.clone());
    on.tasks.spawn("kubernetes places", following);
    open_webhook(&config.webhook, &on)
}

/// A client of the API server, and the namespace of the release.
pub(crate) async fn client(config: &Kubernetes) -> Result<(Client, String), StartError> {
    let mut reached = reached(config).await?;
    // The API server ends every watch sooner: what is silent for longer is dead.
    reached.read_timeout = Some(WATCH_SILENCE);
    let namespace = match config.namespace.as_str() {
        "" => reached.default_namespace.clone(),
        named => named.to_owned(),
    };
    let client = Client::try_from(reached).map_err(|error| StartError::Unknown(error.to_string()))?;
    Ok((client, namespace))
}

fn control_kinds(config: &Kubernetes, client: &Client, namespace: &str, on: &Standing) {
    let Standing { control, tasks, drain } = on;
    let own = own_name(control);
    let lease = format!("{}-manager", config.release);
    let (candidate, leadership) =
        Candidate::new(Api::namespaced(client.clone(), namespace), lease, own.clone());
    // To its end: it gives the lease back.
    tasks.spawn_to_end("kubernetes lease", candidate.stand(drain.clone()));
    let reporter = Reporter { controller: "darner-manager".to_owned(), instance: Some(own) };
    let ground = Ground {
        client: client.clone(),
        namespace: namespace.to_owned(),
        leadership: leadership.clone(),
        recorder: Recorder::new(client.clone(), reporter),
        around: control.cluster().around(),
    };
    let upstreams = keeper::Upstreams::new(control.clone(), client, namespace, leadership);
    tasks.spawn("kubernetes upstreams", frame::keep(ground, upstreams));
}

async fn reached(config: &Kubernetes) -> Result<Config, StartError> {
    let unknown = |error: &dyn std::fmt::Display| StartError::Unknown(error.to_string());
    match &config.kubeconfig {
        None => Config::incluster().map_err(|error| unknown(&error)),
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| unknown(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unknown(&error))
        }
    }
}

/// A name no other manager has: the pod's, and something of this process.
fn own_name(control: &Control) -> String {
    let mut random = [0; 4];
    control.random().fill(&mut random);
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_unset| "manager".to_owned());
    format!("{}_{}", host.chars().take(63).collect::<String>(), hex::encode(random))
}

fn open_webhook(config: &Webhook, on: &Standing) -> Result<(), StartError> {
    let Standing { control, tasks, drain } = on;
    if config.listen.is_empty() {
        return Ok(());
    }
    let certificate = Shown::load("kubernetes.webhook", &config.cert, &config.key)?;
    let server = certificate.server()?;
    let listener = net::bind(&config.listen, "kubernetes.webhook.listen")?;
    let own = config.upstreams.clone();
    let settings = watch::Sender::new(Arc::new(webhook::inject::wanted(&own, config.git_port)));
    let router = webhook::router(settings.subscribe());
    tracing::info!(listen = config.listen, "webhook listens");
    tasks.spawn("webhook certificate", certificate.follow());
    tasks.spawn("webhook settings", follow_upstreams(own, config.git_port, control.clone(), settings));
    let serving = webhook::serve(listener, server, router, drain.clone());
    tasks.spawn("webhook", async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the webhook ended");
        }
    });
    Ok(())
}

/// Keep the webhook's settings those of the file's and the cluster's upstreams together.
async fn follow_upstreams(
    own: Vec<String>,
    git_port: u16,
    control: Control,
    settings: watch::Sender<Arc<Vec<(String, String)>>>,
) {
    let mut given = control.cluster().upstreams();
    loop {
        let all: Vec<String> = {
            let given = given.borrow_and_update();
            let added = given.iter().flat_map(|list| &list.upstreams).map(|upstream| upstream.entry.clone());
            own.iter().cloned().chain(added).collect()
        };
        settings.send_replace(Arc::new(webhook::inject::wanted(&all, git_port)));
        if given.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chart's file of each definition; written anew when `DARNER_GOLDEN` is set.
    #[test]
    fn the_chart_installs_the_definitions_of_this_very_code() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/darner/crds");
        for (name, text) in definitions().unwrap() {
            let path = directory.join(name);
            if std::env::var_os("DARNER_GOLDEN").is_some() {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let installed = std::fs::read_to_string(&path).unwrap();
            assert_eq!(installed, text, "{}; DARNER_GOLDEN=1 writes it anew", path.display());
        }
    }

    #[test]
    fn a_definition_is_whole() {
        let definition = serde_json::to_value(upstream::LfsUpstream::crd()).unwrap();
        let version = &definition["spec"]["versions"][0];
        assert_eq!(definition["spec"]["names"]["shortNames"][0], "lfsu");
        assert_eq!(version["name"], "v1alpha1");
        assert!(version["subresources"]["status"].is_object());
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["x-kubernetes-validations"][0]["message"].as_str().unwrap().contains("`tls`"));
        assert!(spec["properties"]["tls"]["x-kubernetes-validations"][0]["rule"].is_string());
        assert!(spec["properties"]["url"]["pattern"].is_string());
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| &column["name"])
            .collect();
        assert_eq!(columns, ["URL", "Accepted", "Ready", "Nodes", "Reason", "Age"]);
    }
}
