//! Every Kubernetes from the floor to the newest is asked only for what it serves.

use anyhow::Context as _;
use serde_json::Value;

use super::helm::{EVERYTHING, objects, pods};

/// Minor versions the chart is for: Chart.yaml's floor, and the newest that is known.
const RANGE: std::ops::RangeInclusive<u32> = 20..=36;

/// What is rendered, the first minor version that serves it and the last; 99: it is still served.
const SERVED: &[(&str, &str, u32, u32)] = &[
    ("apps/v1", "", 9, 99),
    ("v1", "", 1, 99),
    ("batch/v1", "Job", 2, 99),
    ("rbac.authorization.k8s.io/v1", "", 8, 99),
    ("networking.k8s.io/v1", "NetworkPolicy", 8, 99),
    ("scheduling.k8s.io/v1", "PriorityClass", 14, 99),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", 16, 99),
    ("policy/v1beta1", "PodDisruptionBudget", 5, 24),
    ("policy/v1", "PodDisruptionBudget", 21, 99),
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler", 12, 25),
    ("autoscaling/v2", "HorizontalPodAutoscaler", 23, 99),
    // Of other operators: theirs to say.
    ("monitoring.coreos.com/v1", "", 1, 99),
    ("cert-manager.io/v1", "", 1, 99),
];

fn at(minor: u32) -> anyhow::Result<Vec<Value>> {
    objects(&format!("1.{minor}.0"), EVERYTHING)
}

#[test]
fn every_version_of_the_range_serves_what_it_is_asked_for() -> anyhow::Result<()> {
    for minor in RANGE {
        for object in at(minor)? {
            let (version, kind) = (
                object["apiVersion"].as_str().context("apiVersion")?,
                object["kind"].as_str().context("kind")?,
            );
            let served = SERVED.iter().any(|(of, what, first, last)| {
                *of == version && (what.is_empty() || *what == kind) && (*first..=*last).contains(&minor)
            });
            assert!(served, "1.{minor} does not serve {version} {kind}");
        }
    }
    Ok(())
}

#[test]
fn fields_are_there_from_the_version_that_knows_them() -> anyhow::Result<()> {
    for minor in RANGE {
        let objects = at(minor)?;
        let named = |kind: &str| {
            let mut all = objects.iter().filter(|object| object["kind"] == kind);
            all.find(|object| object["metadata"]["name"] == "dragonfly-dfdaemon")
                .cloned()
                .context(kind.to_owned())
        };
        let service = named("Service")?["spec"].clone();
        assert_eq!(service["internalTrafficPolicy"].is_string(), minor >= 22, "1.{minor}");
        let nearest = match minor {
            34.. => Value::from("PreferSameNode"),
            31.. => Value::from("PreferClose"),
            _ => Value::Null,
        };
        assert_eq!(service["trafficDistribution"], nearest, "1.{minor}");
        let surge = &named("DaemonSet")?["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"];
        assert_eq!(surge.is_number(), minor >= 22, "1.{minor}");
        assert!(pods(&objects).len() >= 6, "1.{minor}");
    }
    Ok(())
}

#[test]
fn the_floor_is_the_one_the_chart_says() -> anyhow::Result<()> {
    let chart = std::fs::read_to_string(super::helm::root().join("helm/darner/Chart.yaml"))?;
    assert!(chart.contains(&format!("kubeVersion: \">=1.{}.0-0\"", RANGE.start())), "{chart}");
    assert!(at(RANGE.start() - 1).is_err(), "older ones are refused by Helm");
    Ok(())
}
