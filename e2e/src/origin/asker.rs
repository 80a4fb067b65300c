//! Which process is at the other end of a loopback connection, read from `/proc`: so that "only the seed asked" is
//! seen and not believed. A caller of another user, or one that is gone already, is `unknown`.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// `name/pid` of the process that owns the client end of a connection from `peer` to `local`.
pub fn of(peer: SocketAddr, local: SocketAddr) -> String {
    inode(peer, local).and_then(owner).unwrap_or_else(|| "unknown".to_owned())
}

/// The socket inode of the connection as its client sees it.
fn inode(peer: SocketAddr, local: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (from, to) = (written(peer)?, written(local)?);
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (here, there) = (fields.nth(1)?, fields.next()?);
        if here != from || there != to {
            return None;
        }
        fields.nth(6)?.parse().ok()
    })
}

/// An address as the kernel's table writes it: the four bytes back to front, then the port.
fn written(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [a, b, c, d] = ip.octets();
    Some(format!("{d:02X}{c:02X}{b:02X}{a:02X}:{:04X}", address.port()))
}

/// The process that holds a socket.
fn owner(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        let held = open
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.to_str() == Some(wanted.as_str())));
        if held {
            let comm = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{}/{pid}", comm.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_client_end_of_a_connection_belongs_to_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let found = of(peer, server.local_addr().unwrap());
        assert!(found.ends_with(&format!("/{}", std::process::id())), "{found}");
        drop(client);
    }
}
