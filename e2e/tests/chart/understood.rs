//! Every part understands the configuration the chart gives it, and the chart knows every key a part has.

use std::process::Command;

use anyhow::Context as _;
use darner_e2e::cluster::program;
use serde_json::Value;

use super::helm::{EVERYTHING, objects, one, root, seed};

/// Program, name in the cluster, name in the schema.
const PARTS: &[(&str, &str, &str)] = &[
    ("manager", "manager", "managerConfig"),
    ("scheduler", "scheduler", "schedulerConfig"),
    ("seed-peer", "seed-peer", "seedPeerConfig"),
    ("peer-daemon", "dfdaemon", "dfdaemonConfig"),
];

/// What a part makes of a configuration file.
fn printed(part: &str, config: &str) -> anyhow::Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), config)?;
    let ran = Command::new(program(part)?).arg("--config").arg(file.path()).arg("--print-config").output()?;
    let words = String::from_utf8_lossy(&ran.stderr);
    anyhow::ensure!(ran.status.success(), "{part}: {words}\n{config}");
    Ok(String::from_utf8(ran.stdout)?)
}

#[test]
fn each_part_takes_the_configuration_it_is_given() -> anyhow::Result<()> {
    let english = seed("en");
    for options in [
        &[][..],
        &["-f", &english],
        &["--set=mtls.enabled=false"],
        &["--set=mtls.joinWith=serviceAccount"],
        EVERYTHING,
    ] {
        let objects = objects("1.34.4", options)?;
        for (part, name, _) in PARTS {
            let map = one(&objects, "ConfigMap", &format!("dragonfly-{name}"))?;
            let shown = printed(part, map["data"]["config.yaml"].as_str().context("config.yaml")?)?;
            assert!(shown.contains("/var/lib/darner"), "{shown}");
        }
    }
    Ok(())
}

#[test]
fn the_schema_knows_every_key_of_every_part() -> anyhow::Result<()> {
    let schema = std::fs::read_to_string(root().join("helm/darner/values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    for (part, _, definition) in PARTS {
        let shown: Value = serde_saphyr::from_str(&printed(part, "{}")?)?;
        let mut missing = Vec::new();
        compare("", &shown, &schema["$defs"][definition]["anyOf"][0], &mut missing);
        assert_eq!(missing, Vec::<String>::new(), "{part}: put them into values.schema.json");
    }
    Ok(())
}

/// Keys of `shown` that a schema of an object does not name; an object without properties takes all.
fn compare(at: &str, shown: &Value, schema: &Value, missing: &mut Vec<String>) {
    let (Some(keys), Some(known)) = (shown.as_object(), schema["properties"].as_object()) else { return };
    for (key, value) in keys {
        let path = format!("{at}{key}");
        match known.get(key) {
            Some(schema) => compare(&format!("{path}."), value, schema, missing),
            None => missing.push(path),
        }
    }
}
