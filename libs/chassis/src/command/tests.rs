//! The harness around a service, without the process around it.

use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    #[serde(flatten)]
    shared: Shared,
}

impl AsRef<Shared> for Config {
    fn as_ref(&self) -> &Shared {
        &self.shared
    }
}

fn config(dir: &tempfile::TempDir) -> Config {
    let mut config = Config::default();
    config.shared.admin.listen = "127.0.0.1:0".to_owned();
    config.shared.ready_file = Some(dir.path().join("ready.json"));
    config
}

fn loaded(dir: &tempfile::TempDir) -> Loaded<Config> {
    Loaded { value: config(dir), sources: Sources::default() }
}

#[tokio::test]
async fn the_ready_file_names_the_process_and_its_real_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ready.json");
    std::fs::write(&path, "{\"pid\":1}").unwrap();
    let started = Started::in_process(config(&dir)).unwrap();
    assert!(!path.try_exists().unwrap(), "a stale ready file must be gone before the service is up");
    assert!(!started.admin.readiness().is_ready());
    started.ready.write(&[("grpc", "127.0.0.1:5".to_owned())]).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(ready["pid"], std::process::id());
    assert_eq!(ready["grpc"], "127.0.0.1:5");
    assert_eq!(ready["admin"], started.admin.address().to_string());
    assert!(started.admin.readiness().is_ready());
    started.tasks.close().await;
}

#[tokio::test]
async fn a_service_that_ends_takes_its_tasks_and_its_ready_file_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (sent, received) = std::sync::mpsc::sync_channel(1);
    let service = |started: Started<Config>| async move {
        started.tasks.spawn("forever", std::future::pending());
        started.ready.write(&[])?;
        sent.send(started.tasks.clone())?;
        Ok(())
    };
    live("darner-test", "0", None, loaded(&dir), service).await.unwrap();
    assert_eq!(received.recv().unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_failing_service_passes_its_error_on() {
    let dir = tempfile::tempdir().unwrap();
    let service =
        async |_: Started<Config>| Err(ConfigError::new(vec!["`upstreams`: bad".to_owned()]).into());
    let error = live("darner-test", "0", None, loaded(&dir), service).await.unwrap_err();
    assert!(error.is::<ConfigError>() && error.to_string().contains("`upstreams`"));
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_end_before_the_process_does() {
    let drain = Drain::new();
    let guard = drain.guard();
    let mut leaving = std::pin::pin!(leave_in_time(&drain, async { Ok(()) }));
    assert!(futures::poll!(leaving.as_mut()).is_pending());
    assert!(drain.is_draining());
    drop(guard);
    leaving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_leave_is_left() {
    let drain = Drain::new();
    drain.start();
    let before = tokio::time::Instant::now();
    leave_in_time(&drain, std::future::pending()).await.unwrap();
    assert_eq!(before.elapsed(), LEAVE_WITHIN);
}

#[test]
fn the_limit_of_open_files_is_the_hard_one() {
    raise_descriptors();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
}
