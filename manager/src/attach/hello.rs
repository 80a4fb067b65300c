//! The first message of a node.
//!
//! Owns: what a node must say of itself to be attached. Never: state.

use darner_proto::{PROTOCOL_VERSION, v1};
use tonic::Status;

use crate::catalog::{Node, stored};

/// Longest node id.
const LONGEST_ID: usize = 128;
/// Who may attach.
const COMPONENTS: [&str; 3] = ["peer-daemon", "seed-peer", "scheduler"];

/// The node that says this hello.
pub(super) fn node(first: Option<v1::Report>, now_ms: i64) -> Result<Node, Status> {
    let Some(v1::report::Report::Hello(told)) = first.and_then(|report| report.report) else {
        return Err(Status::invalid_argument("the first message must be a hello"));
    };
    let hello = told.hello.ok_or_else(|| Status::invalid_argument("`hello.hello` is missing"))?;
    if hello.protocol_version != PROTOCOL_VERSION {
        let words =
            format!("this manager speaks protocol {PROTOCOL_VERSION}, the node {}", hello.protocol_version);
        return Err(Status::failed_precondition(words));
    }
    let identity = hello.node.ok_or_else(|| Status::invalid_argument("`hello.node` is missing"))?;
    let id = identity.id;
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Status::invalid_argument("`hello.node.id` must be 1 to 128 printable letters"));
    }
    if !COMPONENTS.contains(&told.component.as_str()) {
        return Err(Status::invalid_argument(format!(
            "`component` must be one of {}",
            COMPONENTS.join(", ")
        )));
    }
    Ok(Node {
        id,
        component: told.component,
        state: "attached".to_owned(),
        host_name: identity.host_name,
        zone: identity.zone,
        tenant: identity.tenant,
        version: identity.version,
        piece_address: identity.piece_address,
        grpc_address: identity.grpc_address,
        admin_address: told.admin_address,
        attached_ms: now_ms,
        seen_ms: now_ms,
        clock_skew_ms: stored(hello.clock_ms).saturating_sub(now_ms),
        config_version: stored(told.config_version),
        tombstone_sequence: stored(told.tombstone_sequence),
        ..Node::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::ManagerHello {
        let node = v1::NodeIdentity { id: "n".to_owned(), zone: "z".to_owned(), ..Default::default() };
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            clock_ms: 900,
            node: Some(node),
            ..Default::default()
        };
        v1::ManagerHello { hello: Some(hello), component: "seed-peer".to_owned(), ..Default::default() }
    }

    fn said(hello: v1::ManagerHello) -> Result<Node, tonic::Code> {
        let report = v1::Report { report: Some(v1::report::Report::Hello(hello)) };
        node(Some(report), 1000).map_err(|status| status.code())
    }

    #[test]
    fn a_hello_becomes_a_node() {
        let node = said(hello()).unwrap();
        assert_eq!((node.id.as_str(), node.zone.as_str(), node.clock_skew_ms), ("n", "z", -100));
    }

    #[test]
    fn another_protocol_is_refused() {
        let mut other = hello();
        other.hello.as_mut().unwrap().protocol_version = PROTOCOL_VERSION + 1;
        assert_eq!(said(other), Err(tonic::Code::FailedPrecondition));
    }

    #[test]
    fn a_node_must_have_a_plain_name_and_a_known_part() {
        for id in ["", "a b", "é", "a\n", &"x".repeat(129)] {
            let mut wrong = hello();
            wrong.hello.as_mut().unwrap().node.as_mut().unwrap().id = id.to_owned();
            assert_eq!(said(wrong), Err(tonic::Code::InvalidArgument), "{id:?}");
        }
        assert!(said(v1::ManagerHello { component: "<b>".to_owned(), ..hello() }).is_err());
    }

    #[test]
    fn silence_and_other_words_are_no_hello() {
        assert!(node(None, 1).is_err());
        let stats = v1::report::Report::Stats(v1::NodeStats::default());
        assert!(node(Some(v1::Report { report: Some(stats) }), 1).is_err());
        assert!(said(v1::ManagerHello { hello: None, ..hello() }).is_err());
    }

    #[test]
    fn an_absurd_clock_is_only_a_number() {
        let mut wrong = hello();
        wrong.hello.as_mut().unwrap().clock_ms = u64::MAX;
        assert_eq!(said(wrong).unwrap().clock_skew_ms, i64::MAX - 1000);
    }
}
