//! EndpointSlices tell a node its zone, and the manager who is gone.

use darner_e2e::http::{self, Ask};
use darner_e2e::wait;
use serde_json::{Value, json};

use super::stage::{Process, SOON, Stage};

/// The nodes that the console shows.
async fn listed(manager: &Process, stage: &Stage) -> anyhow::Result<Vec<Value>> {
    let url = manager.at("url").trim_start_matches("http://").to_owned();
    let password = std::fs::read_to_string(stage.path().join("manager/admin-password"))?;
    let body = json!({"user": "admin", "password": password.trim()}).to_string().into_bytes();
    let headers = vec![("content-type", "application/json")];
    let ask = Ask { method: "POST", target: "/api/v1/session", headers, body };
    let signed_in = http::ask(&url, ask).await?;
    let cookie =
        signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
    let ask = Ask { target: "/api/v1/nodes", headers: vec![("cookie", cookie)], ..Ask::default() };
    Ok(http::ask(&url, ask).await?.json()?["items"].as_array().cloned().unwrap_or_default())
}

fn slice(component: &str, port: u16, addresses: &[&str]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|at| json!({"addresses": [at], "zone": "east-1"})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": component, "labels": {"app": "darner", "component": component}},
        "ports": [{"name": "grpc", "port": port}], "endpoints": endpoints
    })
    .to_string()
}

#[tokio::test]
async fn a_node_learns_its_zone_and_who_is_gone_is_forgotten() {
    let mut stage = Stage::set("places");
    let manager = stage.manager("manager", json!({})).await;
    let scheduler = stage.start("scheduler", "scheduler", json!({"grpc": {"listen": "127.0.0.1:0"}})).await;
    let config = json!({
        "manager": manager.at("grpc"), "schedulers": [scheduler.at("grpc")], "host": {"advertise": "192.0.2.10"},
        "grpc": {"listen": "127.0.0.1:0"}, "piece": {"listen": "127.0.0.1:0"}
    });
    let seed = stage.start("seed-peer", "seed", config).await;
    stage.apply(&slice("seed-peer", 65000, &["192.0.2.10"])).unwrap();
    stage.apply(&slice("scheduler", 8002, &["192.0.2.20"])).unwrap();

    // The scheduler hears it from the node itself, which has learned it from the manager.
    let at = scheduler.at("grpc").to_owned();
    let learned = || async { Ok(http::get(&at, "/").await?.text().contains("zone=east-1").then_some(())) };
    wait::within(SOON, "the scheduler knows the zone", learned).await.unwrap();
    let shown = || async {
        let nodes = listed(&manager, &stage).await?;
        let zone = nodes.iter().any(|node| node["component"] == "seed-peer" && node["zone"] == "east-1");
        let scheduler = nodes.iter().any(|node| node["grpcAddress"] == "192.0.2.20:8002");
        Ok((zone && scheduler).then_some(()))
    };
    wait::within(SOON, "the console shows zone and scheduler", shown).await.unwrap();

    stage.end(&seed);
    stage.apply(&slice("seed-peer", 65000, &[])).unwrap();
    let forgotten = || async {
        let nodes = listed(&manager, &stage).await?;
        Ok(nodes.iter().all(|node| node["component"] != "seed-peer").then_some(()))
    };
    wait::within(SOON, "the seed is forgotten", forgotten).await.unwrap();
}
