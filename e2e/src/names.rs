//! A name server whose answers move: one address per name, changed by a test at any time, good for no second.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const HEADER: usize = 12;
/// The type and class of the question "which IPv4 address".
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

type Answers = Arc<Mutex<BTreeMap<String, Ipv4Addr>>>;

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Names {
    /// Where it listens.
    pub at: SocketAddr,
    answers: Answers,
    _tasks: JoinSet<()>,
}

impl Names {
    /// Answers on this address.
    pub async fn serve(at: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(at).await?;
        let (at, answers) = (socket.local_addr()?, Answers::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(socket, answers.clone()));
        Ok(Self { at, answers, _tasks: tasks })
    }

    /// From now on the name has this address.
    pub fn set(&self, name: &str, address: Ipv4Addr) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), address);
    }
}

async fn serve(socket: UdpSocket, answers: Answers) {
    let mut packet = [0; 512];
    while let Ok((length, asker)) = socket.recv_from(&mut packet).await {
        let known = |name: &str| answers.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let Some(answer) = packet.get(..length).and_then(|question| answer(question, known)) {
            // Who went meanwhile needs no answer.
            drop(socket.send_to(&answer, asker).await);
        }
    }
}

/// The answer to a packet with one question; `None` for anything else.
fn answer(question: &[u8], known: impl Fn(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let (id, mut rest) = (question.get(..2)?, question.get(HEADER..)?);
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            rest = after;
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
    let kind = rest.get(..4)?;
    let end = question.len() - rest.len() + 4;
    let found = known(&labels.join("."));
    let address = found.filter(|_| kind == ADDRESS);
    let refused: u8 = if found.is_some() { 0 } else { 3 };
    let mut answer = id.to_vec();
    // An answer, with recursion; one question, none or one answer.
    answer.extend([0x81, 0x80 | refused, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end)?);
    if let Some(address) = address {
        // The name of the question, type and class, no time to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut question = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'A', 4];
        question.extend(b"test\0");
        question.extend([0, kind, 0, 1]);
        question
    }

    #[test]
    fn a_name_has_its_address_and_an_unknown_one_none() {
        let home = |name: &str| (name == "a.test").then_some(Ipv4Addr::LOCALHOST);
        let found = answer(&question(1), home).unwrap();
        assert_eq!((&found[..2], found[3] & 15, found[7]), (&[7, 8][..], 0, 1));
        assert!(found.ends_with(&[127, 0, 0, 1]));
        let of_six = answer(&question(28), home).unwrap();
        assert_eq!((of_six[3] & 15, of_six[7]), (0, 0));
        assert_eq!(answer(&question(1), |_| None).unwrap()[3] & 15, 3);
        assert_eq!(answer(&[1, 2, 3], home), None);
    }
}
