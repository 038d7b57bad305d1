//! Records in, overrides out, until the device goes away.

use l4sllm_abi::{EventCode, Interval, MESSAGE_SIZE, Message, Override, messages};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::control::{Command, Control};
use super::reload::Asked;
use super::{Daemon, End};
use crate::clock::now_ns;
use crate::config::Wake;
use crate::device::{Device, DeviceError};
use crate::error::Error;
use crate::metrics::Outcome;

/// Most messages to wait for, so that a long interval does not overflow the
/// device's ring (one that is smaller wakes earlier), and most of one read.
const MAX_WAKE: u32 = 1024;
const MAX_READ: u32 = 4 * MAX_WAKE;

/// Whether nothing has been read since the last look, and the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    No,
    Since,
    Long,
}

impl Daemon {
    pub(super) async fn serve(
        &mut self,
        mut device: Device,
        control: &mut Control,
    ) -> Result<End, Error> {
        match self.read_on(&mut device, control).await {
            Err(Error::Device(error)) if error.is_gone() => Ok(End::Gone(error)),
            other => other,
        }
    }

    async fn read_on(&mut self, device: &mut Device, control: &mut Control) -> Result<End, Error> {
        self.heed_advice(device, Asked::Told).await?;
        let mut buffer = Vec::new();
        let mut wake_now = None;
        let mut look = tokio::time::interval(self.patience);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = Quiet::No;
        loop {
            let until = self.pipeline.until_due();
            let wake = match self.config.device.wake {
                // A queue that stands still completes no interval: what
                // there is, an event perhaps, is taken as it is.
                _ if quiet == Quiet::Long => 1,
                Wake::Early if until > 1 => until - 1,
                _ => until,
            };
            let wake = wake.min(MAX_WAKE);
            if wake_now != Some(wake) {
                device
                    .interval(Interval {
                        records: wake,
                        max_wait_ns: 0,
                    })
                    .await?;
                wake_now = Some(wake);
            }
            // No more than until the decision: reading on would delay it.
            let most = until.min(MAX_READ) as usize * MESSAGE_SIZE;
            tokio::select! {
                biased;
                command = control.next() => match command {
                    Command::Stop(signal) => {
                        log_counters(device).await;
                        return Ok(End::Stop(signal));
                    }
                    Command::Reload => self.reload(Some(device)).await,
                    Command::Tell(question) => self.answer(question),
                },
                read = device.read(&mut buffer, most) => {
                    read?;
                    quiet = Quiet::No;
                    self.take(device, &buffer).await?;
                }
                _ = look.tick() => {
                    if quiet == Quiet::No {
                        quiet = Quiet::Since;
                    } else {
                        quiet = Quiet::Long;
                        self.heed_advice(device, Asked::Looking).await?;
                    }
                }
            }
        }
    }

    /// Takes the bytes of one read.
    async fn take(&mut self, device: &mut Device, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() || bytes.len() % MESSAGE_SIZE != 0 {
            return self.torn(bytes.len(), "not a multiple of the message size");
        }
        let mut left = bytes.len();
        for message in messages(bytes) {
            match message {
                Ok(message) => {
                    left -= MESSAGE_SIZE;
                    self.log_message(&message);
                    let before = now_ns();
                    if let Some(order) = self.pipeline.push(&message, before) {
                        self.decision_ns
                            .saturating_record(now_ns().saturating_sub(before));
                        self.send(device, &order).await?;
                    }
                    // The module's way to say that its sysctls changed.
                    if matches!(message, Message::Event(e) if e.code == EventCode::Params) {
                        self.heed_advice(device, Asked::Told).await?;
                    }
                }
                Err(error) => return self.torn(left, &error.to_string()),
            }
        }
        self.torn_in_a_row = 0;
        Ok(())
    }

    async fn send(&mut self, device: &mut Device, order: &Override) -> Result<(), Error> {
        let (outcome, failure) = match device.send(order).await {
            Ok(()) => (Outcome::Accepted, None),
            Err(DeviceError::Refused { refusal, .. }) => (Outcome::Refused(refusal), None),
            Err(error) => (Outcome::Failed, Some(error)),
        };
        self.pipeline.outcome(order, outcome, now_ns());
        if let Outcome::Refused(refusal) = outcome {
            let told = &mut self.refusals_told[refusal.code() as usize - 1];
            if *told {
                debug!(id = order.id, %refusal, "override refused");
            } else {
                warn!(id = order.id, mode = ?order.mode, %refusal,
                    "override refused; further ones for this reason are counted and logged at level debug");
                *told = true;
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// A read that is not whole, valid messages: dropped.
    fn torn(&mut self, bytes: usize, reason: &str) -> Result<(), Error> {
        self.pipeline.torn(bytes);
        self.torn_in_a_row += 1;
        error!(
            bytes,
            reason,
            in_a_row = self.torn_in_a_row,
            "torn read, dropped; windows start anew"
        );
        if self.torn_in_a_row < self.config.device.max_torn_reads {
            return Ok(());
        }
        Err(Error::Torn {
            path: self.config.device.path.clone(),
            reads: self.torn_in_a_row,
        })
    }

    fn log_message(&mut self, message: &Message) {
        match message {
            Message::Decision(_) => {}
            Message::Loss { seq, lost, time_ns } => {
                if self.loss_log.allow(*time_ns) {
                    let before = self.pipeline.metrics().lost;
                    warn!(
                        lost,
                        seq,
                        lost_before = before,
                        "records lost: this daemon is too slow for the interval; windows start anew"
                    );
                }
            }
            Message::Event(event) => match event.code {
                EventCode::Watchdog => {
                    warn!(
                        sched = event.sched,
                        misses = event.value,
                        "the device's watchdog: no override in time, plain DualPI2 decides"
                    );
                }
                code => info!(
                    ?code,
                    sched = event.sched,
                    instance = event.instance,
                    "device event"
                ),
            },
        }
    }
}

/// What the device says of the same time, beside this program's summary.
async fn log_counters(device: &mut Device) {
    match device.stats().await {
        Ok(s) => {
            info!(
                packets_in = s.packets_in,
                forwarded = s.forwarded,
                dropped = s.dropped,
                overrides_received = s.overrides_received,
                overrides_applied = s.overrides_applied,
                overrides_expired = s.overrides_expired,
                overrides_refused = s.overrides_refused,
                overrides_replaced = s.overrides_replaced,
                "device counters, all schedulers"
            );
            if let Some((what, left, right)) = s.imbalance() {
                error!(what, left, right, "the device's counters do not add up");
            }
        }
        Err(error) => warn!(%error, "no device counters"),
    }
}

/// Lets one in a second through.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    next_ns: u64,
}

impl Throttle {
    fn allow(&mut self, now_ns: u64) -> bool {
        let allowed = now_ns >= self.next_ns;
        if allowed {
            self.next_ns = now_ns.saturating_add(1_000_000_000);
        }
        allowed
    }
}
