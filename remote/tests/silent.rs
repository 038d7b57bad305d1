//! Servers that accept a connection and are silent in one of its states: the attempt
//! ends in time, and is made again. Silence to requests is tested in `hostile.rs`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{client, on_summaries, options, runtime, summary, until};
use l4sllm_model::WindowSession;
use l4sllm_remote::client::ClientOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Time for a connection.
const CONNECT: Duration = Duration::from_millis(200);

/// Much longer than a few attempts on a busy machine.
const LONG: Duration = Duration::from_secs(15);

/// An empty SETTINGS frame (RFC 9113, section 6.5), the server's preface.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The state in which the server becomes silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before accept(2): the system completes the TCP handshake.
    NotAccepted,
    /// Before it reads anything: no TLS hello, no HTTP/2 preface.
    Accepted,
    /// After it has read what the client sends.
    Read,
    /// After the HTTP/2 preface.
    Preface,
    /// After the TLS handshake.
    Tls,
    /// After the TLS handshake and the HTTP/2 preface.
    TlsPreface,
}

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

fn tls() -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(pem("cert.pem")).unwrap();
    let certificates = certificates.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(pem("key.pem")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Reads until the client ends the connection.
async fn drain(mut stream: impl AsyncRead + Unpin) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

async fn serve(mut stream: TcpStream, state: State, tls: TlsAcceptor) {
    match state {
        State::NotAccepted => {}
        State::Accepted => std::future::pending().await,
        State::Read => drain(stream).await,
        State::Preface => {
            let _ = stream.write_all(&SETTINGS).await;
            drain(stream).await;
        }
        State::Tls | State::TlsPreface => {
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            if state == State::TlsPreface {
                let _ = stream.write_all(&SETTINGS).await;
                let _ = stream.flush().await;
            }
            drain(stream).await;
        }
    }
}

/// Starts a server in a thread that lives as long as the process.
fn silent(state: State) -> SocketAddr {
    let (started, ready) = channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            let tls = tls();
            if state == State::NotAccepted {
                std::future::pending::<()>().await;
            }
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, state, tls.clone()));
            }
        });
    });
    ready.recv().unwrap()
}

/// Whether attempts to connect end in time.
fn check(state: State, is_tls: bool) {
    let address = silent(state);
    let plain = ClientOptions {
        connect: CONNECT,
        ..options(address, "periods")
    };
    let options = match is_tls {
        false => plain,
        true => ClientOptions {
            url: format!("https://localhost:{}", address.port()),
            ca_file: Some(pem("ca.pem")),
            ..plain
        },
    };
    let start = Instant::now();
    let client = client(options, &on_summaries());
    until("two refused attempts", || {
        (client.counters().refused >= 2).then_some(())
    });
    let took = start.elapsed();
    assert!((2 * CONNECT..LONG).contains(&took), "{state:?}: {took:?}");
    // Meanwhile no request is sent, so none waits.
    let config = Arc::new(on_summaries().config().clone());
    let window = WindowSession::new(config, 1).observe_summary(&summary(0));
    let ticket = client.submit(&window.unwrap(), Duration::from_secs(3600));
    assert!(ticket.is_none() && !client.is_connected(), "{state:?}");
    let counters = client.counters();
    assert_eq!(
        (counters.connects, counters.requests, counters.unsent),
        (0, 0, 1)
    );
}

#[test]
fn attempts_to_connect_to_a_silent_server_end_in_time() {
    for state in [
        State::NotAccepted,
        State::Accepted,
        State::Read,
        State::Preface,
    ] {
        check(state, false);
    }
}

#[test]
fn attempts_to_connect_to_a_silent_tls_server_end_in_time() {
    for state in [
        State::NotAccepted,
        State::Accepted,
        State::Read,
        State::Tls,
        State::TlsPreface,
    ] {
        check(state, true);
    }
}
