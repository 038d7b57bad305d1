//! Tokens and TLS, and errors that name what is wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Serving, client, connected, on_records, on_summaries, options, summary, until};
use l4sllm_model::WindowSession;
use l4sllm_remote::client::{Client, ClientOptions, Progress};
use l4sllm_remote::server::{Security, ServerOptions};

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

fn secured(token: Option<&str>) -> Serving {
    let read = |name| std::fs::read(pem(name)).unwrap();
    let security = Security {
        token: token.map(str::to_owned),
        tls: Some((read("cert.pem"), read("key.pem"))),
    };
    Serving::start(on_summaries(), ServerOptions::default(), security)
}

fn over_tls(serving: &Serving, host: &str) -> ClientOptions {
    ClientOptions {
        url: format!("https://{host}:{}", serving.address.port()),
        ca_file: Some(pem("ca.pem")),
        ..options(serving.address, "periods")
    }
}

/// Whether the client gets an answer.
fn answers(client: &Client) -> bool {
    connected(client);
    let config = Arc::new(on_summaries().config().clone());
    let window = WindowSession::new(config, 1)
        .observe_summary(&summary(0))
        .unwrap();
    let ticket = client.submit(&window, Duration::from_secs(10)).unwrap();
    until("end", || match ticket.progress() {
        Progress::Answered(_) => Some(true),
        Progress::Ended => Some(false),
        Progress::Waiting | Progress::Overdue => None,
    })
}

#[test]
fn a_peer_without_a_tls_handshake_is_disconnected() {
    let serving = secured(None);
    let mut silent = TcpStream::connect(serving.address).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // The end of the stream, or a reset.
    let mut byte = [0];
    let ended = match silent.read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(ended);
    assert!(answers(&client(
        over_tls(&serving, "localhost"),
        &on_summaries()
    )));
}

#[test]
fn requests_have_a_token_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, "s3cret\n").unwrap();
    std::fs::write(&wrong, "secret\n").unwrap();
    let serving = secured(Some("s3cret"));
    let with = |token: Option<&Path>, host: &str| {
        let options = ClientOptions {
            token_file: token.map(Path::to_owned),
            ..over_tls(&serving, host)
        };
        client(options, &on_summaries())
    };
    assert!(answers(&with(Some(&right), "localhost")));
    // A wrong token, none, another name than the certificate's, and no TLS.
    for client in [
        with(Some(&wrong), "localhost"),
        with(None, "localhost"),
        with(Some(&right), "127.0.0.1"),
        client(options(serving.address, "periods"), &on_summaries()),
    ] {
        until("refusal", || (client.counters().refused >= 2).then_some(()));
        assert_eq!(
            (client.is_connected(), client.counters().connects),
            (false, 0)
        );
    }
    assert!((serving.counters)().unauthenticated >= 4);
    // The token is read again for each connection.
    let late = with(Some(&wrong), "localhost");
    until("refusal", || (late.counters().refused >= 1).then_some(()));
    std::fs::write(&wrong, "s3cret\n").unwrap();
    assert!(answers(&late));
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let serving = secured(None);
    // The server's own certificate is no authority.
    let options = ClientOptions {
        ca_file: Some(pem("cert.pem")),
        ..over_tls(&serving, "localhost")
    };
    let client = client(options, &on_summaries());
    until("refusal", || (client.counters().refused >= 2).then_some(()));
    assert!(!client.is_connected());
}

#[test]
fn another_model_is_refused_at_connect() {
    let serving = Serving::plain(&on_records());
    // Another name; and the right name with the tensors of another policy.
    for model in ["periods", "records"] {
        let client = client(options(serving.address, model), &on_summaries());
        until("refusal", || (client.counters().refused >= 2).then_some(()));
        assert_eq!(
            (client.is_connected(), client.counters().requests),
            (false, 0)
        );
    }
}
