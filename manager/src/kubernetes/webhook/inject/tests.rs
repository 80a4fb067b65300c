//! The change of a pod, case by case; the last one lets a real git read it.

use super::*;

fn settings_of_two() -> Vec<(String, String)> {
    vec![("a.b".to_owned(), "1".to_owned()), ("c.d".to_owned(), "$(DARNER_HOST_IP)".to_owned())]
}

fn pod(containers: impl Into<Value>) -> Value {
    let containers: Value = containers.into();
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

/// The environment that the patch gives container `index`, as name -> value.
fn after(change: &Change, index: usize) -> Vec<(String, String)> {
    let path = format!("/spec/containers/{index}/env");
    let operation = change.operations.iter().find(|operation| operation["path"] == path.as_str()).unwrap();
    let entries = operation["value"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("<from>").to_owned();
    entries.map(|entry| (text(&entry["name"]), text(&entry["value"]))).collect()
}

fn value_of<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().rfind(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_container_without_environment_gets_the_settings_from_nought() {
    let change = change(&pod(json!([{"name": "c"}])), &settings_of_two());
    let env = after(&change, 0);
    assert_eq!(env[0].0, NODE_ADDRESS, "a value may only name what stands before it");
    assert_eq!(value_of(&env, "GIT_CONFIG_COUNT"), Some("2"));
    assert_eq!(value_of(&env, "GIT_CONFIG_KEY_0"), Some("a.b"));
    assert_eq!(value_of(&env, "GIT_CONFIG_VALUE_1"), Some("$(DARNER_HOST_IP)"));
    assert_eq!(change.operations[0]["value"][0]["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP");
}

#[test]
fn what_a_container_set_for_git_stays_and_ours_follow() {
    let own = json!([{"name": "c", "env": [
        {"name": "GIT_CONFIG_COUNT", "value": "1"},
        {"name": "GIT_CONFIG_KEY_0", "value": "user.name"},
        {"name": "GIT_CONFIG_VALUE_0", "value": "me"},
        {"name": "PATH", "value": "/bin"}
    ]}]);
    let env = after(&change(&pod(own), &settings_of_two()), 0);
    assert_eq!(value_of(&env, "GIT_CONFIG_COUNT"), Some("3"));
    assert_eq!(env.iter().filter(|(name, _)| name == "GIT_CONFIG_COUNT").count(), 1);
    assert_eq!(value_of(&env, "GIT_CONFIG_KEY_0"), Some("user.name"));
    assert_eq!(value_of(&env, "GIT_CONFIG_KEY_1"), Some("a.b"));
    assert_eq!(value_of(&env, "GIT_CONFIG_KEY_2"), Some("c.d"));
    assert_eq!(value_of(&env, "PATH"), Some("/bin"));
}

#[test]
fn a_container_that_cannot_be_understood_is_left_alone_with_a_word() {
    for env in [
        json!([{"name": "GIT_CONFIG_COUNT", "value": "many"}]),
        json!([{"name": "GIT_CONFIG_COUNT", "value": "-1"}]),
        json!([{"name": "GIT_CONFIG_COUNT", "value": "99999999999999999999"}]),
        json!([{"name": "GIT_CONFIG_COUNT", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]),
        json!([{"name": "GIT_CONFIG_KEY_1", "value": "a"}]),
        json!([{"name": "DARNER_HOST_IP", "value": "1.2.3.4"}]),
    ] {
        let change = change(&pod(json!([{"name": "odd", "env": env}])), &settings_of_two());
        assert!(change.operations.is_empty(), "{env}");
        assert!(change.warnings[0].contains("container odd"), "{change:?}");
    }
}

#[test]
fn every_container_is_changed_and_the_pod_is_marked_once() {
    let mut pod = pod(json!([{"name": "a"}, {"name": "b", "env": []}]));
    pod["spec"]["initContainers"] = json!([{"name": "i"}]);
    let change = change(&pod, &settings_of_two());
    let paths: Vec<_> =
        change.operations.iter().map(|operation| operation["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/spec/initContainers/0/env",
            "/spec/containers/0/env",
            "/spec/containers/1/env",
            "/metadata/annotations"
        ]
    );
}

#[test]
fn annotations_that_are_there_stay() {
    let mut pod = pod(json!([{"name": "a"}]));
    pod["metadata"]["annotations"] = json!({"x": "y"});
    let change = change(&pod, &settings_of_two());
    assert_eq!(change.operations[1]["path"], "/metadata/annotations/darner.dev~1injected");
}

#[test]
fn a_pod_that_says_no_or_was_changed_or_runs_windows_stays_as_it_is() {
    let with = |metadata: Value, spec: Value| {
        let mut pod = json!({"metadata": metadata, "spec": spec});
        pod["spec"]["containers"] = json!([{"name": "a"}]);
        pod
    };
    for pod in [
        with(json!({"labels": {INJECT: "disabled"}}), json!({})),
        with(json!({"annotations": {INJECT: "disabled"}}), json!({})),
        with(json!({"annotations": {INJECTED: "git"}}), json!({})),
        with(json!({}), json!({"os": {"name": "windows"}})),
    ] {
        assert_eq!(change(&pod, &settings_of_two()), Change::default(), "{pod}");
    }
}

#[test]
fn anything_is_a_pod_and_nothing_wanted_changes_nothing() {
    for odd in [json!(null), json!([]), json!({"spec": 7}), json!({"spec": {"containers": {"a": 1}}})] {
        assert_eq!(change(&odd, &settings_of_two()), Change::default());
    }
    assert_eq!(change(&pod(json!([{"name": "a"}])), &[]), Change::default());
}

#[test]
fn upstreams_become_the_settings_the_command_line_prints() {
    let upstreams = ["github.com", "http://lfs.corp:8080 -> http://10.0.0.9", "https://git.corp/"];
    let settings = wanted(&upstreams.map(str::to_owned), 30950);
    let has = |key: &str, value: &str| settings.contains(&(key.to_owned(), value.to_owned()));
    let gateway = "http://$(DARNER_HOST_IP):30950";
    assert!(has(&format!("url.{gateway}/https/github.com/.insteadOf"), "https://github.com/"));
    assert!(has(&format!("url.{gateway}/http/lfs.corp:8080/.insteadOf"), "http://lfs.corp:8080/"));
    assert!(has(&format!("url.{gateway}/https/git.corp/.insteadOf"), "https://git.corp/"));
    assert!(has("lfs.transfer.enablehrefrewrite", "true"));
    assert!(wanted(&[], 30950).is_empty());
}

/// What Kubernetes does with `$(NAME)`, then what git does with the variables.
#[test]
fn a_real_git_rewrites_its_addresses_by_the_environment() {
    let change = change(&pod(json!([{"name": "c"}])), &wanted(&["https://git.corp".to_owned()], 65001));
    let expanded = after(&change, 0).into_iter().skip(1).map(|(name, value)| {
        (name, value.replace(&format!("$({NODE_ADDRESS})"), "192.0.2.7").replace("$$", "$"))
    });
    let told = std::process::Command::new("git")
        .args(["ls-remote", "--get-url", "https://git.corp/org/repo"])
        .envs(expanded)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&told.stdout).trim(),
        "http://192.0.2.7:65001/https/git.corp/org/repo"
    );
}
