//! nginx as the reference for serving files: sendfile on, the tuning its own documentation recommends.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Serves the files of `root`.
    pub(crate) fn start(root: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (root, scratch_text) = (root.display(), scratch.display());
        let config = format!(
            "daemon off; worker_processes 2; pid {scratch_text}/nginx.pid; error_log {scratch_text}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; sendfile_max_chunk 2m;\n\
             keepalive_requests 10000000; open_file_cache max=20000 inactive=600s;\n\
             client_body_temp_path {scratch_text}/body; proxy_temp_path {scratch_text}/proxy;\n\
             fastcgi_temp_path {scratch_text}/fcgi; uwsgi_temp_path {scratch_text}/uwsgi;\n\
             scgi_temp_path {scratch_text}/scgi;\n\
             server {{ listen {address} reuseport; root {root}; }} }}\n"
        );
        let file = scratch.join("nginx.conf");
        std::fs::write(&file, config)?;
        // Run as root, its workers become another user: the files must be readable.
        let child = Command::new("nginx")
            .arg("-g")
            .arg("user root;")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(scratch)
            .stderr(Stdio::null())
            .spawn()
            .context("nginx is needed for this bench (Debian: nginx-light)")?;
        let until = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(Instant::now() < until, "nginx did not start; see its error.log");
            std::thread::yield_now();
        }
        Ok(Self { child, address })
    }

    /// The processes that serve.
    pub(crate) fn workers(&self) -> anyhow::Result<Vec<u64>> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGQUIT is nginx's graceful end; its workers go with it.
        let pid = self.child.id().to_string();
        if Command::new("kill").args(["-QUIT", &pid]).status().is_err() {
            eprintln!("nginx {pid} could not be ended");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("nginx {pid}: {error}");
        }
    }
}
