//! Serves the page, its events and the switch.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use l4sllm_model::accept::Acceptor;
use l4sllmd::control::select;
use l4sllmd::http::{Request, head, response, send};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast, oneshot};

use super::Engine;
use super::access::{READ_ONLY, check_host, check_switch};
use super::sample::Feed;
use crate::output::errln;

/// Maximum number of concurrent connections; further ones wait.
const CONNECTIONS: usize = 64;
/// Maximum number of those that get events.
const STREAMS: usize = 32;

/// Time for a request, and for a client to read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files of the page: path, type and content.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html", include_str!("page.html")),
    ("/live.css", "text/css", include_str!("page.css")),
    ("/chart.js", "text/javascript", include_str!("chart.js")),
    ("/live.js", "text/javascript", include_str!("live.js")),
];

/// The page loads nothing from elsewhere, and no other page can embed it, so that no
/// click on it is a hidden click on the switch.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'none'";

/// The server; ends on drop.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address`.
    pub fn start(address: SocketAddr, feed: Arc<Feed>) -> anyhow::Result<Server> {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("--listen {address}: cannot listen"))?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                runtime.block_on(async {
                    let Ok(listener) = TcpListener::from_std(listener) else {
                        return;
                    };
                    tokio::select! {
                        () = serve(listener, feed) => {}
                        _ = stopped => {}
                    }
                });
                // A selection may still wait for the daemon.
                runtime.shutdown_background();
            })
            .context("cannot start a thread")?;
        Ok(Server {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, feed: Arc<Feed>) {
    let mut connections = Acceptor::new(listener, CONNECTIONS, |error, _| {
        errln!("warning: the page's server cannot accept a connection: {error}");
    });
    let streams = Arc::new(Semaphore::new(STREAMS));
    loop {
        let (stream, permit) = connections.next().await;
        let (feed, streams) = (Arc::clone(&feed), Arc::clone(&streams));
        tokio::spawn(async move {
            // The client may have disconnected.
            let _ = answer(stream, &feed, &streams).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, feed: &Feed, streams: &Semaphore) -> io::Result<()> {
    let request = tokio::time::timeout(PATIENCE, Request::read(&mut stream)).await??;
    let local = stream.local_addr()?;
    let Some(request) = request else {
        return finish(
            stream,
            &plain("400 Bad Request", "not HTTP/1.1, or too long\n"),
        )
        .await;
    };
    if let Err((status, reason)) = check_host(&request, local) {
        return finish(stream, &plain(status, reason)).await;
    }
    let file = FILES.iter().find(|(path, ..)| *path == request.path);
    let text = match (request.method.as_str(), request.path.as_str(), file) {
        ("GET", _, Some((_, kind, text))) => page(kind, text),
        ("GET", "/events", _) => match streams.try_acquire() {
            Ok(_permit) => return events(stream, feed).await,
            Err(_) => plain("503 Service Unavailable", "too many pages are open\n"),
        },
        ("POST", "/engine", _) => switch(&request, local, feed).await,
        (_, "/engine", _) => plain("405 Method Not Allowed", "only POST\n"),
        ("GET", ..) => plain("404 Not Found", "there is no such page\n"),
        _ => plain("405 Method Not Allowed", "only GET\n"),
    };
    finish(stream, &text).await
}

async fn finish(stream: TcpStream, text: &str) -> io::Result<()> {
    tokio::time::timeout(PATIENCE, send(stream, text)).await?
}

fn page(kind: &str, text: &str) -> String {
    let kind = format!("{kind}; charset=utf-8");
    let fields = [
        ("Content-Type", kind.as_str()),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ];
    response("200 OK", &fields, text)
}

fn plain(status: &str, text: &str) -> String {
    let fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    response(status, &fields, text)
}

/// Sends the samples so far, and then each new one. A client that does not read is
/// disconnected; a slow one misses samples.
async fn events(mut stream: TcpStream, feed: &Feed) -> io::Result<()> {
    let fields = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let local = stream.local_addr()?;
    let read_only = match local.ip().is_loopback() {
        true => "read-only: there is no [control] in the daemon's configuration",
        false => READ_ONLY.trim_end(),
    };
    let about = json!({
        "subject": feed.subject,
        "policy": feed.policy,
        "read_only": read_only,
        "may_switch": local.ip().is_loopback(),
    });
    let (history, mut next) = feed.subscribe();
    let start = format!(
        "{}retry: 1000\n{}{}",
        head("200 OK", &fields),
        event("about", &about.to_string()),
        event("history", &history)
    );
    write(&mut stream, &start).await?;
    loop {
        match next.recv().await {
            Ok(sample) => write(&mut stream, &event("sample", &sample)).await?,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

async fn write(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    tokio::time::timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

/// The body of a request for another engine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    engine: Engine,
}

async fn switch(request: &Request, local: SocketAddr, feed: &Feed) -> String {
    if let Err((status, reason)) = check_switch(request, local) {
        return plain(status, reason);
    }
    let Ok(Selection { engine }) = serde_json::from_slice(&request.body) else {
        let expected = "expected {\"engine\": \"plain\"}, or tuned, adaptive or learned\n";
        return plain("400 Bad Request", expected);
    };
    let Some(control) = feed.control() else {
        let reason = "the daemon does not answer, or has no [control] in its configuration\n";
        return plain("409 Conflict", reason);
    };
    let socket = control.socket.clone();
    // It waits for the daemon.
    let selected = tokio::task::spawn_blocking(move || select(&socket, engine.choice())).await;
    match selected {
        Ok(Ok(())) => response("204 No Content", &[], ""),
        Ok(Err(error)) => {
            let reason = format!("{}: {error}\n", control.socket.display());
            plain("502 Bad Gateway", &reason)
        }
        Err(_) => plain("500 Internal Server Error", "the selection failed\n"),
    }
}
