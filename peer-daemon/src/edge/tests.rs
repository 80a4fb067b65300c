//! The listener over real sockets.

use super::*;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Answers with the path, whether TLS is spoken, and the length of the body.
struct Echo;

impl Door for Echo {
    fn answer(&self, caller: Arc<Caller>, request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            let path = request.uri().to_string();
            let body =
                request.into_body().collect().await.map(|body| body.to_bytes().len()).unwrap_or_default();
            Response::new(reply::full(format!("{} {path} {body}", caller.scheme())))
        })
    }
}

struct Stand {
    address: SocketAddr,
    tasks: Tasks,
    certificate: Certificate,
    _directory: tempfile::TempDir,
}

fn stand(limits: Limits) -> Stand {
    let directory = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = Certificate::load(&crate::config::Tls::default(), directory.path(), &names).unwrap();
    let (tasks, drain) = (Tasks::new(), Drain::new());
    let listener = net::bind("127.0.0.1:0", "git.listen").unwrap();
    let address = listener.local_addr().unwrap();
    let edge = Edge::new(&certificate, Arc::new(Echo), limits, &tasks, &drain);
    tasks.spawn("git port", edge.serve(listener));
    Stand { address, tasks, certificate, _directory: directory }
}

const OPEN: Limits = Limits { connections: 64, plaintext: false };

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn clear_text_and_tls_are_served_on_one_port() {
    let stand = stand(OPEN);
    let mut clear = TcpStream::connect(stand.address).await.unwrap();
    assert!(exchange(&mut clear, GET).await.ends_with("http /x 0"));

    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(stand.certificate.made.as_ref().unwrap()).unwrap();
    let der =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem)
            .unwrap();
    roots.add(der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let clear = TcpStream::connect(stand.address).await.unwrap();
    let mut tls = connector.connect("localhost".try_into().unwrap(), clear).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert!(exchange(&mut tls, GET).await.ends_with("https /x 0"));
    stand.tasks.close().await;
}

#[tokio::test]
async fn a_request_with_two_framings_is_refused_and_the_connection_ends() {
    let stand = stand(OPEN);
    for headers in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let mut stream = TcpStream::connect(stand.address).await.unwrap();
        let text = format!(
            "POST /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        let answer = exchange(&mut stream, &text).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(!answer.contains("smuggled"), "{answer}");
    }
    stand.tasks.close().await;
}

#[tokio::test]
async fn half_open_connections_hurt_nobody() {
    let stand = stand(OPEN);
    let mut silent = Vec::new();
    for at in 0..200 {
        let mut stream = TcpStream::connect(stand.address).await.unwrap();
        if at % 2 == 0 {
            stream.write_all(b"GET /never-ends HTTP/1.1\r\nHost:").await.unwrap();
        }
        silent.push(stream);
    }
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    assert!(exchange(&mut stream, GET).await.ends_with("http /x 0"));
    stand.tasks.close().await;
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let stand = stand(OPEN);
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    let head = format!("GET /x HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(200 * 1024));
    // The server may answer and close before it has read everything.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(!String::from_utf8_lossy(&answer).contains("http /x"));
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    assert!(exchange(&mut stream, GET).await.ends_with("http /x 0"));
    stand.tasks.close().await;
}

#[tokio::test]
async fn junk_ends_only_its_own_connection() {
    let stand = stand(OPEN);
    for junk in [b"\x16\x03\x01junk".as_slice(), b"\0\0\0\0\r\n\r\n", b"SSH-2.0-x\r\n\r\n"] {
        let mut stream = TcpStream::connect(stand.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
    }
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    assert!(exchange(&mut stream, GET).await.ends_with("http /x 0"));
    stand.tasks.close().await;
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order() {
    let stand = stand(OPEN);
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    let post = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = exchange(&mut stream, &format!("{post}{GET}")).await;
    let (first, second) = (answer.find("http /a 3").unwrap(), answer.find("http /x 0").unwrap());
    assert!(first < second);
    stand.tasks.close().await;
}
