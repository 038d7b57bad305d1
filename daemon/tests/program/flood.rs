//! A device with more records than the daemon can decide on.

use std::io::{self, Read as _, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use l4sllm_abi::bytes::from_bytes;
use l4sllm_abi::{FRAME_SIZE, Limits, Op, Params, Reply, Request, V1_SIZE, VERSIONS, raw};
use l4sllmd::clock::now_ns;

use crate::fake::{Fake, plain, version};
use crate::harness::Place;

/// Its supply of records.
#[derive(Debug, Clone, Copy)]
pub enum Supply {
    /// This number of records at the start and after each override, which
    /// models the time of a decision.
    PerOverride(u64),
    /// As many as requested.
    Endless,
}

/// Serves until the process ends.
#[derive(Clone)]
pub struct Flood(Arc<Mutex<State>>);

/// Log of records and overrides.
#[derive(Debug, Default, Clone)]
pub struct State {
    /// Number of records produced and read.
    pub produced: u64,
    pub read: u64,
    /// For each override, the record on which it is based, and the newest one
    /// when it arrived.
    pub overrides: Vec<(u64, u64)>,
}

impl Flood {
    pub fn start(place: &Place, supply: Supply) -> Flood {
        let flood = Flood(Arc::default());
        let listener = UnixListener::bind(place.path("device")).unwrap();
        let shared = flood.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that disconnects does not fail the test.
                let _ = shared.serve(stream, supply);
            }
        });
        flood
    }

    pub fn state(&self) -> State {
        self.0.lock().unwrap().clone()
    }

    fn serve(&self, mut stream: UnixStream, supply: Supply) -> io::Result<()> {
        let produce = |state: &mut State| match supply {
            Supply::PerOverride(records) => state.produced += records,
            Supply::Endless => {}
        };
        produce(&mut self.0.lock().unwrap());
        // A read without data.
        let mut waiting: Option<(Request, u64)> = None;
        loop {
            let mut frame = [0; FRAME_SIZE];
            stream.read_exact(&mut frame)?;
            let request = Request::from_bytes(&frame).map_err(io::Error::other)?;
            let mut body = vec![0; request.length as usize];
            stream.read_exact(&mut body)?;
            let op = Op::try_from(request.op).map_err(io::Error::other)?;
            let answer = match op {
                Op::Read => {
                    let most = u32::from_ne_bytes(body[..].try_into().unwrap());
                    waiting = Some((request, u64::from(most) / V1_SIZE as u64));
                    None
                }
                Op::Version => Some(version(VERSIONS, &body).map_err(io::Error::other)?),
                Op::GetParams => Some(plain(&Params::default().to_raw().unwrap())),
                Op::GetLimits => Some(plain(&Limits::default().to_raw().unwrap())),
                Op::Override => {
                    let order: raw::l4s_override = from_bytes(&body).unwrap();
                    let mut state = self.0.lock().unwrap();
                    let newest = state.produced - 1;
                    state.overrides.push((order.based_on, newest));
                    produce(&mut state);
                    Some(Vec::new())
                }
                _ => Some(Vec::new()),
            };
            if let Some(answer) = answer {
                reply(&mut stream, &request, &answer)?;
            }
            let Some((read, most)) = waiting else {
                continue;
            };
            let records = self.take(most, supply);
            if !records.is_empty() {
                reply(&mut stream, &read, &records)?;
                waiting = None;
            }
        }
    }

    fn take(&self, most: u64, supply: Supply) -> Vec<u8> {
        let mut state = self.0.lock().unwrap();
        if matches!(supply, Supply::Endless) {
            state.produced = state.read + most;
        }
        let end = state.produced.min(state.read + most);
        let (first, now) = (state.read, now_ns());
        state.read = end;
        (first..end)
            .flat_map(|seq| Fake::record_at(seq, now))
            .collect()
    }
}

fn reply(stream: &mut UnixStream, to: &Request, body: &[u8]) -> io::Result<()> {
    let frame = Reply {
        op: to.op,
        tag: to.tag,
        result: Ok(body.len() as u32),
    };
    stream.write_all(&frame.to_bytes())?;
    stream.write_all(body)
}
