//! Content, ranges, breaks, circuits.

use darner_chassis::metrics::Kind;
use darner_origin::{Blame, OriginError};

use crate::server::{Server, Step, ok, ranged, say};
use crate::{Bench, all, credential};

#[tokio::test]
async fn a_whole_object_is_one_request_without_a_range_and_every_byte_is_counted() {
    let server = Server::start(|_| ok(&[7; 100_000])).await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x?sig=%2b"), 0).await.unwrap();
    assert_eq!((reading.total, reading.start), (Some(100_000), 0));
    assert_eq!(all(&mut reading).await, (vec![7; 100_000], None));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path(), "/x?sig=%2b");
    assert_eq!(seen[0].header("range"), None);
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer canary"));
    assert_eq!(seen[0].header("host"), Some(server.address.to_string().as_str()));
    assert_eq!((bench.requests(Kind::Content), bench.bytes(Kind::Content)), (1, 100_000));
    assert_eq!((bench.requests(Kind::Probe), bench.bytes(Kind::Probe)), (0, 0));
}

#[tokio::test]
async fn a_finished_answer_leaves_its_connection_for_the_next() {
    let server = Server::start(|_| ok(b"abc")).await;
    let bench = Bench::new(&[server.entry()]);
    for _ in 0..3 {
        let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
        assert_eq!(all(&mut reading).await.0, b"abc");
        // The connection goes back to the pool in a task of the client's own.
        tokio::task::yield_now().await;
    }
    assert!(server.connections() <= 2, "{} connections for 3 requests", server.connections());
}

#[tokio::test]
async fn bytes_are_handed_on_while_the_rest_is_still_to_come() {
    let server = Server::start(|_| {
        let mut steps = say("200 OK\nContent-Length: 10", b"01234");
        steps.push(Step::Freeze);
        steps
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap().as_ref(), b"01234");
}

#[tokio::test]
async fn an_answer_that_is_cut_says_where_and_the_rest_can_be_had() {
    let server = Server::start(|request| match request.header("range") {
        None => {
            let mut steps = say("200 OK\nContent-Length: 10\nETag: \"v1\"", b"0123");
            steps.push(Step::Close);
            steps
        }
        Some(_) => ranged(request, b"0123456789"),
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
    let (head, error) = all(&mut reading).await;
    assert_eq!((head.as_slice(), error), (b"0123".as_slice(), Some(OriginError::Cut { at: 4 })));
    let mut rest =
        bench.read_with(&server.url("/x"), &credential(), 4, reading.etag.as_deref()).await.unwrap();
    assert_eq!((rest.start, rest.total, rest.ranges), (4, Some(10), true));
    assert_eq!(all(&mut rest).await, (b"456789".to_vec(), None));
    let seen = server.seen();
    assert_eq!((seen[1].header("range"), seen[1].header("if-range")), (Some("bytes=4-"), Some("\"v1\"")));
    assert_eq!(bench.bytes(Kind::Content), 10);
}

#[tokio::test]
async fn an_upstream_that_falls_silent_has_broken_off() {
    let server = Server::start(|_| {
        let mut steps = say("200 OK\nContent-Length: 10", b"0123");
        steps.push(Step::Freeze);
        steps
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
    assert!(reading.next().await.unwrap().is_some());
    tokio::time::pause();
    assert_eq!(reading.next().await, Err(OriginError::Cut { at: 4 }));
}

#[tokio::test]
async fn a_part_that_ends_early_is_cut_there() {
    let server =
        Server::start(|_| say("206 P\nContent-Range: bytes 4-6/10\nContent-Length: 3", b"456")).await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 4).await.unwrap();
    assert_eq!(all(&mut reading).await, (b"456".to_vec(), Some(OriginError::Cut { at: 7 })));
}

#[tokio::test]
async fn an_origin_without_ranges_is_remembered_and_says_where_it_begins() {
    let server = Server::start(|_| ok(b"0123456789")).await;
    let bench = Bench::new(&[server.entry()]);
    assert_eq!(bench.origin.ranges(&server.url("/y")), None);
    let reading = bench.read(&server.url("/x"), 4).await.unwrap();
    assert_eq!((reading.start, reading.total, reading.ranges), (0, Some(10), false));
    assert_eq!(bench.origin.ranges(&server.url("/y")), Some(false));
}

#[tokio::test]
async fn an_object_of_unknown_length_has_no_total() {
    let server =
        Server::start(|_| say("200 OK\nTransfer-Encoding: chunked", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
            .await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
    assert_eq!(reading.total, None);
    assert_eq!(all(&mut reading).await, (b"abcde".to_vec(), None));
}

#[tokio::test]
async fn a_chunked_answer_that_ends_without_its_last_chunk_is_cut() {
    let server = Server::start(|_| {
        let mut steps = say("200 OK\nTransfer-Encoding: chunked", b"3\r\nabc\r\n");
        steps.push(Step::Close);
        steps
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let mut reading = bench.read(&server.url("/x"), 0).await.unwrap();
    assert_eq!(all(&mut reading).await, (b"abc".to_vec(), Some(OriginError::Cut { at: 3 })));
}

#[tokio::test]
async fn gzip_is_never_taken_for_content() {
    let server =
        Server::start(|_| say("200 OK\nContent-Encoding: gzip\nContent-Length: 3", b"\x1f\x8b\x08")).await;
    let bench = Bench::new(&[server.entry()]);
    let error = bench.read(&server.url("/x"), 0).await.unwrap_err();
    assert_eq!((error.blame(), error), (Blame::Host, OriginError::Encoding("gzip".to_owned())));
}

#[tokio::test]
async fn a_refusal_keeps_its_status_and_harms_nobody_else() {
    let server = Server::start(|request| match request.header("authorization") {
        Some("Bearer good") => ok(b"abc"),
        _ => say("403 Forbidden\nContent-Length: 7", b"go away"),
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let error = bench.read(&server.url("/x"), 0).await.unwrap_err();
    assert_eq!(error, OriginError::Refused { status: 403, message: "go away".to_owned() });
    let good = [("authorization".to_owned(), bytes::Bytes::from_static(b"Bearer good"))];
    let mut reading = bench.read_with(&server.url("/x"), &good, 0, None).await.unwrap();
    assert_eq!(all(&mut reading).await.0, b"abc");
}

#[tokio::test]
async fn a_429_closes_the_host_for_everybody_until_its_time_is_over_and_no_other_host() {
    let busy = Server::start(|_| say("429 Slow\nRetry-After: 7\nContent-Length: 0", b"")).await;
    let other = Server::start(|_| ok(b"abc")).await;
    let bench = Bench::new(&[busy.entry(), other.entry()]);
    for _ in 0..5 {
        let error = bench.read(&busy.url("/x"), 0).await.unwrap_err();
        assert_eq!((error.status(), error.retry_after_s(), error.blame()), (429, Some(7), Blame::Host));
    }
    assert_eq!(busy.seen().len(), 1, "the host was asked once");
    assert!(bench.read(&other.url("/x"), 0).await.is_ok());
    bench.clock.advance(7_001);
    assert!(bench.read(&busy.url("/x"), 0).await.is_err());
    assert_eq!(busy.seen().len(), 2, "one trial when its time is over");
}

#[tokio::test]
async fn a_host_that_recovers_serves_everybody_again() {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| match answers.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => say("503 Down\nContent-Length: 0", b""),
        _ => ok(b"abc"),
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    assert_eq!(bench.read(&server.url("/x"), 0).await.unwrap_err().retry_after_s(), Some(1));
    bench.clock.advance(1_000);
    for _ in 0..3 {
        assert!(bench.read(&server.url("/x"), 0).await.is_ok());
    }
}

#[tokio::test]
async fn a_probe_reads_its_window_and_nothing_else() {
    let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let served = content.clone();
    let server = Server::start(move |request| ranged(request, &served)).await;
    let bench = Bench::new(&[server.entry()]);
    let window = bench.origin.probe(&server.url("/x"), &credential(), 50_000, 9_999).await.unwrap();
    assert_eq!(window.content, content[50_000..54_096]);
    assert_eq!(window.total, Some(100_000));
    assert_eq!(server.seen()[0].header("range"), Some("bytes=50000-54095"));
    assert_eq!((bench.requests(Kind::Probe), bench.bytes(Kind::Probe)), (1, 4096));
    assert_eq!((bench.requests(Kind::Content), bench.bytes(Kind::Content)), (0, 0));
    let end = bench.origin.probe(&server.url("/x"), &credential(), 99_000, 4096).await.unwrap();
    assert_eq!(end.content, content[99_000..]);
}

#[tokio::test]
async fn a_probe_of_an_origin_without_ranges_leaves_after_the_window() {
    let server = Server::start(|_| {
        let mut steps = say("200 OK\nContent-Length: 100000000", &[5; 20_000]);
        steps.push(Step::Freeze);
        steps
    })
    .await;
    let bench = Bench::new(&[server.entry()]);
    let window = bench.origin.probe(&server.url("/x"), &credential(), 10_000, 100).await.unwrap();
    assert_eq!((window.content.as_ref(), window.total), ([5; 100].as_slice(), Some(100_000_000)));
    assert!(bench.bytes(Kind::Probe) <= 20_000);
    let far = bench.origin.probe(&server.url("/x"), &credential(), 50_000_000, 100).await;
    assert_eq!(far, Err(OriginError::Unranged));
    assert_eq!(bench.origin.ranges(&server.url("/x")), Some(false));
}

#[tokio::test]
async fn an_upstream_that_talks_nonsense_is_an_error_and_no_content() {
    for answer in [
        "206 P\nContent-Range: bytes 0-2/3\nContent-Length: 3",
        "206 P\nContent-Length: 3",
        "204 None",
        "304 Same",
    ] {
        let server = Server::start(move |_| say(answer, b"abc")).await;
        let bench = Bench::new(&[server.entry()]);
        let error = bench.read(&server.url("/x"), 0).await.unwrap_err();
        assert!(matches!(error, OriginError::Nonsense(_)), "{answer}: {error}");
    }
}
