//! The manager as a whole.
//!
//! Owns: the order of starting (catalog, first account, doors, ready) and of ending (doors, then the database).
//! Never: a decision. A test starts it as `main` does, on port 0.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use darner_chassis::clock::System;
use darner_chassis::command::Started;
use darner_chassis::{grpc, net};
use darner_proto::v1::identity_server::IdentityServer;
use darner_proto::v1::manager_server::ManagerServer;
use tonic::service::Routes;

use crate::access::first_admin;
use crate::attach::Attach;
use crate::catalog::{self, Catalog};
use crate::config::Config;
use crate::control::Control;
use crate::kubernetes::Standing;
use crate::{api, enrolment, kubernetes, listen};

/// Between two tidyings of the catalog.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// Run the manager until it is told to leave.
pub async fn run(started: Started<Config>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = &started.config.value;
    let data = config.data();
    make_directory(&data)?;
    let catalog = Catalog::open(&catalog::file_of(config.database.as_deref(), &data)?).await?;
    let (clock, random) = (Arc::new(System), Arc::new(System));
    let control = Control::new(catalog.clone(), clock, random, started.drain.clone()).await?;
    let now_ms = control.now_ms();
    first_admin::ensure(&catalog, control.passwords(), control.random(), &data, now_ms).await?;
    catalog.set_schedulers(&config.schedulers).await?;

    let http = net::bind(&config.http.listen, "http.listen")?;
    let nodes = net::bind(&config.grpc.listen, "grpc.listen")?;
    let (http_address, grpc_address) = (http.local_addr()?, nodes.local_addr()?);
    let attach = ManagerServer::new(Attach::new(control.clone(), started.tasks.clone()));
    let (tasks, drain) = (started.tasks.clone(), started.drain.clone());
    let standing = Standing { control: control.clone(), tasks, drain };
    Box::pin(kubernetes::start(&config.kubernetes, &config.schedulers, standing)).await?;
    let (wire, identity) = enrolment::open(config, &control, &started.tasks).await?;
    let mut routes = Routes::new(attach);
    if let Some(identity) = identity {
        routes = routes.add_service(IdentityServer::new(identity));
    }
    grpc::Port { wire, pages: None }.serve(nodes, routes, &started.tasks, &started.drain);
    started.tasks.spawn("tidy catalog", tidy(control.clone()));
    let url = format!("http://{http_address}");
    started.ready.write(&[("url", url), ("grpc", grpc_address.to_string())])?;

    listen::serve(http, api::router(control), started.drain.clone()).await?;
    started.tasks.close().await;
    catalog.close().await;
    Ok(())
}

fn make_directory(data: &Path) -> Result<(), String> {
    std::fs::create_dir_all(data)
        .map_err(|error| format!("`data`: the directory {} cannot be made: {error}", data.display()))
}

async fn tidy(control: Control) {
    loop {
        if let Err(error) = control.catalog().tidy(control.now_ms()).await {
            tracing::warn!(%error, "the catalog could not be tidied");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}
