//! Statistics of the device's queues, read directly from the device.

use std::fmt::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::Context;
use l4sllm_abi::{Params, Queue, Queues, raw};
use l4sllmd::config::{DeviceConfig, DeviceKind};
use l4sllmd::files::Files;
use l4sllmd::metrics::openmetrics::DeviceSnapshot;
use serde::Serialize;

/// Reads the device as an observer; the daemon keeps control.
///
/// # Errors
/// The device does not exist, cannot be opened, or has another interface
/// version.
pub fn look(path: &Path) -> anyhow::Result<DeviceSnapshot> {
    let socket = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let kind = match socket {
        true => DeviceKind::Socket,
        false => DeviceKind::Character,
    };
    let config = DeviceConfig::observer(kind, path.to_owned());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(async { Ok(DeviceSnapshot::read(&Files::by_path(), &config).await?) })
}

/// Both queues over all instances, and a parameter. Names and units are those of
/// `l4s_queues`, `l4s_params` and `net.inet.l4sllm.stats`, except for
/// probabilities, which are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueuesStatus {
    /// Whether flows are weighted by their rates: the active parameter.
    pub flow_weights: bool,
    /// p' of RFC 9332.
    pub base_probability: f64,
    /// p_C, the probability of the classic queue.
    pub classic_probability: f64,
    /// p_CL, the coupled probability of the L4S queue.
    pub coupled_probability: f64,
    /// Instances in overload now.
    pub overload: u32,
    /// Number of times that overload began.
    pub overloads: u64,
    /// Time spent in it, ns.
    pub overload_ns: u64,
    /// Scheduler credit, bytes times per cent; above 0, the classic queue is
    /// served next.
    pub credit: i64,
    /// The classic queue.
    pub classic: QueueStatus,
    /// The L4S queue.
    pub l4s: QueueStatus,
}

macro_rules! queue_status {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// One queue.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct QueueStatus {
            $($(#[$doc])* pub $field: u64,)+
            /// Mean delay of departed packets, ns.
            pub delay_mean_ns: f64,
            /// 99th percentile, ns, from a histogram with two bins per
            /// doubling.
            pub delay_p99_ns: f64,
        }

        impl QueueStatus {
            fn new(queues: &Queues, queue: Queue) -> QueueStatus {
                let stats = queues.queue(queue);
                QueueStatus {
                    $($field: stats.$field,)+
                    delay_mean_ns: stats.mean_delay_ns().unwrap_or(0.0),
                    delay_p99_ns: stats.delay_quantile_ns(0.99).unwrap_or(0.0),
                }
            }
        }
    };
}

queue_status! {
    /// Packets that arrived.
    packets_in,
    /// Bytes that arrived.
    bytes_in,
    /// Packets that left.
    forwarded,
    /// Bytes that left.
    forwarded_bytes,
    /// Packets dropped, for any reason.
    dropped,
    /// Bytes dropped.
    dropped_bytes,
    /// Packets marked and forwarded.
    marked,
    /// Bytes marked and forwarded.
    marked_bytes,
    /// Packets waiting now.
    queued,
    /// Bytes waiting now.
    queued_bytes,
    /// Dropped on arrival by a queue limit.
    drops_tail,
    /// ECN-capable packets dropped by DualPI2 or an override.
    drops_ecn,
    /// Other packets dropped by DualPI2 or an override.
    drops_not_ect,
    /// Dropped with a deleted instance.
    drops_flush,
    /// Maximum number of queued packets.
    queued_max,
    /// Maximum number of queued bytes.
    queued_bytes_max,
    /// Waiting time of the packet at the head, ns.
    delay_ns,
    /// Maximum delay of departed packets, ns.
    delay_max_ns,
}

impl QueuesStatus {
    /// The numbers of a device.
    pub fn new(queues: &Queues, params: &Params) -> QueuesStatus {
        let share = |p: u32| f64::from(p) / f64::from(raw::L4S_PROB_ONE);
        QueuesStatus {
            flow_weights: params.flow_weights,
            base_probability: share(queues.base_probability),
            classic_probability: share(queues.classic_probability),
            coupled_probability: share(queues.coupled_probability),
            overload: queues.overload,
            overloads: queues.overloads,
            overload_ns: queues.overload_ns,
            credit: queues.credit,
            classic: QueueStatus::new(queues, Queue::Classic),
            l4s: QueueStatus::new(queues, Queue::L4s),
        }
    }

    /// Appends the text output.
    pub fn describe(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "queues     p' {:.4}, p_C {:.4}, p_CL {:.4}, credit {}; overload {} times, {:.1} s{}; \
             flow weights {}",
            self.base_probability,
            self.classic_probability,
            self.coupled_probability,
            self.credit,
            self.overloads,
            self.overload_ns as f64 / 1e9,
            if self.overload > 0 { ", now" } else { "" },
            if self.flow_weights { "on" } else { "off" },
        );
        self.classic.describe("classic", out);
        self.l4s.describe("L4S", out);
    }
}

impl QueueStatus {
    fn describe(&self, name: &str, out: &mut String) {
        let ms = |ns: f64| ns / 1e6;
        let _ = writeln!(
            out,
            "{name:<9}  {} packets in: {} forwarded, {} marked, {} dropped ({} tail, {} ECN, \
             {} not ECN, {} flushed), {} waiting",
            self.packets_in,
            self.forwarded,
            self.marked,
            self.dropped,
            self.drops_tail,
            self.drops_ecn,
            self.drops_not_ect,
            self.drops_flush,
            self.queued
        );
        let _ = writeln!(
            out,
            "{:<9}  delay {:.2} ms now, mean {:.2} ms, p99 {:.2} ms, most {:.2} ms; \
             at most {} packets, {} bytes",
            "",
            ms(self.delay_ns as f64),
            ms(self.delay_mean_ns),
            ms(self.delay_p99_ns),
            ms(self.delay_max_ns as f64),
            self.queued_max,
            self.queued_bytes_max
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in the struct, the manual, the sysctls and the C header agree.
    #[test]
    fn names_match_the_module() {
        let queues = Queues::try_from(Queues::question(0, 0)).expect("its own question");
        let value = serde_json::to_value(QueuesStatus::new(&queues, &Params::default()))
            .expect("plain numbers");
        let header = include_str!("../../../shared-abi/include/l4sllm_abi.h");
        let sysctls = include_str!("../../../kmod/freebsd/sysctl_stats.c");
        let made = ["delay_mean_ns", "delay_p99_ns"];
        let names = |object: &serde_json::Value| -> Vec<String> {
            let object = object.as_object().expect("an object");
            object.keys().cloned().collect()
        };
        for name in names(&value)
            .iter()
            .filter(|n| *n != "classic" && *n != "l4s")
        {
            assert!(header.contains(&format!("\t{name};")), "{name}");
            let is_sysctl = sysctls.contains(&format!("({name}, "));
            assert!(is_sysctl || name == "flow_weights", "{name}");
        }
        for name in names(&value["l4s"]) {
            if !made.contains(&name.as_str()) {
                assert!(header.contains(&format!("\t{name};")), "{name}");
                assert!(sysctls.contains(&format!("QUEUE_STAT({name}, ")), "{name}");
            }
        }
    }
}
