//! The flows of a repetition as programs: who sends what, from when to when.

use l4sllm_abi::Ecn;
use l4sllm_router::Delay;
use l4sllm_testbed::scenario::{FlowPlan, Identity, Plan, Scenario};
use l4sllm_testbed::transport::{Cc, DATAGRAM_HEADER_BYTES};

use crate::host::Os;
use crate::{Host, LabError};

/// Port of the first server; each flow has its own.
const FIRST_PORT: u16 = 5201;
/// Most flows: each has two programs.
const MAX_FLOWS: usize = 200;

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Index into the reported flows of the repetition.
    pub reported: u32,
    /// Its name there.
    pub name: String,
    /// The sender.
    pub kind: Kind,
    /// Whether its packets are ECN-capable.
    pub ecn: bool,
    /// Port of its server.
    pub port: u16,
    /// Start, ns after the start of the repetition.
    pub start_ns: u64,
    /// When it stops sending, ns; `None`: at the end.
    pub stop_ns: Option<u64>,
    /// Delays of its packets and of those of its receiver.
    pub delay: Delay,
}

impl Sender {
    /// The program that sends and receives it.
    pub(crate) fn tool(&self) -> &'static str {
        match &self.kind {
            Kind::Tcp(_) | Kind::Udp { .. } => "iperf3",
            Kind::Prague { .. } => "prague",
        }
    }

    /// Bytes of the smallest packet that is surely data, not part of the control
    /// connection of iperf3.
    pub(crate) fn data_bytes(&self) -> u32 {
        match &self.kind {
            Kind::Tcp(_) => 1000,
            Kind::Udp { payload, .. } => payload + DATAGRAM_HEADER_BYTES,
            // It has no control connection.
            Kind::Prague { .. } => 0,
        }
    }
}

/// The sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A TCP connection with this congestion control of the kernel.
    Tcp(String),
    /// Datagrams at a constant rate.
    Udp {
        /// Payload of each, bytes.
        payload: u32,
        /// Payload bits per second.
        bits_per_s: u64,
        /// ECN codepoint.
        codepoint: u8,
    },
    /// UDP Prague ([`crate::prague`]).
    Prague {
        /// Most bits per second on the wire.
        max_bps: Option<u64>,
        /// Largest packet on the wire, bytes.
        packet_bytes: u32,
    },
}

/// The senders of a repetition.
///
/// # Errors
/// The first flow that real hosts cannot send here, with the reason.
pub fn senders(scenario: &Scenario, plan: &Plan, host: &Host) -> Result<Vec<Sender>, LabError> {
    let list: Result<Vec<Sender>, LabError> = plan
        .flows
        .iter()
        .enumerate()
        .map(|(at, flow)| {
            let name = &plan.reported[flow.reported as usize].name;
            let refused = |reason: String| LabError::Traffic {
                flow: name.clone(),
                reason,
            };
            let port = match at < MAX_FLOWS {
                true => FIRST_PORT + at as u16,
                false => return Err(refused(format!("more than {MAX_FLOWS} flows"))),
            };
            let client = &scenario.clients[flow.client];
            let most_bps = scenario.bottleneck.max();
            if client.rate_bps != 0 && client.rate_bps < most_bps {
                return Err(refused(format!(
                    "its client {} is slower than the bottleneck, which the lab cannot emulate",
                    client.name
                )));
            }
            Ok(Sender {
                reported: flow.reported,
                kind: kind(flow, host).map_err(refused)?,
                name: name.clone(),
                ecn: flow.config.ecn,
                port,
                start_ns: flow.start_ns,
                stop_ns: flow.stop_ns,
                delay: Delay {
                    forward_ns: flow.forward_ns,
                    // The round trip is what counts: that of the access link is
                    // part of it.
                    back_ns: flow.return_ns + client.delay_ns,
                },
            })
        })
        .collect();
    list
}

fn kind(flow: &FlowPlan, host: &Host) -> Result<Kind, String> {
    let config = &flow.config;
    let unsupported = [
        (!flow.lasting, "short flows with random arrivals"),
        (config.bytes.is_some(), "`bytes`"),
        (config.chunks.is_some(), "`chunks`"),
        (flow.identity != Identity::Own, "`tunnel` and `port_hop`"),
    ];
    if let Some((_, what)) = unsupported.into_iter().find(|(is_used, _)| *is_used) {
        return Err(format!("the lab does not support {what}; remove the flow"));
    }
    match config.cc {
        Cc::Udp => {
            let payload = config.packet_bytes - DATAGRAM_HEADER_BYTES;
            let rate = u128::from(config.rate_bps.unwrap_or(0));
            let bits = rate * u128::from(payload) / u128::from(config.packet_bytes);
            Ok(Kind::Udp {
                payload,
                bits_per_s: u64::try_from(bits).unwrap_or(u64::MAX),
                codepoint: config.ecn_codepoint().code(),
            })
        }
        Cc::UdpPrague if host.os == Os::FreeBsd => {
            Err("FreeBSD's machines have no UDP Prague; remove the flow".to_owned())
        }
        Cc::UdpPrague if config.ecn_codepoint() == Ecn::Ect1 => Ok(Kind::Prague {
            max_bps: config.rate_bps,
            packet_bytes: config.packet_bytes,
        }),
        Cc::UdpPrague => Err("the lab's udp-prague sends ECT(1) only".to_owned()),
        cc => tcp(cc, config.ecn_codepoint(), host),
    }
}

/// A TCP sender, if the kernel has its control and sends this codepoint.
fn tcp(cc: Cc, codepoint: Ecn, host: &Host) -> Result<Kind, String> {
    let control = match (cc.name(), host.os) {
        ("newreno", Os::Linux) => "reno",
        (name, _) => name,
    };
    let (system, remedy) = match host.os {
        Os::Linux => ("Linux", "load its module, or "),
        Os::FreeBsd => ("FreeBSD", ""),
    };
    if !host.has_control(control) {
        return Err(format!(
            "{system} has no congestion control `{control}` here (it has {}); {remedy}remove the \
             flow out",
            host.controls.join(", ")
        ));
    }
    // Applications cannot set the codepoint of TCP. Linux's Prague sends ECT(1), and so
    // does FreeBSD's DCTCP on the testbed's machines (net.inet.tcp.cc.dctcp.ect1).
    let own = match (cc, host.os) {
        (Cc::Prague, _) | (Cc::Dctcp, Os::FreeBsd) => Ecn::Ect1,
        _ => Ecn::Ect0,
    };
    match codepoint == own || codepoint == Ecn::NotEct {
        true => Ok(Kind::Tcp(control.to_owned())),
        false => Err(format!(
            "{system} sends {control} with the codepoint {own:?}, not {codepoint:?}; remove the flow"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::scenario::FlowGroup;

    fn host() -> Host {
        Host {
            os: Os::Linux,
            controls: ["reno", "cubic", "dctcp"].map(str::to_owned).to_vec(),
            kernel: String::new(),
            iperf: String::new(),
        }
    }

    fn of(group: FlowGroup) -> Result<Vec<Sender>, String> {
        let mut scenario = Scenario::new("s", 10_000_000, 40_000_000);
        scenario.flows = vec![group];
        let plan = Plan::draw(&scenario, 1);
        senders(&scenario, &plan, &host()).map_err(|error| error.to_string())
    }

    #[test]
    fn flows_become_senders_with_their_own_ports_and_delays() {
        let mut group = FlowGroup::new("c", Cc::NewReno);
        group.count = 3;
        group.rtt_ns = Some(20_000_000);
        let list = of(group).unwrap();
        assert_eq!(list.len(), 3);
        for (at, sender) in list.iter().enumerate() {
            assert_eq!(sender.port, 5201 + at as u16);
            assert_eq!(sender.kind, Kind::Tcp("reno".to_owned()));
            assert!(sender.ecn);
            let delay = sender.delay;
            assert_eq!(delay.forward_ns + delay.back_ns, 20_000_000);
        }
    }

    #[test]
    fn a_rate_on_the_wire_is_one_of_payload() {
        let mut group = FlowGroup::new("u", Cc::Udp);
        group.rate_bps = Some(3_000_000);
        group.packet_bytes = 1500;
        let [sender] = &of(group).unwrap()[..] else {
            panic!("one sender");
        };
        let expected = Kind::Udp {
            payload: 1472,
            bits_per_s: 3_000_000 * 1472 / 1500,
            codepoint: 0,
        };
        assert_eq!(sender.kind, expected);
    }

    #[test]
    fn freebsd_sends_dctcp_with_ect1_but_not_bbr() {
        let freebsd = Host {
            os: Os::FreeBsd,
            controls: ["cubic", "newreno", "dctcp"].map(str::to_owned).to_vec(),
            ..host()
        };
        let of = |cc| {
            let mut scenario = Scenario::new("s", 10_000_000, 40_000_000);
            scenario.flows = vec![FlowGroup::new("f", cc)];
            let list = senders(&scenario, &Plan::draw(&scenario, 1), &freebsd);
            list.map(|list| list[0].kind.clone())
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(Cc::Dctcp), Ok(Kind::Tcp("dctcp".to_owned())));
        assert_eq!(of(Cc::NewReno), Ok(Kind::Tcp("newreno".to_owned())));
        let bbr = of(Cc::Bbr).unwrap_err();
        let expected = "flow f: FreeBSD has no congestion control `bbr` here";
        assert!(bbr.starts_with(expected), "{bbr}");
        let prague = of(Cc::UdpPrague).unwrap_err();
        assert!(prague.contains("no UDP Prague"), "{prague}");
    }

    #[test]
    fn traffic_that_hosts_cannot_send_is_refused_by_name() {
        let refused = |group: FlowGroup, part: &str| {
            let error = of(group).unwrap_err();
            assert!(
                error.starts_with("flow f: ") && error.contains(part),
                "{error}"
            );
        };
        let group = |cc| FlowGroup::new("f", cc);
        refused(
            group(Cc::Prague),
            "Linux has no congestion control `prague`",
        );
        refused(group(Cc::Dctcp), "not Ect1");
        let mut tunnel = group(Cc::Cubic);
        tunnel.identity = Identity::Tunnel;
        refused(tunnel, "`tunnel`");
        let mut short = group(Cc::Cubic);
        short.bytes = Some(1000);
        refused(short, "`bytes`");
    }
}
