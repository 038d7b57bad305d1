//! Policies, a server in this process, and messages of a queue.

#![allow(dead_code, reason = "each test uses some of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use l4sllm_abi::{Message, Record, Summary, header, raw};
use l4sllm_model::{Feature, Policy, PolicyConfig, PolicyInput, SummaryFeature, Tensors};
use l4sllm_remote::client::{CONNECT, Client, ClientOptions};
use l4sllm_remote::server::{Counters, Security, Server, ServerOptions};
use l4sllm_remote::tensors::Contract;
use tokio::sync::oneshot;

pub const MS: u64 = 1_000_000;

/// The period of the policy on summaries, ms.
pub const PERIOD_MS: u32 = 100;

/// Waits for a condition, at most 20 s.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A small policy on records with random weights.
pub fn on_records() -> Arc<Policy> {
    let mut config = PolicyConfig::new("records", &Feature::PAPER7);
    config.window = 5;
    let tensors = Tensors::random(&config, 3).unwrap();
    Policy::new(config, &tensors).unwrap()
}

/// A small policy on summaries with random weights.
pub fn on_summaries() -> Arc<Policy> {
    let mut config = PolicyConfig::on_summaries("periods", SummaryFeature::ALL);
    config.input = PolicyInput::Summaries {
        period_ms: PERIOD_MS,
    };
    let tensors = Tensors::random(&config, 1).unwrap();
    Policy::new(config, &tensors).unwrap()
}

/// A record whose fields vary with its position.
pub fn record(seq: u64) -> Record {
    Record::try_from(raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, MS * seq),
        ..Default::default()
    })
    .unwrap()
}

/// The summary of the period that begins at `index` periods.
pub fn summary(index: u64) -> Summary {
    let period = MS * u64::from(PERIOD_MS);
    Summary::try_from(raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, index, period * (index + 1)),
        begin_ns: period * index,
        decisions: 10 + index % 7,
        target_ns: 15 * MS,
        tupdate_ns: 16 * MS,
        alpha_uhz: 160_000,
        beta_uhz: 3_200_000,
        coupling_q8: 512,
        ..Default::default()
    })
    .unwrap()
}

pub fn message(index: u64) -> Message {
    Message::Summary(Box::new(summary(index)))
}

pub fn options(address: SocketAddr, model: &str) -> ClientOptions {
    ClientOptions {
        url: format!("http://{address}"),
        model: model.to_owned(),
        ca_file: None,
        token_file: None,
        retry: (Duration::from_millis(5), Duration::from_millis(20)),
        connect: CONNECT,
    }
}

/// A client for a policy.
pub fn client(options: ClientOptions, policy: &Policy) -> Client {
    let contract = Contract::of(Arc::new(policy.config().clone()));
    Client::start(options, contract).unwrap()
}

/// Waits until a client is connected.
pub fn connected(client: &Client) {
    until("connection", || client.is_connected().then_some(()));
}

/// A server in a thread of this process.
pub struct Serving {
    pub address: SocketAddr,
    pub counters: Box<dyn Fn() -> Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub fn start(policy: Arc<Policy>, options: ServerOptions, security: Security) -> Serving {
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let any = "127.0.0.1:0".parse().unwrap();
                let server = Server::bind(any, policy, options, security).await.unwrap();
                let counters = server.counters();
                started.send((server.address().unwrap(), counters)).unwrap();
                let stopped = async {
                    let _ = stopped.await;
                };
                server.run(stopped).await.unwrap();
            });
        });
        let (address, counters) = ready.recv().unwrap();
        Serving {
            address,
            counters: Box::new(counters),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn plain(policy: &Arc<Policy>) -> Serving {
        Serving::start(
            Arc::clone(policy),
            ServerOptions::default(),
            Security::default(),
        )
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
