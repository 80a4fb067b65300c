//! The configuration as an operator meets it: layers, mistakes, printing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::settings::Shared;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Git {
    listen: String,
    allow_plaintext: bool,
    tls: Option<Tls>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    regx: String,
    direct: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    #[serde(flatten)]
    shared: Shared,
    git: Git,
    budget: Option<ByteSize>,
    schedulers: Vec<String>,
    password: Secret,
    rules: Vec<Rule>,
    labels: BTreeMap<String, String>,
}

fn load_text(
    text: &str,
    env: &[(&str, &str)],
    flags: &[(&str, Value)],
) -> Result<Loaded<Config>, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    load_with(Some(&path), env, &flags)
}

#[test]
fn nothing_said_is_the_default() {
    for text in ["", "# only a comment\n", "---\n", "git:\nschedulers:\n"] {
        let loaded = load_text(text, &[], &[]).unwrap();
        assert_eq!(loaded.value, Config::default(), "{text:?}");
        assert_eq!(loaded.sources.of("git.listen"), Source::Default);
    }
    assert_eq!(load_with::<Config>(None, Vec::new(), &[]).unwrap().value, Config::default());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "git:\n  listen: file\n  allowPlaintext: true\nverbose: true\nhost:\n  zone: file\n";
    let env = [
        ("DARNER__GIT__LISTEN", "env"),
        ("DARNER__HOST__ZONE", "env"),
        ("UNRELATED", "x"),
        ("DARNER_X", "y"),
    ];
    let loaded = load_text(file, &env, &[("git.listen", json!("flag"))]).unwrap();
    assert_eq!(loaded.value.git.listen, "flag");
    assert_eq!(loaded.value.shared.host.zone, "env");
    assert!(loaded.value.shared.verbose && loaded.value.git.allow_plaintext);
    let of = |key| loaded.sources.of(key);
    assert_eq!(
        [of("git.listen"), of("host.zone"), of("verbose"), of("host.id")],
        [Source::Flag, Source::Env, Source::File, Source::Default]
    );
}

#[test]
fn texts_become_what_their_key_takes() {
    let env = [
        ("DARNER__GIT__ALLOW_PLAINTEXT", "true"),
        ("DARNER__SCHEDULERS", "a:1, b:2"),
        ("DARNER__PPROFPORT", "6060"),
        ("DARNER__READY_FILE", "/run/ready"),
        ("DARNER__HOST__ID", "12345"),
        ("DARNER__BUDGET", "10GiB"),
        ("DARNER__TELEMETRY__SAMPLE", "0.5"),
        ("DARNER__LABELS__team", "build"),
    ];
    let flags = [("rules", json!("[{regx: x, direct: true}]")), ("verbose", json!(true))];
    let value = load_text("", &env, &flags).unwrap().value;
    assert!(value.git.allow_plaintext && value.shared.verbose);
    assert_eq!(value.schedulers, ["a:1", "b:2"]);
    assert_eq!(value.shared.pprof_port, Some(6060));
    assert_eq!(value.shared.ready_file, Some(PathBuf::from("/run/ready")));
    assert_eq!(value.shared.host.id.as_deref(), Some("12345"));
    assert_eq!(value.budget, Some(ByteSize(10 << 30)));
    assert!((value.shared.telemetry.sample - 0.5).abs() < f64::EPSILON);
    assert_eq!(value.rules, [Rule { regx: "x".to_owned(), direct: true }]);
    assert_eq!(value.labels.get("team").map(String::as_str), Some("build"));
}

#[test]
fn a_number_stays_a_text_where_a_text_is_wanted() {
    let value = load_text("host: {zone: \"007\"}\n", &[], &[("host.tenant", json!("42"))]).unwrap().value;
    assert_eq!((value.shared.host.zone.as_str(), value.shared.host.tenant.as_str()), ("007", "42"));
}

#[test]
fn all_mistakes_are_reported_at_once_each_by_its_key() {
    let file = "git:\n  listne: x\n  allowPlaintext: perhaps\nlog:\n  format: xml\nbogus: 1\nrules:\n- {rgx: a}\nadmin:\n";
    let env = [("DARNER__BUDGET", "lots"), ("DARNER__NO_SUCH_KEY", "1")];
    let error = load_text(file, &env, &[("telemetry.sample", json!("often"))]).unwrap_err();
    let words = error.to_string();
    for key in [
        "`git.listne`",
        "`git.allowPlaintext`",
        "`log.format`",
        "`bogus`",
        "`rules.0.rgx`",
        "`budget`",
        "`noSuchKey`",
        "`telemetry.sample`",
    ] {
        assert!(words.contains(key), "{key} not in:\n{words}");
    }
    assert_eq!(error.mistakes().len(), 8, "{words}");
    assert_eq!(words.lines().count(), 8);
    assert!(
        words.contains("did you mean `git.listen`?") && words.contains("did you mean `rules.0.regx`?"),
        "{words}"
    );
    assert!(
        words.contains("(environment)") && words.contains("(flag)") && words.contains("(file)"),
        "{words}"
    );
}

#[test]
fn an_unknown_key_without_a_value_is_refused_too() {
    let words = load_text("shedulers:\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("`shedulers`") && words.contains("`schedulers`"), "{words}");
}

#[test]
fn an_optional_block_is_checked_like_any_other() {
    let good = load_text("git: {tls: {cert: /a, key: /b}}\n", &[], &[]).unwrap();
    assert_eq!(good.value.git.tls, Some(Tls { cert: "/a".into(), key: "/b".into() }));
    let words = load_text("git: {tls: {cert: /a}}\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("`git.tls") && words.contains("key"), "{words}");
    let words = load_text("git: {tls: {cert: /a, key: /b, chain: /c}}\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("`git.tls.chain`"), "{words}");
}

#[test]
fn a_file_that_is_no_yaml_is_named_without_being_quoted() {
    let words = load_text("password: hunter2\n  bad: [\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("config.yaml") && !words.contains("hunter2"), "{words}");
    let words = load_text("- a list\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("key: value"), "{words}");
    let words = load_text("verbose: true\nverbose: false\n", &[], &[]).unwrap_err().to_string();
    assert!(words.contains("verbose"), "{words}");
}

#[test]
fn a_missing_file_is_named() {
    let words =
        load_with::<Config>(Some(Path::new("/no/such.yaml")), Vec::new(), &[]).unwrap_err().to_string();
    assert!(words.contains("/no/such.yaml"), "{words}");
}

#[test]
fn a_block_where_a_value_belongs_is_a_mistake_and_not_a_crash() {
    for file in ["git: 5\n", "verbose: {a: b}\n", "schedulers: {a: b}\n", "labels: [1]\n"] {
        let error = load_text(file, &[], &[]).unwrap_err();
        assert_eq!(error.mistakes().len(), 1, "{error}");
    }
}

#[test]
fn the_printed_file_reads_back_to_the_same_configuration() {
    let file = "git: {listen: \"a # b\", tls: {cert: /a, key: /b}}\nschedulers: [x, y]\nlabels: {\"a.b/c\": d}\nbudget: 3GiB\n";
    let loaded = load_text(file, &[], &[]).unwrap();
    let printed = loaded.to_yaml();
    assert!(printed.contains("listen: \"a # b\" # file"), "{printed}");
    assert_eq!(load_text(&printed, &[], &[]).unwrap().value, loaded.value);
}

#[test]
fn what_is_shown_names_the_source_and_hides_secrets() {
    let loaded =
        load_text("password: hunter2\nverbose: true\n", &[("DARNER__HOST__ZONE", "z")], &[]).unwrap();
    assert_eq!(loaded.value.password.expose(), "hunter2");
    let shown = loaded.render_redacted();
    assert_eq!(shown["verbose"], json!({"value": true, "source": "file"}));
    assert_eq!(shown["host.zone"], json!({"value": "z", "source": "env"}));
    assert_eq!(shown["git.listen"], json!({"value": "", "source": "default"}));
    for text in [shown.to_string(), loaded.to_yaml(), format!("{loaded:?}")] {
        assert!(!text.contains("hunter2") && text.contains("<redacted>"), "{text}");
    }
}
