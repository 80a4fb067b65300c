//! A namespace with the manager's service account, and the processes of a small cluster that knows the API server.
//! Dropping the stage deletes the namespace and ends the processes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use darner_e2e::cluster::{program, signal};
use darner_e2e::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

/// No wait of these tests lasts longer.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// What the chart's Role lets the manager do in the namespace of the release.
const ROLE: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: manager}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: manager}
rules:
- {apiGroups: [darner.dev], resources: [lfsupstreams], verbs: [list, watch]}
- {apiGroups: [darner.dev], resources: [lfsupstreams/status], verbs: [patch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [darner-manager], verbs: [get, update]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [""], resources: [secrets], resourceNames: [allowed, absent], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: manager}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: manager}
subjects: [{kind: ServiceAccount, name: manager}]
"#;

/// The administrator's kubeconfig.
fn admin() -> PathBuf {
    let named = std::env::var_os("DARNER_KUBECONFIG");
    PathBuf::from(named.expect("DARNER_KUBECONFIG names the kubeconfig of a cluster for tests"))
}

/// A namespace and what runs for it.
pub(crate) struct Stage {
    pub(crate) namespace: String,
    pub(crate) data: tempfile::TempDir,
    children: Vec<Child>,
}

/// A process and where it is reached.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) ready: Value,
    pub(crate) log: PathBuf,
}

impl Process {
    pub(crate) fn at(&self, which: &str) -> &str {
        self.ready[which].as_str().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Stage {
    pub(crate) fn set(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("darner-{name}-{}-{number}", std::process::id());
        let stage = Self { namespace, data: tempfile::tempdir().unwrap(), children: Vec::new() };
        let definitions = Command::new(program("manager").unwrap()).arg("--print-crds").output().unwrap();
        stage.apply(&String::from_utf8(definitions.stdout).unwrap()).unwrap();
        stage.kubectl(&["wait", "--for=condition=Established", "crd/lfsupstreams.darner.dev"], "").unwrap();
        stage.kubectl(&["create", "namespace", &stage.namespace], "").unwrap();
        stage.apply(ROLE).unwrap();
        stage
    }

    /// Runs kubectl as the administrator; its words on stdout, or on stderr as the error.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(admin())
            .args(["-n", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let told = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if told.status.success() { Ok(text(told.stdout)) } else { Err(text(told.stderr)) }
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<String, String> {
        self.kubectl(&["apply", "-f", "-"], manifest)
    }

    /// One object as JSON.
    pub(crate) fn get(&self, what: &str) -> anyhow::Result<Value> {
        let text = self.kubectl(&["get", what, "-o", "json"], "").map_err(anyhow::Error::msg)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// An LfsUpstream of this specification.
    pub(crate) fn upstream(&self, name: &str, spec: &Value) -> Result<String, String> {
        let object = json!({
            "apiVersion": "darner.dev/v1alpha1", "kind": "LfsUpstream", "metadata": {"name": name}, "spec": spec
        });
        self.apply(&object.to_string())
    }

    /// Waits until the condition of an LfsUpstream has this status and reason; its message.
    pub(crate) async fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> String {
        let what = format!("{name} is {kind}={status} because of {reason}");
        let look = || async {
            let object = self.get(&format!("lfsupstream/{name}"))?;
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned();
            let found =
                conditions.unwrap_or_default().into_iter().find(|condition| condition["type"] == kind);
            let found = found.context("there is no such condition")?;
            anyhow::ensure!(found["status"] == status && found["reason"] == reason, "{found}");
            assert_eq!(found["observedGeneration"], object["metadata"]["generation"]);
            Ok(Some(found["message"].as_str().unwrap_or_default().to_owned()))
        };
        wait::within(SOON, &what, look).await.unwrap()
    }

    /// A kubeconfig of the manager's service account.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let token = self.kubectl(&["create", "token", "manager"], "").unwrap();
        let view = self.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"], "").unwrap();
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.data.path().join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Starts a manager that knows the API server; `more` is laid over its configuration.
    pub(crate) async fn manager(&mut self, name: &str, more: Value) -> Process {
        let kubernetes =
            json!({"enabled": true, "namespace": self.namespace, "kubeconfig": self.kubeconfig()});
        let mut config = json!({
            "http": {"listen": "127.0.0.1:0"}, "grpc": {"listen": "127.0.0.1:0"}, "kubernetes": kubernetes
        });
        lay_over(&mut config, more);
        self.start("manager", name, config).await
    }

    /// Starts a program with this configuration and waits until it is ready.
    pub(crate) async fn start(&mut self, service: &str, name: &str, mut config: Value) -> Process {
        let data = self.data.path().join(name);
        std::fs::create_dir_all(&data).unwrap();
        let ready = data.join("ready.json");
        lay_over(
            &mut config,
            json!({"data": data, "readyFile": ready, "admin": {"listen": "127.0.0.1:0"}, "exitWithParent": true}),
        );
        let file = data.join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = data.join("log");
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(program(service).unwrap())
            .arg("--config")
            .arg(&file)
            // It leaves when this end of the pipe is gone.
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        let look = || async {
            let text = std::fs::read_to_string(&ready)
                .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
            Ok(Some(serde_json::from_str::<Value>(&text)?))
        };
        let ready = wait::within(SOON, "the process is ready", look).await.unwrap();
        Process { pid, ready, log }
    }

    /// Ends one process in order.
    pub(crate) fn end(&mut self, process: &Process) {
        signal(process.pid, Signal::TERM).unwrap();
        let own = |child: &&mut Child| i32::try_from(child.id()) == Ok(process.pid);
        let child = self.children.iter_mut().find(own).unwrap();
        assert!(child.wait().unwrap().success(), "{}", process.log());
    }

    pub(crate) fn path(&self) -> &Path {
        self.data.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], "").ok();
    }
}

/// `more` over `config`, key by key.
fn lay_over(config: &mut Value, more: Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                lay_over(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, more) => *config = more,
    }
}
