//! The notes after an install: each command of the seed documents, ready to be pasted.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::helm::{program, root, seed};

/// Helm shows notes after an install only, which needs a cluster: here they are rendered as a template of a copy.
fn notes(options: &[&str]) -> anyhow::Result<String> {
    let copy = tempfile::tempdir()?;
    let chart = copy.path().join("darner");
    let copied = Command::new("cp").arg("-r").arg(root().join("helm/darner")).arg(&chart).status()?;
    anyhow::ensure!(copied.success(), "the chart could not be copied");
    std::fs::rename(chart.join("templates/NOTES.txt"), chart.join("notes.tpl"))?;
    std::fs::write(
        chart.join("templates/notes.yaml"),
        "notes: |\n{{ tpl (.Files.Get \"notes.tpl\") . | indent 2 }}\n",
    )?;
    let ran = rendered(&chart, options)?;
    let document: serde_json::Value = serde_saphyr::from_str(&ran)?;
    Ok(document["notes"].as_str().context("no notes")?.to_owned())
}

fn rendered(chart: &Path, options: &[&str]) -> anyhow::Result<String> {
    let ran = Command::new(program())
        .args(["template", "dragonfly", "--namespace", "dragonfly-system", "-s", "templates/notes.yaml"])
        .arg(chart)
        .args(options)
        .output()?;
    anyhow::ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

#[test]
fn the_four_items_of_the_documents_are_there() -> anyhow::Result<()> {
    let notes = notes(&["-f", &seed("zh")])?;
    for line in [
        r#"export SCHEDULER_POD_NAME=$(kubectl get pods --namespace dragonfly-system -l "app=dragonfly,release=dragonfly,component=scheduler" -o jsonpath={.items[0].metadata.name})"#,
        r#"export SCHEDULER_CONTAINER_PORT=$(kubectl get pod --namespace dragonfly-system $SCHEDULER_POD_NAME -o jsonpath="{.spec.containers[0].ports[0].containerPort}")"#,
        "kubectl --namespace dragonfly-system port-forward $SCHEDULER_POD_NAME 8002:$SCHEDULER_CONTAINER_PORT",
        r#"export DFDAEMON_POD_NAME=$(kubectl get pods --namespace dragonfly-system -l "app=dragonfly,release=dragonfly,component=dfdaemon" -o jsonpath={.items[0].metadata.name})"#,
        r#"export DFDAEMON_CONTAINER_PORT=$(kubectl get pod --namespace dragonfly-system $DFDAEMON_POD_NAME -o jsonpath="{.spec.containers[0].ports[0].containerPort}")"#,
        "You can use $DFDAEMON_CONTAINER_PORT as a proxy port in Node",
        "3. Configure runtime",
        r#"export JAEGER_QUERY_PORT=$(kubectl --namespace dragonfly-system get services dragonfly-jaeger-query -o jsonpath="{.spec.ports[0].port}")"#,
        "kubectl --namespace dragonfly-system port-forward service/dragonfly-jaeger-query 16686:$JAEGER_QUERY_PORT",
        "service=darner-peer-daemon",
    ] {
        assert!(notes.contains(line), "{line}\nis not in\n{notes}");
    }
    Ok(())
}

#[test]
fn what_was_taken_otherwise_than_said_is_told() -> anyhow::Result<()> {
    let told = notes(&["-f", &seed("en")])?;
    assert!(told.contains("`dfdaemon.image` names an image of Dragonfly"), "{told}");
    assert!(told.contains("`insecure: true` is accepted and weakens nothing"), "{told}");
    let told = notes(&["--set=webhook.enabled=true,mtls.enabled=false"])?;
    assert!(told.contains("kubectl label namespace NAME darner.dev/inject=enabled"), "{told}");
    assert!(told.contains("NOTE `mtls.enabled` is false"), "{told}");
    let told = notes(&[])?;
    assert!(!told.contains("mtls") && !told.contains("darner.dev/inject"), "{told}");
    assert!(told.contains("WARNING `upstreams` is empty"), "{told}");
    assert!(!told.contains("Dragonfly"), "{told}");
    Ok(())
}
