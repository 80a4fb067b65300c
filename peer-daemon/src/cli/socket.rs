//! The way from the command line to a daemon on this machine.
//!
//! Owns: finding the daemon's unix socket. Never: speaks to a daemon elsewhere; who may open the socket is a matter of
//! the file system's permissions.

use std::path::{Path, PathBuf};

use darner_chassis::grpc::{TracedChannel, unix_channel};
use darner_proto::v1::daemon_client::DaemonClient;

use super::failure::Failure;

/// Where a daemon of a node keeps its socket in a cluster's pods and packages.
const USUAL: &str = "/run/darner/daemon.sock";

/// Which daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SocketArgs {
    /// Unix socket of the daemon
    #[arg(long, value_name = "PATH", env = "DARNER_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Data directory of a running `darner up`
    #[arg(long, value_name = "DIR", env = "DARNER_DATA")]
    pub data: Option<PathBuf>,
    /// Which daemon of that cluster
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub peer: u16,
}

impl SocketArgs {
    /// Opens the way; the daemon answers, or the failure says who was asked.
    pub async fn connect(&self) -> Result<DaemonClient<TracedChannel>, Failure> {
        let path = self.path()?;
        // A look first: a channel connects when it is used, and its error would not name the file.
        if let Err(error) = tokio::net::UnixStream::connect(&path).await {
            return Err(Failure::negative(format!("no daemon answers on {}: {error}", path.display())).hint(
                "is it running? `darner up` starts a cluster; --socket or --data chooses another daemon",
            ));
        }
        let channel = unix_channel(&path).map_err(|error| Failure::negative(error.to_string()))?;
        Ok(DaemonClient::new(channel))
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        match (&self.socket, &self.data) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(data)) => of_local(data, self.peer),
            (None, None) => Ok(PathBuf::from(USUAL)),
        }
    }
}

/// The socket of a daemon of a local cluster, from its configuration: a deep directory has it elsewhere.
fn of_local(data: &Path, peer: u16) -> Result<PathBuf, Failure> {
    let config = data.join(format!("peer-daemon-{peer}")).join("config.yaml");
    let missing = || {
        Failure::negative(format!("{} holds no daemon {peer}", data.display()))
            .hint("give the --data of `darner up`, and --peer below its number of daemons")
    };
    let text = std::fs::read_to_string(config).map_err(|_absent| missing())?;
    let document: serde_json::Value = serde_saphyr::from_str(&text).map_err(|_damaged| missing())?;
    document.pointer("/grpc/socket").and_then(|path| path.as_str()).map(PathBuf::from).ok_or_else(missing)
}

/// A refusal of the daemon, in words.
pub fn refused(status: &tonic::Status) -> Failure {
    Failure::negative(format!("the daemon says: {}", status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_said_wins_over_a_directory() {
        let args = SocketArgs { socket: Some("/a.sock".into()), data: Some("/d".into()), peer: 0 };
        assert_eq!(args.path().expect("said"), PathBuf::from("/a.sock"));
        assert_eq!(SocketArgs::default().path().expect("usual"), PathBuf::from(USUAL));
    }

    #[test]
    fn a_local_daemons_socket_is_read_from_its_configuration() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().join("peer-daemon-1");
        std::fs::create_dir_all(&home).expect("make");
        std::fs::write(home.join("config.yaml"), "grpc:\n  socket: /elsewhere/1.sock\n").expect("write");
        let at = |peer| SocketArgs { data: Some(directory.path().into()), peer, socket: None }.path();
        assert_eq!(at(1).expect("there"), PathBuf::from("/elsewhere/1.sock"));
        assert!(at(0).expect_err("no such daemon").to_string().contains("no daemon 0"));
    }

    #[tokio::test]
    async fn nobody_on_the_socket_is_told_with_its_path() {
        let args = SocketArgs { socket: Some("/nowhere/d.sock".into()), ..SocketArgs::default() };
        let told = args.connect().await.expect_err("nobody").to_string();
        assert!(told.contains("/nowhere/d.sock") && told.contains("hint:"), "{told}");
    }
}
