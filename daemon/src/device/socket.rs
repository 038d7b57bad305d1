//! The Unix socket of an emulated device: frames of `l4s_request` and
//! `l4s_reply`.

use std::io;
use std::path::Path;
use std::time::Duration;

use l4sllm_abi::raw::l4s_reply;
use l4sllm_abi::{AbiError, FRAME_SIZE, Op, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::error::Failure;
use crate::files::Files;

pub(super) struct SocketDevice {
    stream: UnixStream,
    /// Bytes to send; kept here so that a dropped future loses none.
    output: Vec<u8>,
    /// Bytes received of an incomplete reply.
    input: Vec<u8>,
    next_tag: u32,
    /// The pending read: its tag, and the maximum number of bytes requested.
    reading: Option<(u32, usize)>,
    /// Timeout of a reply, from its first byte to its last.
    patience: Duration,
    /// Deadline of a partial reply.
    whole_by: Option<Instant>,
    /// Its reply, if it arrived while waiting for another request.
    records: Option<Result<Vec<u8>, Failure>>,
}

impl SocketDevice {
    pub(super) async fn open(
        files: &Files,
        path: &Path,
        patience: Duration,
    ) -> io::Result<SocketDevice> {
        Ok(SocketDevice {
            stream: files.connect(path).await?,
            output: Vec::new(),
            input: Vec::new(),
            next_tag: 1,
            reading: None,
            patience,
            whole_by: None,
            records: None,
        })
    }

    pub(super) async fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        if self.records.is_none() && self.reading.is_none() {
            let tag = self.enqueue(Op::Read, &(most as u32).to_ne_bytes());
            self.reading = Some((tag, most));
        }
        loop {
            if let Some(records) = self.records.take() {
                *into = records?;
                return Ok(());
            }
            if let Some((reply, _)) = self.reply(0).await? {
                return Err(Failure::Answer(unexpected(reply.tag)));
            }
        }
    }

    pub(super) async fn request(&mut self, op: Op, argument: &mut [u8]) -> Result<(), Failure> {
        let tag = self.enqueue(op, argument);
        loop {
            let Some((reply, body)) = self.reply(argument.len()).await? else {
                continue;
            };
            if reply.tag != tag {
                return Err(Failure::Answer(unexpected(reply.tag)));
            }
            reply.result.map_err(Failure::Refused)?;
            let want = if answers(op) { argument.len() } else { 0 };
            if body.len() != want {
                return Err(Failure::Answer(AbiError::Length {
                    what: "reply",
                    got: body.len(),
                    want,
                }));
            }
            argument[..want].copy_from_slice(&body);
            return Ok(());
        }
    }

    fn enqueue(&mut self, op: Op, body: &[u8]) -> u32 {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        let length = body.len() as u32;
        self.output.extend(
            Request {
                op: op.code(),
                tag,
                length,
            }
            .to_bytes(),
        );
        self.output.extend(body);
        tag
    }

    /// Sends pending output and waits for a reply. A reply to the pending read
    /// is stored, and `None` is returned. `most` is the maximum length of other
    /// replies.
    async fn reply(&mut self, most: usize) -> Result<Option<(Reply, Vec<u8>)>, Failure> {
        loop {
            if let Some((reply, body)) = self.parse(most)? {
                if self.reading.is_some_and(|(tag, _)| tag == reply.tag) {
                    self.reading = None;
                    self.records = Some(reply.result.map(|_| body).map_err(Failure::Refused));
                    return Ok(None);
                }
                return Ok(Some((reply, body)));
            }
            // Each await below is cancel safe.
            if !self.output.is_empty() {
                let sent = self.stream.write(&self.output).await?;
                self.output.drain(..sent);
                continue;
            }
            let whole_by = (!self.input.is_empty())
                .then(|| *self.whole_by.get_or_insert(Instant::now() + self.patience));
            let read = self.stream.read_buf(&mut self.input);
            let got = match whole_by {
                None => read.await?,
                Some(end) => tokio::time::timeout_at(end, read)
                    .await
                    .map_err(|_| Failure::Timeout(self.patience))??,
            };
            if got == 0 {
                return Err(Failure::Closed);
            }
        }
    }

    fn parse(&mut self, most: usize) -> Result<Option<(Reply, Vec<u8>)>, AbiError> {
        let Some(frame) = self.input.get(..FRAME_SIZE) else {
            return Ok(None);
        };
        let most = self.reading.map_or(most, |(_, bytes)| bytes.max(most));
        let reply = Reply::from_bytes(frame, most)?;
        let end = FRAME_SIZE + reply.result.unwrap_or(0) as usize;
        if self.input.len() < end {
            return Ok(None);
        }
        let body = self.input[FRAME_SIZE..end].to_vec();
        self.input.drain(..end);
        self.whole_by = None;
        Ok(Some((reply, body)))
    }
}

/// True if the reply carries the request's struct.
fn answers(op: Op) -> bool {
    matches!(
        op,
        Op::Version | Op::Stats | Op::Queues | Op::GetParams | Op::GetLimits | Op::GetStudent
    )
}

fn unexpected(tag: u32) -> AbiError {
    AbiError::Range {
        what: <l4s_reply as l4sllm_abi::bytes::Plain>::NAME,
        field: "tag",
        got: tag.into(),
        want: "that of a pending request",
    }
}
