//! `l4sllm serve` as a program: the daemon's client, metrics, errors, and its end.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

#[cfg(not(feature = "remote"))]
#[test]
fn builds_without_network_inference_name_the_feature() {
    use common::l4sllm;
    for line in [&["serve", "context"][..], &["bench", "remote"]] {
        let (code, out, error) = l4sllm(line);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.contains("feature remote"), "{error}");
    }
}

#[cfg(feature = "remote")]
mod served {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use l4sllm_model::{Policy, Window};
    use l4sllm_remote::client::{CONNECT, Client, ClientOptions, Progress};
    use l4sllm_remote::tensors::Contract;
    use rustix::process::{Pid, Signal, kill_process};

    use super::common::{l4sllm, root};

    /// Killed on drop.
    struct Serving {
        child: Child,
        address: SocketAddr,
    }

    impl Serving {
        fn start(more: &[&str]) -> (Serving, BufReader<std::process::ChildStderr>) {
            let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
                .args(["serve", "policies/context", "--listen", "127.0.0.1:0"])
                .args(more)
                .current_dir(root())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            let (address, rest) = line.split_once(": ").expect("an address");
            assert!(rest.starts_with("serving policy context (plain"), "{line}");
            let address = address.parse().unwrap();
            let notes = BufReader::new(child.stderr.take().unwrap());
            (Serving { child, address }, notes)
        }

        fn end(mut self) -> Option<i32> {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, Signal::TERM).unwrap();
            self.child.wait().unwrap().code()
        }
    }

    impl Drop for Serving {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn until(what: &str, mut check: impl FnMut() -> bool) {
        let start = Instant::now();
        while !check() {
            assert!(start.elapsed() < Duration::from_secs(20), "no {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn decisions_are_served_and_counted_until_a_signal() {
        let (serving, mut notes) = Serving::start(&["--metrics", "127.0.0.1:0"]);
        let mut note = String::new();
        notes.read_line(&mut note).unwrap();
        let (_, metrics) = note.trim().split_once("http://").expect("an address");
        let metrics = metrics.trim_end_matches("/metrics");

        let policy = Policy::load(&root().join("policies/context")).unwrap();
        let config = Arc::new(policy.config().clone());
        let window = Window {
            returns: vec![0.0; config.window],
            inputs: vec![0.5; config.window * config.inputs()],
            actions: vec![0.0; config.window * config.action_inputs()],
        };
        let steps = window.steps(&config).unwrap();
        let options = ClientOptions {
            url: format!("http://{}", serving.address),
            model: "context".into(),
            ca_file: None,
            token_file: None,
            retry: (Duration::from_millis(10), Duration::from_millis(100)),
            connect: CONNECT,
        };
        let client = Client::start(options, Contract::of(config)).unwrap();
        until("connection", || client.is_connected());
        let ticket = client.submit(&window, Duration::from_secs(10)).unwrap();
        until("answer", || ticket.progress() != Progress::Waiting);
        let outputs = policy.outputs_all(&[steps]).unwrap();
        assert_eq!(ticket.progress(), Progress::Answered(outputs[0]));

        let mut stream = TcpStream::connect(metrics).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        for sample in [
            "l4sllm_serve_requests_total 1\n",
            "l4sllm_serve_outcomes_total{outcome=\"decided\"} 1\n",
            "l4sllm_serve_batch_sizes_total{windows=\"1\"} 1\n",
            "l4sllm_serve_waiting 0\n",
            "l4sllm_serve_waiting_bytes 0\n",
            "l4sllm_serve_connections 1\n",
        ] {
            assert!(text.contains(sample), "{text} has no {sample}");
        }
        let manual = include_str!("../../man/l4sllm.1");
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(manual.contains(name), "{name} is not in the manual");
        }
        // A client that stays connected does not keep it from ending.
        assert_eq!(serving.end(), Some(0));
    }

    #[test]
    fn unusable_options_are_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = empty.path().to_str().unwrap();
        let missing = "/nowhere/key.pem";
        for (line, words) in [
            (&["serve", "no-such-policy"][..], "no-such-policy"),
            (&["serve", "context", "--token-file", empty], "not a token"),
            (
                &[
                    "serve",
                    "context",
                    "--tls-cert",
                    empty,
                    "--tls-key",
                    missing,
                ],
                "/nowhere/key.pem: cannot read",
            ),
            (
                &["serve", "context", "--listen", "192.0.2.1:1"],
                "192.0.2.1:1: cannot listen",
            ),
        ] {
            let (code, _, error) = l4sllm(line);
            assert_eq!(code, Some(1), "{line:?}: {error}");
            assert!(error.contains(words), "{error:?} has no {words:?}");
        }
        let (code, _, _) = l4sllm(&["serve", "context", "--tls-cert", empty]);
        assert_eq!(code, Some(2));
    }
}
