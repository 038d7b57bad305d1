//! A controller stops in the middle of a request: the device's watchdog ends its
//! overrides before they expire.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use l4sllm_abi::bytes::{as_bytes, as_bytes_mut};
use l4sllm_abi::{
    FRAME_SIZE, Factor, Factors, Limits, Mode, Op, Override, Reply, Request, Steer, Version,
};
use l4sllm_testbed::router::{INSTANCE, SCHED};
use l4sllmd::clock::now_ns;

use super::bench::Bench;
use super::{Outcome, PATIENCE};
use crate::LabError;

/// Time without a request after which the watchdog ends overrides, ns.
const WATCHDOG_NS: u64 = 500_000_000;
/// Life of the overrides, ns.
const TTL_NS: u64 = 20_000_000_000;
/// Time for a reply of the device.
const REPLY: Duration = Duration::from_secs(5);

/// Replaces the daemon by a client that steers and then stops within a request.
/// Returns the time by which the queue must be plain, ms.
///
/// # Errors
/// The daemon, the device or the host does not respond in time.
pub fn drill(bench: &mut Bench<'_>, outcome: &mut Outcome) -> Result<f64, LabError> {
    bench.end_daemon();
    bench.wait_for("the queue to be plain DualPI2", PATIENCE, |bench| {
        Ok(bench.is_plain())
    })?;
    let failed = || LabError::system("control the queue's device");
    let mut client = Client::connect(bench).map_err(failed())?;
    client.control().map_err(failed())?;
    client.steer(1).map_err(failed())?;
    bench.wait_for("the client to steer", PATIENCE, |bench| {
        Ok(!bench.is_plain())
    })?;
    bench.fail(|_| {
        client.steer(2).map_err(failed())?;
        client.half_a_request().map_err(failed())
    })?;
    outcome.plain_ms = Some(bench.wait_plain()?);
    bench.heal(|bench| {
        drop(client);
        bench.start_daemon()
    })?;
    outcome.recovered_ms = Some(bench.wait_steered(PATIENCE)?);
    Ok(WATCHDOG_NS as f64 / 1e6)
}

/// A controller that speaks the device's protocol.
struct Client {
    stream: UnixStream,
    tag: u32,
}

impl Client {
    fn connect(bench: &Bench<'_>) -> std::io::Result<Client> {
        let stream = UnixStream::connect(bench.device())?;
        stream.set_read_timeout(Some(REPLY))?;
        Ok(Client { stream, tag: 0 })
    }

    /// Takes control, and sets the watchdog.
    fn control(&mut self) -> std::io::Result<()> {
        self.request(Op::Version, as_bytes_mut(&mut Version::question()))?;
        self.request(Op::Control, &mut [])?;
        let limits = Limits {
            watchdog_ns: WATCHDOG_NS,
            ..Limits::default()
        };
        let limits = limits.to_raw().map_err(std::io::Error::other)?;
        self.request(Op::SetLimits, &mut as_bytes(&limits).to_vec())
    }

    fn steer(&mut self, id: u64) -> std::io::Result<()> {
        self.request(Op::Override, &mut order(id, 0.5)?)
    }

    /// The first half of an override.
    fn half_a_request(&mut self) -> std::io::Result<()> {
        let body = order(3, 0.25)?;
        let head = self.head(Op::Override, &body);
        self.stream.write_all(&head)?;
        self.stream.write_all(&body[..body.len() / 2])
    }

    fn head(&mut self, op: Op, body: &[u8]) -> [u8; FRAME_SIZE] {
        self.tag += 1;
        let request = Request {
            op: op.code(),
            tag: self.tag,
            length: body.len() as u32,
        };
        request.to_bytes()
    }

    fn request(&mut self, op: Op, body: &mut [u8]) -> std::io::Result<()> {
        let head = self.head(op, body);
        self.stream.write_all(&head)?;
        self.stream.write_all(body)?;
        let mut head = [0; FRAME_SIZE];
        self.stream.read_exact(&mut head)?;
        let reply = Reply::from_bytes(&head, body.len()).map_err(std::io::Error::other)?;
        let length = reply.result.map_err(std::io::Error::other)? as usize;
        self.stream.read_exact(&mut body[..length])
    }
}

/// The bytes of an override that shifts the target.
fn order(id: u64, target: f64) -> std::io::Result<Vec<u8>> {
    let id = id.try_into().map_err(std::io::Error::other)?;
    let factors = Factors {
        target: Some(Factor::new(target).map_err(std::io::Error::other)?),
        ..Factors::NONE
    };
    let steer = Steer::new(factors).map_err(std::io::Error::other)?;
    let order = Override {
        sched: SCHED,
        instance: INSTANCE,
        id,
        based_on: 0,
        expires_ns: now_ns() + TTL_NS,
        mode: Mode::Steer(steer),
    };
    Ok(order.to_bytes().to_vec())
}
