//! The router's device on a Unix socket: one open of the device per connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use l4sllm_abi::{FRAME_SIZE, MESSAGE_SIZE, Op, Refusal, Reply, Request};
use l4sllmd::clock::now_ns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};

use crate::router::{Handle, Opener, Readiness, RouterError};

/// Maximum size of a read's answer, bytes.
const MAX_READ: usize = 4096 * MESSAGE_SIZE;

/// Serves until it is dropped, which closes the connections and removes the
/// socket's file.
#[derive(Debug)]
pub struct DeviceServer {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DeviceServer {
    /// Listens on `path`, which must not exist, in a separate thread.
    ///
    /// # Errors
    /// The socket cannot be created.
    pub fn start(path: &Path, opener: Opener) -> io::Result<DeviceServer> {
        // Bound here, so that clients can connect once this returns.
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, opener) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(DeviceServer {
            path: path.to_owned(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for DeviceServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: std::os::unix::net::UnixListener, opener: Opener) {
    let Ok(listener) = UnixListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        if let Ok(handle) = opener.open() {
            let connection = Connection::new(stream, handle);
            // A broken connection is handled like a closed one.
            tokio::spawn(async move { connection.serve().await.ok() });
        }
    }
}

/// One client and its open of the device.
struct Connection {
    stream: UnixStream,
    handle: Handle,
    /// Notified by the packet path when the handle becomes readable.
    readable: Arc<Notify>,
    input: Vec<u8>,
    /// The pending read: its tag and the maximum number of bytes.
    reading: Option<(u32, usize)>,
}

impl Connection {
    fn new(stream: UnixStream, mut handle: Handle) -> Connection {
        let readable = Arc::new(Notify::new());
        let wake = Arc::clone(&readable);
        handle.on_ready(move || wake.notify_one());
        Connection {
            stream,
            handle,
            readable,
            input: Vec::new(),
            reading: None,
        }
    }

    async fn serve(mut self) -> io::Result<()> {
        loop {
            while let Some((request, mut body)) = self.parse()? {
                self.answer(request, &mut body).await?;
            }
            let mut deadline = None;
            if let Some((tag, most)) = self.reading {
                match self.handle.ready(now_ns()) {
                    Readiness::Ready => {
                        self.answer_read(tag, most).await?;
                        continue;
                    }
                    Readiness::At(at) => deadline = at,
                }
            }
            let wait = deadline.map_or(Duration::MAX, |at| {
                Duration::from_nanos(at - now_ns().min(at))
            });
            tokio::select! {
                got = self.stream.read_buf(&mut self.input) => {
                    if got? == 0 {
                        return Ok(());
                    }
                }
                () = self.readable.notified() => {}
                () = tokio::time::sleep(wait), if deadline.is_some() => {}
            }
        }
    }

    /// The next complete request in the input. Invalid input ends the
    /// connection.
    fn parse(&mut self) -> io::Result<Option<(Request, Vec<u8>)>> {
        let Some(frame) = self.input.get(..FRAME_SIZE) else {
            return Ok(None);
        };
        let request = Request::from_bytes(frame).map_err(io::Error::other)?;
        let end = FRAME_SIZE + request.length as usize;
        if self.input.len() < end {
            return Ok(None);
        }
        let body = self.input[FRAME_SIZE..end].to_vec();
        self.input.drain(..end);
        Ok(Some((request, body)))
    }

    async fn answer(&mut self, request: Request, body: &mut [u8]) -> io::Result<()> {
        if request.op == Op::Read.code() {
            let most = <[u8; 4]>::try_from(&*body).map(u32::from_ne_bytes);
            match most {
                Ok(most) if most as usize >= MESSAGE_SIZE && self.reading.is_none() => {
                    self.reading = Some((request.tag, (most as usize).min(MAX_READ)));
                    return Ok(());
                }
                _ => return self.reply(&request, Err(Refusal::Invalid)).await,
            }
        }
        match self.handle.request(request.op, body, now_ns()) {
            Ok(()) => {
                let answer = if writes_back(request.op) { &*body } else { &[] };
                self.reply(&request, Ok(answer)).await
            }
            Err(RouterError::Refused { refusal, .. }) => self.reply(&request, Err(refusal)).await,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn answer_read(&mut self, tag: u32, most: usize) -> io::Result<()> {
        let mut records = vec![0; most];
        let got = self
            .handle
            .read(&mut records, now_ns())
            .map_err(io::Error::other)?;
        if got > 0 {
            self.reading = None;
            let request = Request {
                op: Op::Read.code(),
                tag,
                length: 0,
            };
            self.reply(&request, Ok(&records[..got])).await?;
        }
        Ok(())
    }

    async fn reply(&mut self, to: &Request, body: Result<&[u8], Refusal>) -> io::Result<()> {
        let result = body.map(|body| body.len() as u32);
        let mut bytes = Reply {
            op: to.op,
            tag: to.tag,
            result,
        }
        .to_bytes()
        .to_vec();
        bytes.extend(body.unwrap_or_default());
        self.stream.write_all(&bytes).await
    }
}

/// True if the reply carries the request's struct.
fn writes_back(op: u16) -> bool {
    matches!(
        Op::try_from(op),
        Ok(Op::Version | Op::Stats | Op::Queues | Op::GetParams | Op::GetLimits | Op::GetStudent)
    )
}
