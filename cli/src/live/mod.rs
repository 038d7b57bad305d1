//! `l4sllm live`: a page with the queues and a switch between engines.

mod access;
mod emulated;
#[cfg(target_os = "linux")]
mod lab;
mod sample;
mod server;
mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use l4sllm_model::text::shown;
use l4sllmd::config::DEFAULT_SOCKET;
use l4sllmd::control::Choice;
use serde::{Deserialize, Serialize};

use crate::output::{errln, outln};
use crate::status::fetch;
use crate::{cancel, shipped};
use sample::{Feed, Sampler};
use server::Server;

/// Show the queues on a web page, with a switch between engines.
///
/// The page has the delay, rate, marks and drops of both queues, the set-points in
/// force, and a switch between plain DualPI2, tuned DualPI2, the adaptive rule and
/// a policy. It is served until Ctrl-C.
///
/// Without --scenario and --lab, the page shows a running l4sllmd; the switch needs
/// [control] in its configuration. With --scenario, a scenario is emulated in real
/// time and controlled by a daemon in this process, which needs no root. With --lab,
/// real packets flow between network namespaces of this machine (root).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm live --scenario headroom
  l4sllm live --scenario mine.toml --policy out/policy --open
  l4sllm live --socket /tmp/l4sllmd-status.sock
  l4sllm live --lab --open")]
pub struct LiveArgs {
    /// The status socket of a running daemon (`[status] socket` of its
    /// configuration).
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Scenario to emulate, or to run in the lab: a file, or a built-in name.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    scenario: Option<PathBuf>,
    /// Run the scenario, by default headroom, with real packets (root).
    #[arg(long, conflicts_with = "socket")]
    lab: bool,
    /// The policy behind `learned`: a directory, or a built-in name.
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "context",
        conflicts_with = "socket"
    )]
    policy: PathBuf,
    /// Engine at the start.
    #[arg(long, value_enum, default_value_t = Engine::Plain, conflicts_with = "socket")]
    engine: Engine,
    /// Address of the page; port 0: any free port. The switch works only on a
    /// loopback address.
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Open the page in a browser.
    #[arg(long)]
    open: bool,
}

/// Default address: this host only.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9595);

/// Interval at which the end of a service is noticed.
const NOTICE: Duration = Duration::from_millis(100);

/// An engine of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Plain,
    Tuned,
    Adaptive,
    Learned,
}

impl Engine {
    const ALL: [Engine; 4] = [
        Engine::Plain,
        Engine::Tuned,
        Engine::Adaptive,
        Engine::Learned,
    ];

    /// Its name on the control socket.
    fn choice(self) -> Choice {
        match self {
            Engine::Plain => Choice::Plain,
            Engine::Tuned => Choice::Tuned,
            Engine::Adaptive => Choice::Adaptive,
            Engine::Learned => Choice::Policy,
        }
    }
}

/// Serves the page until a signal.
pub fn run(args: &LiveArgs) -> anyhow::Result<()> {
    let ended = cancel::signals()?;
    let mut source = Source::start(args)?;
    let feed = Arc::new(Feed::new(source.subject.clone(), source.policy.clone()));
    let server = Server::start(args.listen, Arc::clone(&feed))?;
    let sampler = Sampler::start(source.socket.clone(), feed)?;
    let address = server.address();
    let url = format!("http://{address}/");
    outln!("{url} shows {}; press Ctrl-C to stop", source.subject)?;
    if !address.ip().is_loopback() {
        errln!("warning: {address} can be reached by other hosts, so the switch is off");
    }
    if args.open {
        open(&url);
    }
    let result = loop {
        match ended.recv_timeout(NOTICE) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(error) = source.failure() {
            break Err(error);
        }
    };
    drop((server, sampler));
    source.warn();
    result
}

/// Source of the page's numbers: a daemon and its queue.
struct Source {
    subject: String,
    /// Name of the policy that can be selected, if known.
    policy: Option<String>,
    /// The daemon's status socket.
    socket: PathBuf,
    /// Ends on drop; none for a daemon that runs elsewhere.
    own: Option<Box<dyn Own>>,
}

/// A queue and a daemon of this process.
trait Own {
    /// Why it has ended.
    fn failure(&mut self) -> Option<anyhow::Error>;

    /// Warns of what disturbed it.
    fn warn(&self) {}
}

impl Source {
    fn start(args: &LiveArgs) -> anyhow::Result<Source> {
        let scenario = || {
            let name = args.scenario.as_deref().unwrap_or(Path::new("headroom"));
            shipped::scenario(name)
        };
        let policy = || {
            let found = shipped::find(shipped::Kind::Policy, &args.policy)?;
            std::path::absolute(&found).with_context(|| format!("policy {}", shown(&found)))
        };
        if args.lab {
            let mut source = Source::lab(scenario()?, &policy()?, args.engine)?;
            source.policy = name(&args.policy);
            return Ok(source);
        }
        if args.scenario.is_some() {
            let own = emulated::Emulated::start(&scenario()?, &policy()?, args.engine)?;
            return Ok(Source {
                subject: own.subject.clone(),
                policy: name(&args.policy),
                socket: own.socket().to_owned(),
                own: Some(Box::new(own)),
            });
        }
        let status = fetch(&args.socket).context(
            "l4sllm live --scenario headroom needs no daemon: it emulates a queue and controls it",
        )?;
        let device = status.device.path.display();
        Ok(Source {
            subject: format!("l4sllmd {} on {device}", status.version),
            policy: None,
            socket: args.socket.clone(),
            own: None,
        })
    }

    #[cfg(target_os = "linux")]
    fn lab(
        scenario: l4sllm_testbed::scenario::Scenario,
        policy: &Path,
        engine: Engine,
    ) -> anyhow::Result<Source> {
        let own = lab::Real::start(scenario, policy, engine)?;
        Ok(Source {
            subject: own.subject.clone(),
            policy: None,
            socket: own.socket().to_owned(),
            own: Some(Box::new(own)),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn lab(_: l4sllm_testbed::scenario::Scenario, _: &Path, _: Engine) -> anyhow::Result<Source> {
        anyhow::bail!("--lab needs Linux's network namespaces");
    }

    fn failure(&mut self) -> Option<anyhow::Error> {
        self.own.as_mut().and_then(|own| own.failure())
    }

    fn warn(&self) {
        if let Some(own) = &self.own {
            own.warn();
        }
    }
}

/// The last part of a path.
fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Opens the page in a browser, if there is a program for it.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let started = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(mut child) => {
            // It ends once the browser has the page.
            std::thread::spawn(move || child.wait());
        }
        Err(error) => errln!("warning: cannot open a browser with {program}: {error}"),
    }
}
