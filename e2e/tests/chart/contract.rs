//! Names, labels and ports: what the seed documents' commands look for, and what others rely on.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::helm::{EVERYTHING, objects, one, pods, root, run, seed};

fn rendered() -> anyhow::Result<Vec<Value>> {
    objects("1.34.4", &["-f", &seed("zh")])
}

#[test]
fn the_commands_of_the_documents_find_what_they_look_for() -> anyhow::Result<()> {
    let objects = rendered()?;
    for (kind, component, port) in [
        ("StatefulSet", "scheduler", 8002),
        ("DaemonSet", "dfdaemon", 65001),
        ("StatefulSet", "seed-peer", 65000),
        ("Deployment", "manager", 8080),
        ("Deployment", "jaeger", 16686),
    ] {
        let template = &one(&objects, kind, &format!("dragonfly-{component}"))?["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        for (label, value) in [("app", "dragonfly"), ("release", "dragonfly"), ("component", component)] {
            assert_eq!(labels[label], value, "{component}");
        }
        let containers = template["spec"]["containers"].as_array().context("containers")?;
        assert_eq!(containers.len(), 1, "{component}");
        assert_eq!(containers[0]["ports"][0]["containerPort"], port, "{component}");
    }
    let query = one(&objects, "Service", "dragonfly-jaeger-query")?;
    assert_eq!(query["spec"]["ports"][0]["port"], 16686);
    Ok(())
}

#[test]
fn the_node_port_of_the_documents_is_left_to_their_own_service() -> anyhow::Result<()> {
    let taken = |objects: &[Value]| serde_json::to_string(objects).map(|text| text.contains("30950"));
    assert!(!taken(&rendered()?)?, "their Service `peer` could not be applied");
    let objects = objects("1.34.4", &[])?;
    let service = one(&objects, "Service", "dragonfly-dfdaemon")?;
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30950);
    assert_eq!(service["spec"]["trafficDistribution"], "PreferSameNode");
    Ok(())
}

#[test]
fn no_image_of_dragonfly_is_run_and_none_is_always_pulled() -> anyhow::Result<()> {
    let objects = rendered()?;
    for (name, pod) in pods(&objects) {
        let container = &pod["containers"][0];
        let image = container["image"].as_str().context("image")?;
        let ours = image.starts_with("localhost/darner:");
        assert!(ours || (name.contains("jaeger") && image.contains("jaegertracing")), "{name}: {image}");
        assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{name}");
    }
    Ok(())
}

#[test]
fn an_image_may_be_given_in_every_way() -> anyhow::Result<()> {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (options, image) in [
        (vec!["--set=scheduler.image=corp/darner,scheduler.tag=2"], "corp/darner:2".to_owned()),
        (
            vec!["--set=scheduler.image.repository=corp/darner,scheduler.image.tag=3"],
            "corp/darner:3".to_owned(),
        ),
        (vec!["--set=scheduler.image=corp:5000/darner:4"], "corp:5000/darner:4".to_owned()),
        (vec!["--set=image.tag=5"], "localhost/darner:5".to_owned()),
        (vec!["--set=global.imageRegistry=reg.corp"], "reg.corp/darner:0.1.0".to_owned()),
        (vec!["--set", &format!("image.digest={digest}")], format!("localhost/darner:0.1.0@{digest}")),
    ] {
        let objects = objects("1.34.4", &options)?;
        let scheduler = one(&objects, "StatefulSet", "dragonfly-scheduler")?;
        assert_eq!(
            scheduler["spec"]["template"]["spec"]["containers"][0]["image"],
            json!(image),
            "{options:?}"
        );
    }
    Ok(())
}

#[test]
fn every_object_is_of_this_release() -> anyhow::Result<()> {
    for object in objects("1.34.4", EVERYTHING)? {
        let name = object["metadata"]["name"].as_str().context("name")?;
        assert!(name.starts_with("dragonfly"), "{name}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], "dragonfly", "{name}");
    }
    Ok(())
}

#[test]
fn the_table_of_values_is_the_one_of_the_file() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("helm/darner/README.md"))?;
    let table = std::process::Command::new(root().join("helm/values-readme")).output()?;
    let table = String::from_utf8(table.stdout)?;
    assert!(table.lines().count() > 50, "{table}");
    assert!(readme.contains(&table), "run `helm/values-readme --write`");
    // A key nobody describes is a key nobody finds.
    let values = run(&["show", "values"], &[])?.map_err(anyhow::Error::msg)?;
    let values: Value = serde_saphyr::from_str(&values)?;
    for part in ["scheduler", "seedPeer", "dfdaemon", "manager"] {
        for key in values[part].as_object().context("a part")?.keys() {
            assert!(table.contains(&format!("`{part}.{key}")), "`{part}.{key}` has no line");
        }
    }
    Ok(())
}
