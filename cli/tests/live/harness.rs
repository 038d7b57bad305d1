//! The program, and a client of its page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{root, two_flows};

/// Deadline for expected events, even on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `check` returns a value.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `l4sllm live`, with a separate directory for its temporary files.
pub struct Live {
    child: Child,
    pub address: SocketAddr,
    temporary: tempfile::TempDir,
}

impl Live {
    /// Emulates two flows.
    pub fn emulated(more: &[&str]) -> Live {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("two.toml");
        std::fs::write(&file, two_flows("two", &[("plain", "aqm = \"dualpi2\"")])).unwrap();
        let file = file.to_str().unwrap();
        Live::start(&[&["--scenario", file], more].concat())
    }

    /// Starts `l4sllm live` on a free port and waits for its page.
    pub fn start(options: &[&str]) -> Live {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_l4sllm"))
            .args(["live", "--listen", "127.0.0.1:0"])
            .args(options)
            .current_dir(root())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        // A separate word, so that a terminal opens it as printed.
        let url = line.split(' ').next();
        let address = url.and_then(|url| url.strip_prefix("http://")?.strip_suffix('/'));
        let address = address.and_then(|address| address.parse().ok());
        Live {
            child,
            address: address.unwrap_or_else(|| panic!("no address: {line:?}")),
            temporary,
        }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Sends a request with these fields in addition to Host, and returns the whole
    /// answer.
    pub fn ask(&self, line: &str, fields: &str, body: &str) -> String {
        let host = format!("Host: {}\r\n", self.address);
        self.ask_as(&host, line, fields, body)
    }

    pub fn ask_as(&self, host: &str, line: &str, fields: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let text =
            format!("{line} HTTP/1.1\r\n{host}{fields}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Presses the switch, as a program; returns the status line.
    pub fn select(&self, engine: &str) -> String {
        let body = format!("{{\"engine\": \"{engine}\"}}");
        let answer = self.ask("POST /engine", "Content-Type: application/json\r\n", &body);
        answer.lines().next().unwrap().to_owned()
    }

    /// The stream of events.
    pub fn events(&self) -> Events {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        Events {
            lines: BufReader::new(stream),
        }
    }

    /// Sends SIGTERM, and waits for the end. Nothing must be left.
    pub fn end(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let status = until("the end", || self.child.try_wait().unwrap());
        let left: Vec<_> = std::fs::read_dir(self.temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        status
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events of a page.
pub struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// The next event: its name and data.
    pub fn event(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            let got = self.lines.read_line(&mut line).unwrap();
            assert!(got > 0, "the stream ended");
            if let Some(rest) = line.strip_prefix("event: ") {
                name = rest.trim_end().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next sample that satisfies a condition.
    pub fn sample(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        let mut last = Value::Null;
        while Instant::now() < end {
            let (name, data) = self.event();
            if name == "sample" {
                if wanted(&data) {
                    return data;
                }
                last = data;
            }
        }
        panic!("{what}: no such sample; the last was {last}");
    }
}

/// The factor on the target delay in a sample.
pub fn target(sample: &Value) -> f64 {
    let points = sample["points"].as_array().unwrap();
    let target = points.iter().find(|point| point["name"] == "target");
    target.map_or(f64::NAN, |target| target["factor"].as_f64().unwrap())
}

/// Sockets and configuration of a daemon.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
