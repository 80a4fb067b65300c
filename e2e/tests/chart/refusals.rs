//! Wrong values end before anything is installed, in words that name the key and the reason.

use super::helm::{EVERYTHING, objects, refused, text};

/// Options, and what the words of the refusal must hold.
type Case = (&'static [&'static str], &'static [&'static str]);

const WRONG: &[Case] = &[
    (&["--set=dfdaemn.enable=true"], &["additional properties 'dfdaemn' not allowed"]),
    (&["--set=dfdaemon.prot=1"], &["/dfdaemon", "'prot' not allowed"]),
    (&["--set=dfdaemon.config.proxxy=1"], &["/dfdaemon/config", "'proxxy' not allowed"]),
    (&["--set=dfdaemon.port=70000"], &["/dfdaemon/port", "65,535"]),
    (&["--set=dfdaemon.port=0"], &["/dfdaemon/port", "minimum"]),
    (&["--set=fallback=maybe"], &["/fallback", "'origin', 'fail'"]),
    (&["--set=scheduler.replicas=0"], &["/scheduler/replicas", "minimum"]),
    (&["--set=scheduler.replicas=many"], &["/scheduler/replicas", "want integer"]),
    (&["--set=dfdaemon.storage.type=nfs"], &["/dfdaemon/storage/type", "'emptyDir', 'hostPath'"]),
    (&["--set=dfdaemon.storage.size=lots"], &["/dfdaemon/storage/size", "pattern"]),
    (&["--set=telemetry.sample=2"], &["/telemetry/sample", "maximum"]),
    (&["--set=resolve={forge}"], &["/resolve/0", "pattern"]),
    (&["--set=image.digest=abc"], &["/image/digest", "pattern"]),
    (&["--set=manager.replicas=2"], &["`manager.replicas`", "SQLite"]),
    (&["--set=keys.existingSeedSecret=a"], &["`keys.existingSeedSecret`", "`keys.existingSecret`"]),
    (&["--set=mtls.joinWith=faith"], &["/mtls/joinWith", "'secret', 'serviceAccount'"]),
    (
        &["--set=mtls.joinWith=serviceAccount,manager.kubernetes.enable=false"],
        &["`mtls.joinWith`", "`manager.kubernetes.enable`"],
    ),
    (&["--set=mtls.enabled=maybe"], &["/mtls/enabled", "want boolean"]),
    (&["--set=mtls.lifetimeSeconds=5"], &["/mtls/lifetimeSeconds", "minimum"]),
    (&["--set=mtls.trustDomain=a/b"], &["/mtls/trustDomain", "pattern"]),
    (&["--set=mtls.existingSecrets.authority=Not_One"], &["/mtls/existingSecrets/authority", "pattern"]),
    (&["--set=mtls.existingSecrets.authority=ca"], &["`mtls.existingSecrets.dfdaemon` is missing"]),
    (&["--set=manager.enable=false"], &["`mtls.enabled`", "`manager.enable`"]),
    (&["--set=scheduler.config.tls.joinToken=/x"], &["`scheduler.config.tls`", "`mtls`"]),
    (&["--set=manager.config.ca.key=/x"], &["`manager.config.ca`", "`mtls`"]),
    (&["--set=webhook.timeoutSeconds=0"], &["/webhook/timeoutSeconds", "minimum"]),
    (&["--set=webhook.tls.caBundle=abc"], &["/webhook/tls/caBundle", "does not match"]),
    (&["--set=webhook.namespaceSelector=null"], &["/webhook", "namespaceSelector"]),
    (
        &["--set=webhook.enabled=true,manager.kubernetes.enable=false"],
        &["`webhook.enabled`", "`manager.kubernetes.enable`"],
    ),
    (
        &["--set=webhook.enabled=true,dfdaemon.service.nodePort.enable=false"],
        &["`webhook.enabled`", "`dfdaemon.hostPort`", "`webhook.gitPort`"],
    ),
    (&["--set=webhook.enabled=true,webhook.tls.existingSecret=a"], &["`webhook.tls.caBundle` is missing"]),
    (
        &["--set=webhook.enabled=true,webhook.tls.existingSecret=a,webhook.tls.certManager.issuer=b"],
        &["`webhook.tls`", "not both"],
    ),
    (&["--set=dfdaemon.config.upstreamsFromCluster=true"], &["`manager.kubernetes.upstreams`"]),
    (&["--set=redis.enable=true"], &["`redis.enable`", "uses no Redis"]),
    (&["--set=postgresql.enable=true"], &["`postgresql.enable`", "SQLite"]),
    (&["--set=upstreamCa=/ca.pem"], &["`upstreamCa`", "PEM"]),
    (
        &["--set=upstreamCa.existingSecret=a", "--set=upstreamCa.existingConfigMap=b"],
        &["`upstreamCa`", "not both"],
    ),
    (&["--set=dfdaemon.config.git.listen=:1"], &["`dfdaemon.config.git.listen`", "`dfdaemon.port`"]),
    (&["--set=seedPeer.config.upstreams={a}"], &["`seedPeer.config.upstreams`", "set `upstreams`"]),
    (&["--set=scheduler.config.data=/x"], &["`scheduler.config.data`", "/var/lib/darner"]),
    (&["--set=manager.config.http.listen=:1"], &["`manager.config.http.listen`", "8080"]),
    (
        &["--set=dfdaemon.config.proxy.tcpListen.namespace=/run/netns/a"],
        &["`dfdaemon.config.proxy.tcpListen.namespace`", "network namespace"],
    ),
    (&["--set=peerDaemon.port=1", "--set=dfdaemon.port=2"], &["`peerDaemon`", "one of them"]),
    (
        &["--set=scheduler.tag=1", "--set=scheduler.image.tag=2"],
        &["`scheduler.tag`", "`scheduler.image.tag`"],
    ),
    (&["--set=dfdaemon.enable=false", "--set=seedPeer.enable=false"], &["nothing would serve"]),
    (
        &["--set=dfdaemon.git.allowPlaintext=false", "--set=dfdaemon.config.proxy.defaultFilter=A"],
        &["`dfdaemon.git.allowPlaintext`", "`dfdaemon.config.proxy`"],
    ),
];

#[test]
fn a_wrong_value_is_named_with_its_reason() -> anyhow::Result<()> {
    for (options, parts) in WRONG {
        let words = refused(options)?;
        for part in *parts {
            assert!(words.contains(part), "{options:?}: no {part} in {words}");
        }
    }
    Ok(())
}

#[test]
fn the_other_name_of_the_daemon_means_the_same() -> anyhow::Result<()> {
    let named = |name: &str| text("1.34.4", &[&format!("--set={name}.port=7000,{name}.hostPort=7001")]);
    let rendered = named("dfdaemon")?;
    assert!(rendered.contains("hostPort: 7001"), "{rendered}");
    // The defaults of `dfdaemon` are told from something said by their sum in files/dfdaemon.sha256.
    assert_eq!(named("peerDaemon")?, rendered);
    Ok(())
}

#[test]
fn everything_at_once_is_no_contradiction() -> anyhow::Result<()> {
    for kubernetes in ["1.20.0", "1.28.0", "1.34.4"] {
        let mut names: Vec<String> = objects(kubernetes, EVERYTHING)?
            .iter()
            .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "an object is there twice");
    }
    Ok(())
}
