//! `darner status` and `darner explain`: what the daemon of this node holds, does, and knows of one object.
//!
//! Owns: the words. Never: asks anybody but the daemon.

use darner_proto::v1;

use super::failure::{Failure, Outcome};
use super::socket::{SocketArgs, refused};
use super::{say, show};

/// Asks the daemon how it is.
pub async fn status(args: &SocketArgs) -> Outcome {
    let mut daemon = args.connect().await?;
    let reply = daemon.status(v1::StatusRequest {}).await.map_err(|status| refused(&status))?.into_inner();
    say::result(status_words(&reply).trim_end());
    Ok(())
}

/// Asks the daemon what it knows of an object; not to hold it is a negative answer.
pub async fn explain(args: &SocketArgs, oid: &str) -> Outcome {
    let oid = show::oid(oid)?;
    let key = darner_lfs::ObjectKey::Sha256(oid);
    let mut daemon = args.connect().await?;
    let request = v1::ExplainRequest { key: Some(key.into()) };
    let reply = daemon.explain(request).await.map_err(|status| refused(&status))?.into_inner();
    say::result(explain_words(&oid.to_string(), &reply).trim_end());
    if reply.held { Ok(()) } else { Err(Failure::negative(format!("this daemon does not hold {oid}"))) }
}

fn status_words(reply: &v1::StatusReply) -> String {
    let node = reply.node.clone().unwrap_or_default();
    let mut words = format!("node      {} ({}), version {}\n", node.host_name, node.id, node.version);
    if !node.zone.is_empty() {
        show::add(&mut words, format_args!("zone      {}\n", node.zone));
    }
    if reply.draining {
        words.push_str("state     draining: clients are sent to the origin\n");
    }
    show::add(
        &mut words,
        format_args!(
            "holds     {} objects, {} of {}\n",
            reply.objects,
            show::bytes(reply.stored_bytes),
            show::bytes(reply.budget_bytes)
        ),
    );
    if !reply.mtls.is_empty() {
        show::add(&mut words, format_args!("mtls      {}\n", reply.mtls));
    }
    for link in &reply.links {
        let state = if link.connected { "connected" } else { "not connected" };
        let detail = if link.detail.is_empty() { String::new() } else { format!(": {}", link.detail) };
        show::add(&mut words, format_args!("{:<9} {} {state}{detail}\n", link.kind, link.address));
    }
    for running in &reply.downloads {
        let of = running.size.map_or_else(String::new, |size| format!(" of {}", show::bytes(size)));
        let (key, received) = (show::key(running.key.as_ref()), show::bytes(running.received));
        show::add(&mut words, format_args!("download  {key} {received}{of} (trace {})\n", running.trace));
    }
    words
}

fn explain_words(oid: &str, reply: &v1::ExplainReply) -> String {
    let mut words = format!("object    {oid}\n");
    let size = reply.size.map_or_else(|| "size unknown".to_owned(), show::bytes);
    if reply.held {
        show::add(&mut words, format_args!("here      {}, {size}\n", reply.state));
        show::add(&mut words, format_args!("file      {}\n", reply.path));
    } else {
        words.push_str("here      no\n");
    }
    for upstream in &reply.upstreams {
        show::add(&mut words, format_args!("read from {upstream}\n"));
    }
    for told in &reply.told {
        show::add(&mut words, format_args!("{} {} (trace {})\n", moment(told.at_ms), told.line, told.trace));
    }
    words
}

/// A moment in UTC, to the second.
fn moment(at_ms: u64) -> String {
    i64::try_from(at_ms / 1000)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "?".to_owned(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_what_is_held_and_who_is_reached() {
        let reply = v1::StatusReply {
            node: Some(v1::NodeIdentity {
                host_name: "n1".into(),
                zone: "east".into(),
                ..Default::default()
            }),
            stored_bytes: 2048,
            budget_bytes: 4096,
            objects: 3,
            links: vec![
                v1::Link {
                    kind: "scheduler".into(),
                    address: "h:1".into(),
                    connected: true,
                    detail: String::new(),
                },
                v1::Link {
                    kind: "manager".into(),
                    address: "h:2".into(),
                    connected: false,
                    detail: "refused".into(),
                },
            ],
            downloads: vec![v1::Running { received: 1024, size: Some(2048), trace: "t".into(), key: None }],
            draining: true,
            mtls: "on, as spiffe://t/darner/peer-daemon/n1".into(),
        };
        let words = status_words(&reply);
        for wanted in [
            "n1",
            "east",
            "3 objects, 2.0 KiB of 4.0 KiB",
            "h:1 connected",
            "h:2 not connected: refused",
            "draining",
            "1.0 KiB of 2.0 KiB (trace t)",
            "mtls      on, as spiffe://t/darner/peer-daemon/n1",
        ] {
            assert!(words.contains(wanted), "{wanted} in {words}");
        }
    }

    #[test]
    fn an_object_that_is_not_here_is_said_not_to_be() {
        let words = explain_words("ab", &v1::ExplainReply::default());
        assert!(words.contains("here      no"), "{words}");
    }

    #[test]
    fn the_story_of_an_object_is_told_with_time_and_trace() {
        let reply = v1::ExplainReply {
            held: true,
            state: "verified".into(),
            size: Some(10),
            upstreams: vec!["https://h/o/r".into()],
            told: vec![v1::Told { at_ms: 951_782_400_000, trace: "t1".into(), line: "from seed".into() }],
            path: "/d/objects/aa/bb/x".into(),
        };
        let words = explain_words("ab", &reply);
        for wanted in
            ["verified, 10 B", "/d/objects", "https://h/o/r", "2000-02-29T00:00:00Z from seed (trace t1)"]
        {
            assert!(words.contains(wanted), "{wanted} in {words}");
        }
    }

    #[test]
    fn moments_are_told_to_the_second() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1_704_067_199_999), "2023-12-31T23:59:59Z");
        assert_eq!(moment(1_704_067_200_000), "2024-01-01T00:00:00Z");
    }

    #[tokio::test]
    async fn a_bad_oid_is_refused_before_anybody_is_asked() {
        let failure = explain(&SocketArgs::default(), "nonsense").await.expect_err("no OID");
        assert_eq!(failure.kind(), super::super::failure::Kind::Usage);
    }
}
