//! One of two managers writes; when it goes the other does; and neither may do more than the Role says.

use anyhow::Context as _;
use darner_e2e::cluster::signal;
use darner_e2e::wait;
use rustix::process::Signal;
use serde_json::json;

use super::stage::{SOON, Stage};

async fn holder(stage: &Stage, not: &str) -> String {
    let look = || async {
        let lease = stage.get("lease/darner-manager")?;
        let holder =
            lease.pointer("/spec/holderIdentity").and_then(|value| value.as_str()).context("nobody")?;
        Ok((!holder.is_empty() && holder != not).then(|| holder.to_owned()))
    };
    wait::within(SOON, "somebody else holds the lease", look).await.unwrap()
}

#[tokio::test]
async fn the_lease_is_given_back_or_runs_out_and_the_other_manager_writes() {
    let mut stage = Stage::set("leader");
    let first = stage.manager("first", json!({})).await;
    let one = holder(&stage, "").await;
    let second = stage.manager("second", json!({})).await;
    stage.upstream("a", &json!({"url": "https://a.test"})).unwrap();
    stage.condition("a", "Accepted", "True", "Accepted").await;
    stage.end(&first);
    let other = holder(&stage, &one).await;
    stage.upstream("b", &json!({"url": "https://b.test"})).unwrap();
    stage.condition("b", "Accepted", "True", "Accepted").await;

    // Killed, it gives nothing back: the next one waits until the lease has not changed for its duration.
    let third = stage.manager("third", json!({})).await;
    signal(second.pid, Signal::KILL).unwrap();
    holder(&stage, &other).await;
    stage.upstream("c", &json!({"url": "https://c.test"})).unwrap();
    stage.condition("c", "Accepted", "True", "Accepted").await;
    assert!(!third.log().contains("panicked"));
}

#[tokio::test]
async fn the_manager_may_do_no_more_than_it_needs() {
    let stage = Stage::set("may");
    let account = format!("system:serviceaccount:{}:manager", stage.namespace);
    let may = |verb: &str, what: &str| {
        let told = stage.kubectl(&["auth", "can-i", verb, what, "--as", &account], "");
        told.map_or_else(|_no| false, |yes| yes.trim() == "yes")
    };
    assert!(may("watch", "lfsupstreams.darner.dev") && may("get", "secret/allowed"));
    for (verb, what) in [
        ("list", "secrets"),
        ("get", "secret/other"),
        ("update", "lfsupstreams.darner.dev"),
        ("get", "pods"),
        ("list", "nodes"),
        ("get", "lease/other"),
        ("create", "pods"),
    ] {
        assert!(!may(verb, what), "{verb} {what}");
    }
}
