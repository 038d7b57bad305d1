//! A misbehaving device.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use l4sllm_abi::bytes::{Plain, as_bytes, from_bytes};
use l4sllm_abi::{
    FRAME_SIZE, Limits, Op, Params, Record, Refusal, Reply, Request, V1_SIZE, Version, header, raw,
};

use crate::harness::Place;

/// Its reply to a read.
#[derive(Clone)]
pub enum Read {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes instead of the whole reply.
    Frame(Vec<u8>),
    /// No answer.
    Never,
    /// Closes the connection.
    Close,
}

/// Serves connections in sequence, until the process ends.
pub struct Fake;

struct Behaviour {
    reads: VecDeque<Read>,
    versions: (u16, u16),
    refuses: Option<(Op, Refusal)>,
    answers: fn(u16) -> bool,
}

impl Fake {
    /// Answers reads in order, and requests correctly.
    pub fn start(place: &Place, reads: Vec<Read>) -> Fake {
        Fake::start_with(place, reads, |_| true)
    }

    /// Answers only the operations in `answers`.
    pub fn start_with(place: &Place, reads: Vec<Read>, answers: fn(u16) -> bool) -> Fake {
        listen(
            place,
            Behaviour {
                reads: reads.into(),
                answers,
                ..Behaviour::honest()
            },
        )
    }

    /// Has other versions.
    pub fn of_version(place: &Place, min: u16, max: u16) -> Fake {
        listen(
            place,
            Behaviour {
                versions: (min, max),
                ..Behaviour::honest()
            },
        )
    }

    /// Refuses one operation.
    pub fn refusing(place: &Place, op: Op, refusal: Refusal) -> Fake {
        Fake::refusing_with(place, op, refusal, Vec::new())
    }

    /// Refuses one operation, and answers reads in order.
    pub fn refusing_with(place: &Place, op: Op, refusal: Refusal, reads: Vec<Read>) -> Fake {
        listen(
            place,
            Behaviour {
                reads: reads.into(),
                refuses: Some((op, refusal)),
                ..Behaviour::honest()
            },
        )
    }

    /// The bytes of a valid record.
    pub fn record(seq: u64) -> Vec<u8> {
        Fake::record_at(seq, 1_000_000 * seq)
    }

    /// The bytes of a valid record with a time.
    pub fn record_at(seq: u64, time_ns: u64) -> Vec<u8> {
        let hdr = header(raw::L4S_RECORD_DECISION, seq, time_ns);
        let record = raw::l4s_record_v1 {
            hdr,
            sched: 1,
            ..Default::default()
        };
        let bytes = Record::try_from(record).unwrap().to_bytes();
        assert_eq!(bytes.len(), V1_SIZE);
        bytes.to_vec()
    }
}

impl Behaviour {
    fn honest() -> Behaviour {
        Behaviour {
            reads: VecDeque::new(),
            versions: l4sllm_abi::VERSIONS,
            refuses: None,
            answers: |_| true,
        }
    }
}

fn listen(place: &Place, mut behaviour: Behaviour) -> Fake {
    let listener = UnixListener::bind(place.path("device")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that disconnects does not fail the test.
            let _ = serve(stream, &mut behaviour);
        }
    });
    Fake
}

fn serve(mut stream: UnixStream, behaviour: &mut Behaviour) -> io::Result<()> {
    loop {
        let mut frame = [0; FRAME_SIZE];
        stream.read_exact(&mut frame)?;
        let request = Request::from_bytes(&frame).map_err(io::Error::other)?;
        let mut body = vec![0; request.length as usize];
        stream.read_exact(&mut body)?;
        if !(behaviour.answers)(request.op) {
            continue;
        }
        let answer = match Op::try_from(request.op).map_err(io::Error::other)? {
            op if behaviour.refuses.is_some_and(|(refused, _)| refused == op) => {
                Err(behaviour.refuses.unwrap().1)
            }
            Op::Read => match behaviour.reads.pop_front() {
                Some(Read::Bytes(bytes)) => Ok(bytes),
                Some(Read::Frame(bytes)) => {
                    stream.write_all(&bytes)?;
                    continue;
                }
                Some(Read::Never) | None => continue,
                Some(Read::Close) => return Ok(()),
            },
            Op::Version => version(behaviour.versions, &body),
            Op::GetParams => Ok(plain(&Params::default().to_raw().unwrap())),
            Op::GetLimits => Ok(plain(&Limits::default().to_raw().unwrap())),
            _ => Ok(Vec::new()),
        };
        let result = answer
            .as_ref()
            .map(|bytes| bytes.len() as u32)
            .map_err(|refusal| *refusal);
        stream.write_all(
            &Reply {
                op: request.op,
                tag: request.tag,
                result,
            }
            .to_bytes(),
        )?;
        stream.write_all(&answer.unwrap_or_default())?;
    }
}

pub fn version((min, max): (u16, u16), question: &[u8]) -> Result<Vec<u8>, Refusal> {
    let asked: raw::l4s_version = from_bytes(question).unwrap();
    if asked.min > max || asked.max < min {
        return Err(Refusal::Protocol);
    }
    Ok(plain(&raw::l4s_version {
        min,
        max,
        ..Version::answer("other")
    }))
}

pub fn plain<T: Plain>(value: &T) -> Vec<u8> {
    as_bytes(value).to_vec()
}
