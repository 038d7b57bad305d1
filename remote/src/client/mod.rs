//! The client: one connection to a server for all scheduler instances.
//!
//! ```text
//! engine ─ submit ─▶ task ─ ModelInfer ─▶ server
//!        ◀─ ticket ─      ◀─────────────
//! connection task: connect, check metadata, wait for a failure, pause, again
//! ```
//!
//! All network work runs in one separate thread. [`Client::submit`] only starts a task
//! there, and a [`Ticket`] is read without waiting, so the thread that decides never
//! waits for the network.

mod connection;
mod counters;
mod options;
mod ticket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use l4sllm_model::{Outputs, Window};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Request, Response, Status};

use crate::proto::{ModelInferRequest, ModelInferResponse};
use crate::tensors::Contract;
pub use connection::ConnectError;
use connection::{CallError, Link};
use counters::Count;
pub use counters::Counters;
pub use options::{CONNECT, ClientOptions, OptionError};
pub use ticket::{Progress, Ticket};

/// A request is cancelled after this many deadlines. Until then, an answer is counted as
/// late, and the instance sends no other request.
const PATIENCE: u32 = 2;

/// The connection, shared by the engines of all instances. The thread ends when the
/// last clone is dropped.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    shared: Arc<Shared>,
    /// Ends the thread when dropped.
    _stop: oneshot::Sender<()>,
}

/// State of the client's thread and its users.
struct Shared {
    options: ClientOptions,
    contract: Contract,
    /// `None` while there is no usable connection.
    link: Mutex<Option<Arc<Link>>>,
    counters: Mutex<Counters>,
    /// Notified when a ticket has progressed.
    progress: Notify,
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Starts the thread, which connects and keeps trying.
    ///
    /// # Errors
    /// The thread or its event loop cannot be started.
    pub fn start(options: ClientOptions, contract: Contract) -> std::io::Result<Client> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            options,
            contract,
            link: Mutex::default(),
            counters: Mutex::default(),
            progress: Notify::new(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        let keep = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("remote".into());
        thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connection::keep(&keep) => {}
                    // An error: the sender was dropped.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Client {
            inner: Arc::new(Inner {
                runtime: handle,
                shared,
                _stop: stop,
            }),
        })
    }

    /// Sends a request without waiting. `None` if there is no usable connection, or
    /// the server takes full windows only and this one is shorter.
    pub fn submit(&self, window: &Window, deadline: Duration) -> Option<Ticket> {
        let shared = &self.inner.shared;
        let link = shared.link().clone();
        let link = link.filter(|link| link.steps.is_none_or(|steps| steps == window.len()));
        let Some(link) = link else {
            shared.counters().unsent += 1;
            return None;
        };
        let request = shared.contract.request(&shared.options.model, window);
        let ticket = ticket::State::default();
        let task = call(Arc::clone(shared), link, request, deadline, ticket.clone());
        let task = self.inner.runtime.spawn(task);
        Some(Ticket::new(ticket, task, Arc::clone(shared)))
    }

    /// Waits until a ticket has progressed since the last call. Cancel safe.
    pub async fn progressed(&self) {
        self.inner.shared.progress.notified().await;
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        *self.inner.shared.counters()
    }

    /// Counts a decision for which no request is sent, because the previous one has
    /// not ended.
    pub fn count_unsent(&self) {
        self.inner.shared.counters().unsent += 1;
    }

    /// Whether there is a usable connection.
    pub fn is_connected(&self) -> bool {
        self.inner.shared.link().is_some()
    }

    /// The options.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.shared.options
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = &self.inner.shared.options;
        write!(f, "Client({} of {})", options.model, options.url)
    }
}

/// One request, from its start until its answer or its cancellation.
async fn call(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: ModelInferRequest,
    deadline: Duration,
    ticket: ticket::State,
) {
    let count = Count::start(Arc::clone(&shared));
    let start = Instant::now();
    let mut request = Request::new(request);
    // Servers may stop computing then. It is cancelled here before.
    request.set_timeout(deadline * (PATIENCE + 1));
    let mut client = link.client.clone();
    let answer = client.model_infer(request);
    tokio::pin!(answer);
    let response = tokio::select! {
        biased;
        response = &mut answer => Some(response),
        () = sleep_until(start + deadline) => {
            if ticket.expire() {
                shared.counters().missed += 1;
                shared.progress.notify_one();
            }
            timeout_at(start + deadline * PATIENCE, &mut answer).await.ok()
        }
    };
    match response.map(|response| outputs(&shared, response)) {
        None => {
            link.count_silence();
            ticket.end();
        }
        Some(Ok(outputs)) => {
            link.count_answer();
            match ticket.answer(outputs) {
                true => count.answered(),
                false => count.late(),
            }
        }
        Some(Err(error)) => {
            count.failed(&error);
            // Any other failure causes a new connection, and another check of the
            // metadata.
            match error.is_overload() {
                true => link.count_answer(),
                false => link.fail(error),
            }
            ticket.end();
        }
    }
    shared.progress.notify_one();
}

fn outputs(
    shared: &Shared,
    response: Result<Response<ModelInferResponse>, Status>,
) -> Result<Outputs, CallError> {
    let response = response.map_err(|status| CallError::Status(Box::new(status)))?;
    Ok(shared.contract.outputs(response.get_ref())?)
}
