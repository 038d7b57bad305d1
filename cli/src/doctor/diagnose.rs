//! Derives findings from facts.

use l4sllm_abi::{Cause, Reason, Stats};
use l4sllmd::status::{EngineStatus, State, Status};
use serde::Serialize;

use super::facts::{Device, Facts, Offload, System};

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Works as expected.
    Ok,
    /// Worth knowing, but the queue works.
    Note,
    /// Prevents the queue or the daemon from working.
    Problem,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// module, instance, traffic, queue, ecn, offload, daemon or overrides.
    pub about: &'static str,
    pub text: String,
    /// The command that fixes the problem, or shows more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// All findings, in the order of a packet's path.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    module(facts, &mut found);
    if let Device::Counts {
        before,
        after,
        watched_ms,
        ..
    } = &facts.device
    {
        let system = facts.system.as_ref();
        if traffic(system, before, after, *watched_ms, &mut found) {
            queue(before, after, &mut found);
            ecn(system, after, &mut found);
        }
    }
    for offload in facts.system.iter().flat_map(|s| &s.offloads) {
        let options = offload.options.join(" and ");
        let off: String = offload.options.iter().map(|o| format!(" -{o}")).collect();
        found.problem(
            "offload",
            format!(
                "{} has {options} on: packets of up to 64 kB are too large to mark in time",
                offload.interface
            ),
            format!("ifconfig {}{off}", offload.interface),
        );
    }
    if let Some(system) = &facts.system {
        byte_limit(system, &mut found);
        flow_weights(system, &mut found);
    }
    daemon(facts, &mut found);
    if let Device::Counts { before, after, .. } = &facts.device {
        overrides(facts.daemon.as_ref().ok(), before, after, &mut found);
    }
    found.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &'static str, text: String) {
        self.push(Level::Ok, about, text, None);
    }

    fn note(&mut self, about: &'static str, text: String, command: impl Into<String>) {
        self.push(Level::Note, about, text, Some(command.into()));
    }

    fn problem(&mut self, about: &'static str, text: String, command: impl Into<String>) {
        self.push(Level::Problem, about, text, Some(command.into()));
    }

    fn push(&mut self, level: Level, about: &'static str, text: String, command: Option<String>) {
        self.0.push(Finding {
            level,
            about,
            text,
            command,
        });
    }
}

fn module(facts: &Facts, found: &mut Findings) {
    let loaded = facts.system.as_ref().is_some_and(|s| s.loaded);
    match &facts.device {
        Device::NoModuleHere => found.problem(
            "module",
            "the module requires FreeBSD; an emulated device can be examined".into(),
            "l4sllm doctor --device SOCKET",
        ),
        Device::Missing { path } if facts.system.is_none() => found.problem(
            "module",
            format!("no emulated device listens on {}", path.display()),
            format!("l4sllm device serve {}", path.display()),
        ),
        Device::Missing { path } if loaded => found.problem(
            "module",
            format!(
                "loaded, but {} does not exist: this jail's devfs hides it",
                path.display()
            ),
            "devfs -m /JAIL/dev rule apply path l4sllm unhide",
        ),
        Device::Missing { .. } => found.problem(
            "module",
            "not loaded".into(),
            "kldload dualpi2_llm && sysrc kld_list+=dualpi2_llm",
        ),
        Device::Silent { path, reason } => found.problem(
            "module",
            reason.clone(),
            format!(
                "ls -l {}; id # root and the group may open it",
                path.display()
            ),
        ),
        Device::Version { reason } => found.problem(
            "module",
            reason.clone(),
            "pkg upgrade dualpi2_llm-kmod l4sllmd && service l4sllmd restart",
        ),
        Device::Counts { module, .. } => found.ok("module", format!("release {module} answers")),
    }
}

/// Whether any packets have arrived.
fn traffic(
    system: Option<&System>,
    before: &Stats,
    after: &Stats,
    watched_ms: u64,
    found: &mut Findings,
) -> bool {
    if system.is_some_and(|s| s.state.as_deref() == Some("idle")) {
        found.problem(
            "instance",
            "no scheduler of type dualpi2 has an instance".into(),
            "ipfw sched 1 config pipe 1 type dualpi2 && ipfw queue 1 config sched 1",
        );
        return false;
    }
    if after.packets_in == 0 {
        found.problem(
            "traffic",
            "no packet has arrived at the queue".into(),
            "ipfw add queue 1 ip from any to any out xmit IF",
        );
        return false;
    }
    let packets = after.packets_in.wrapping_sub(before.packets_in);
    if packets == 0 {
        found.note(
            "traffic",
            format!(
                "{} packets so far, none within {watched_ms} ms",
                after.packets_in
            ),
            "ipfw show",
        );
    } else {
        found.ok("traffic", format!("{packets} packets in {watched_ms} ms"));
    }
    true
}

/// Whether the queue ever becomes long enough to act on.
fn queue(before: &Stats, after: &Stats, found: &mut Findings) {
    let acted = |s: &Stats| marks(s) + s.drops_base + s.drops_tail;
    if acted(after) > acted(before) || after.queued > 0 {
        found.ok(
            "queue",
            format!("builds here: {} packets are queued now", after.queued),
        );
    } else if acted(after) > 0 {
        found.ok("queue", "was long earlier, but not now".into());
    } else {
        found.problem(
            "queue",
            "has never been long enough to mark or drop: the bottleneck is elsewhere, or the \
             pipe is faster than it"
                .into(),
            "ipfw pipe 1 config bw RATE # a little less than the slowest link",
        );
    }
}

fn marks(s: &Stats) -> u64 {
    Cause::MARKS.iter().map(|cause| (cause.of)(s)).sum()
}

/// Whether congestion is signalled by marks.
fn ecn(system: Option<&System>, after: &Stats, found: &mut Findings) {
    if marks(after) > 0 {
        found.ok(
            "ecn",
            format!(
                "{} packets left with a mark, {} were dropped",
                marks(after),
                after.dropped
            ),
        );
    } else if system.is_some_and(|s| s.ecn == Some(false)) {
        found.problem(
            "ecn",
            "marking is off: ECN-capable packets are dropped instead".into(),
            "sysctl net.inet.ip.dummynet.dualpi2.ecn=1",
        );
    } else if after.drops_base > 0 {
        found.problem(
            "ecn",
            format!(
                "{} packets were dropped and none marked: senders do not use ECN, or a device \
                 on the path clears it",
                after.drops_base
            ),
            "tcpdump -ni IF 'ip[1] & 3 != 0 or ip6[1] & 0x30 != 0' # arriving with ECN",
        );
    }
}

/// Maximum size of a TSO packet, rounded up: 65535 bytes and a link header.
const SUPERPACKET: u64 = 66_000;

/// Whether the queue can hold a packet that an interface will split.
fn byte_limit(system: &System, found: &mut Findings) {
    let tso = |offload: &&Offload| offload.options.contains(&"tso");
    let (Some(limit @ 1..SUPERPACKET), Some(offload)) =
        (system.limit_bytes, system.offloads.iter().find(tso))
    else {
        return;
    };
    found.problem(
        "queue",
        format!(
            "limit_bytes is {limit}: packets of up to 64 kB, as made by TSO on {}, are dropped \
             if they do not fit, even by an empty queue",
            offload.interface
        ),
        "sysctl net.inet.ip.dummynet.dualpi2.limit_bytes=0",
    );
}

/// Notes flow weights, because they are a policy decision.
fn flow_weights(system: &System, found: &mut Findings) {
    if system.flow_weights == Some(true) {
        found.note(
            "queue",
            "flow_weights is on: faster flows get more signals, unresponsive flows lose more, \
             and a tunnel is treated as one flow"
                .into(),
            "sysctl net.inet.ip.dummynet.dualpi2.flow_weights=0 # or keep it: see dualpi2_llm(4)",
        );
    }
}

fn daemon(facts: &Facts, found: &mut Findings) {
    let service =
        |rc: &str, other: &str| if facts.system.is_some() { rc } else { other }.to_owned();
    let status = match &facts.daemon {
        Ok(status) => status,
        Err(reason) => {
            let start = service(
                "sysrc l4sllmd_enable=YES && service l4sllmd start",
                "l4sllmd -c FILE",
            );
            return found.problem("daemon", reason.clone(), start);
        }
    };
    if status.state == State::Waiting {
        let path = status.device.path.display();
        return found.problem(
            "daemon",
            format!("runs, and waits for {path}"),
            service("kldload dualpi2_llm", "l4sllmd --check -c FILE"),
        );
    }
    found.ok(
        "daemon",
        format!("pid {}, {}, {}", status.pid, status.engine, status.pace()),
    );
    let c = &status.counters;
    if c.lost > 0 {
        found.note(
            "daemon",
            format!(
                "was too slow and lost {} of {} messages",
                c.lost,
                c.lost + c.records + c.summaries
            ),
            slower(status),
        );
    }
    behind(status, found);
    server(status, found);
    short_lives(status, found);
    if c.unrouted > 0 {
        found.note(
            "daemon",
            format!(
                "{} records belong to instances beyond the maximum of {}: plain DualPI2 decides \
                 for these",
                c.unrouted, c.instances
            ),
            "raise max_instances in [pipeline] of l4sllmd.toml",
        );
    }
    if c.due > 0 && c.decisions == 0 && c.skipped_behind < c.due && !decides_nothing(&status.engine)
    {
        found.problem(
            "daemon",
            format!("{} decisions were due, but none was made", c.due),
            service("service l4sllmd configtest", "l4sllmd --check -c FILE"),
        );
    }
    if let Some(error) = &status.reloads.last_error {
        found.note(
            "daemon",
            format!("the last reload that failed: {error}"),
            service("service l4sllmd configtest", "l4sllmd --check -c FILE"),
        );
    }
}

/// Whether the engine may make no decision although some are due.
fn decides_nothing(engine: &EngineStatus) -> bool {
    match engine {
        EngineStatus::Script { .. } => true,
        EngineStatus::Fixed { profile } => profile == "plain",
        EngineStatus::Adaptive { .. }
        | EngineStatus::Policy { .. }
        | EngineStatus::Remote { .. } => false,
    }
}

/// Whether decisions keep up with the records.
fn behind(status: &Status, found: &mut Findings) {
    let c = &status.counters;
    if status.deciding_s > 1.0 {
        found.problem(
            "daemon",
            format!(
                "has been computing one decision for {:.0} s",
                status.deciding_s
            ),
            "l4sllm status # a smaller policy, or restart the service",
        );
    }
    if c.skipped_behind == 0 {
        return;
    }
    let text = format!(
        "falls behind: skipped {} of {} intervals in favour of newer ones; a decision takes \
         {:.1} ms",
        c.skipped_behind,
        c.due,
        status.decision_us.p50 / 1e3
    );
    let remedy = slower(status);
    // Occasional pauses skip a few intervals; if most are skipped, the policy
    // is too slow.
    if c.skipped_behind > c.due / 2 {
        found.problem("daemon", text, remedy);
    } else {
        found.note("daemon", text, remedy);
    }
}

/// Whether the server of the engine `remote` answers in time.
fn server(status: &Status, found: &mut Findings) {
    let Some(remote) = &status.remote else {
        return;
    };
    if !remote.connected {
        found.problem(
            "server",
            format!("not connected, after {} failed attempts", remote.refused),
            "l4sllm serve POLICY # the daemon's log has the reason",
        );
    } else if remote.missed > remote.requests / 2 {
        found.problem(
            "server",
            format!(
                "too slow: {} of {} requests missed their deadlines",
                remote.missed, remote.requests
            ),
            "deadline_ms in [engine.remote] of l4sllmd.toml, or a faster server",
        );
    }
}

/// Whether overrides last long enough for a late or missing decision.
fn short_lives(status: &Status, found: &mut Findings) {
    let (ttl, period) = (status.ttl_ms, status.period_ms);
    if ttl != 0 && period != 0 && ttl < 2 * period {
        found.note(
            "daemon",
            format!(
                "an override lasts {ttl} ms, and the next decision follows after {period} ms or \
                 more: \
                 plain DualPI2 decides when one is late"
            ),
            format!(
                "ttl_ms = {} in [pipeline] of l4sllmd.toml, or a shorter period",
                10 * period
            ),
        );
    }
}

/// The remedy that halves the number of decisions.
fn slower(status: &Status) -> String {
    match status.engine {
        EngineStatus::Adaptive { .. } => {
            let more = status.period_ms.saturating_mul(2).min(60_000);
            format!("sysctl net.inet.l4sllm.period={more}")
        }
        EngineStatus::Policy {
            period_ms: Some(_), ..
        } => "a policy with longer periods, or engine = \"adaptive\"".to_owned(),
        _ => {
            let more = status.interval.saturating_mul(2).min(65_536);
            format!("sysctl net.inet.l4sllm.interval={more}")
        }
    }
}

/// The outcome of overrides, at the device and in the queue.
fn overrides(daemon: Option<&Status>, before: &Stats, after: &Stats, found: &mut Findings) {
    if after.watchdog_active != 0 {
        found.problem(
            "overrides",
            format!(
                "the controller missed its deadline ({} times): plain DualPI2 decides",
                after.watchdog_misses
            ),
            "sysctl net.inet.l4sllm.limits.watchdog # us; or a shorter interval",
        );
    }
    if let Some(c) = daemon.map(|status| &status.counters) {
        for (count, why, command) in [
            (
                c.refused_beyond_limits,
                "beyond the device's limits",
                "sysctl net.inet.l4sllm.limits",
            ),
            (
                c.refused_permission,
                "not from the controller",
                "service l4sllmd restart",
            ),
            (
                c.refused_not_found,
                "for a deleted instance",
                "ipfw sched show",
            ),
            (
                c.refused
                    - c.refused
                        .min(c.refused_beyond_limits + c.refused_permission + c.refused_not_found),
                "as invalid",
                "l4sllm version",
            ),
            (
                c.stale,
                "by the daemon, because they had expired before they were ready",
                "l4sllm status # latency, against ttl_ms of [pipeline]",
            ),
        ] {
            if count > 0 {
                found.note(
                    "overrides",
                    format!("{count} of {} refused {why}", c.overrides + c.stale),
                    command,
                );
            }
        }
    }
    for (reason, why, command) in [
        (
            Reason::NotEct,
            "the packet is not ECN-capable",
            "l4sllm policy info # it should not mark these",
        ),
        (
            Reason::DropShare,
            "the share of drops was used up",
            "sysctl net.inet.l4sllm.limits.drop_share",
        ),
        (
            Reason::MarkShare,
            "the share of marks beyond DualPI2's was used up",
            "sysctl net.inet.l4sllm.limits.mark_share",
        ),
        (
            Reason::Ceiling,
            "the queue delay was above the ceiling",
            "sysctl net.inet.l4sllm.limits.ceiling",
        ),
        (
            Reason::Overload,
            "DualPI2 was in overload and decides alone",
            "sysctl net.inet.l4sllm.stats",
        ),
        (
            Reason::LastPacket,
            "the last queued packet is never dropped",
            "sysctl net.inet.l4sllm.stats",
        ),
    ] {
        let count = after.refused[reason as usize];
        if count > 0 {
            found.note(
                "overrides",
                format!("had no effect on {count} packets: {why}"),
                command,
            );
        }
    }
    let (received, applied) = (after.overrides_received, after.overrides_applied);
    let text = format!(
        "{applied} of {received} applied, {} expired, {} refused, {} replaced",
        after.overrides_expired, after.overrides_refused, after.overrides_replaced
    );
    if received > 0 && applied == 0 && after.overrides_waiting < received {
        found.problem("overrides", text, "l4sllm status # latency, against ttl_ms");
    } else if received > 0 {
        found.ok("overrides", text);
    } else if daemon.is_some_and(|s| s.counters.due > 0) && after.packets_in > before.packets_in {
        found.note(
            "overrides",
            "none has arrived at the device".into(),
            "l4sllm status",
        );
    }
}

#[cfg(test)]
mod tests;
