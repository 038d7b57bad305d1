//! Congestion controls: window and pacing rate.

mod bbr;
pub(super) mod cubic;
pub(super) mod dctcp;
mod hystart;
pub(super) mod newreno;
pub(super) mod prague;

use std::fmt;
use std::str::FromStr;

use l4sllm_abi::Ecn;
use serde::{Deserialize, Serialize};

use super::FlowConfig;
use super::delivery_rate::RateSample;

/// Initial window, segments (RFC 6928).
pub const INITIAL_WINDOW: f64 = 10.0;
/// Smallest window after a reduction, segments (RFC 5681, section 3.1; RFC 9438, section 4.6).
pub const MIN_WINDOW: f64 = 2.0;

/// A congestion control by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Cc {
    /// `newreno`: RFC 5681, RFC 6582.
    NewReno,
    /// `cubic`: RFC 9438.
    Cubic,
    /// `dctcp`: RFC 8257.
    Dctcp,
    /// `prague`: draft-briscoe-iccrg-prague-congestion-control.
    Prague,
    /// `bbr`: version 1, draft-cardwell-iccrg-bbr-congestion-control-00.
    Bbr,
    /// `udp-prague`: Prague over datagrams, as in udp_prague.
    UdpPrague,
    /// `udp`: an unresponsive constant rate.
    Udp,
}

/// Unknown congestion control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown congestion control \"{0}\": expected newreno, cubic, dctcp, prague, bbr, udp-prague \
     or udp"
)]
pub struct UnknownCc(pub String);

impl Cc {
    /// Every control.
    pub const ALL: [Cc; 7] = [
        Cc::NewReno,
        Cc::Cubic,
        Cc::Dctcp,
        Cc::Prague,
        Cc::Bbr,
        Cc::UdpPrague,
        Cc::Udp,
    ];

    /// Name in scenarios and results.
    pub fn name(self) -> &'static str {
        match self {
            Cc::NewReno => "newreno",
            Cc::Cubic => "cubic",
            Cc::Dctcp => "dctcp",
            Cc::Prague => "prague",
            Cc::Bbr => "bbr",
            Cc::UdpPrague => "udp-prague",
            Cc::Udp => "udp",
        }
    }

    /// Codepoint of its ECN-capable packets: ECT(1) for the scalable controls (RFC 9331;
    /// DCTCP too, as in the published testbed), otherwise ECT(0).
    pub fn codepoint(self) -> Ecn {
        if self.is_scalable() {
            Ecn::Ect1
        } else {
            Ecn::Ect0
        }
    }

    /// Whether its window is proportional to 1/p instead of a root of it (RFC 9331,
    /// section 4.3).
    pub fn is_scalable(self) -> bool {
        matches!(self, Cc::Dctcp | Cc::Prague | Cc::UdpPrague)
    }
}

impl fmt::Display for Cc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Cc {
    type Err = UnknownCc;
    fn from_str(name: &str) -> Result<Cc, UnknownCc> {
        Cc::ALL
            .into_iter()
            .find(|cc| cc.name() == name)
            .ok_or_else(|| UnknownCc(name.to_owned()))
    }
}

impl TryFrom<String> for Cc {
    type Error = UnknownCc;
    fn try_from(name: String) -> Result<Cc, UnknownCc> {
        name.parse()
    }
}

impl From<Cc> for String {
    fn from(cc: Cc) -> String {
        cc.name().to_owned()
    }
}

/// The report of one acknowledgement.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ack {
    pub now_ns: u64,
    /// Segments newly known to have arrived.
    pub acked: u32,
    /// Packets newly known to have arrived, and of these with CE.
    pub packets: u64,
    pub ce_packets: u64,
    /// This acknowledgement's sample and the smoothed round-trip time, ns.
    pub rtt_ns: u64,
    pub srtt_ns: u64,
    /// First byte not acknowledged, first byte not sent.
    pub una: u64,
    pub nxt: u64,
    /// Repairing losses: the window does not grow.
    pub recovering: bool,
    /// The window did not limit the sender: it does not grow (similar to RFC 7661).
    pub app_limited: bool,
    /// Delivery rate, for controls that sample it, if a segment arrived.
    pub sample: Option<RateSample>,
    /// Segments in flight before and after this acknowledgement, and segments newly
    /// known to be lost.
    pub prior_in_flight: u32,
    pub in_flight: u32,
    pub lost: u32,
    pub repair: Repair,
}

/// Losses under repair, until everything sent before is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Repair {
    #[default]
    None,
    /// Losses found by later deliveries.
    Losses,
    /// Packets in flight at a timeout.
    Timeout,
}

/// A congestion control of a stream. Windows are in segments.
pub(super) trait CongestionControl: fmt::Debug + Send {
    /// Counts an acknowledgement. Scalable controls react to its marks here.
    fn on_ack(&mut self, ack: &Ack);

    /// A loss was found by later deliveries, the first of this window.
    fn on_loss(&mut self, now_ns: u64);

    /// ECE in an acknowledgement, the first of this window (RFC 3168, section
    /// 6.1.2). Only classic controls are notified.
    fn on_ecn_echo(&mut self, now_ns: u64);

    /// The retransmission timer ran out. `first` if this is not a repetition for
    /// the same segment (RFC 5681, section 3.1, equation 4).
    fn on_timeout(&mut self, now_ns: u64, first: bool);

    /// New data after more than a retransmission timeout without any: at most
    /// the initial window (RFC 5681, section 4.1).
    fn after_idle(&mut self);

    /// Whether [`CongestionControl::on_ecn_echo`] reduces the window.
    fn responds_to_ecn(&self) -> bool {
        true
    }

    /// Data is sent while no segment is in flight; `app_limited` if the application
    /// was the reason.
    fn on_transmit_start(&mut self, _now_ns: u64, _app_limited: bool) {}

    /// Congestion window.
    fn window(&self) -> f64;

    /// Slow start ends at this window.
    fn ssthresh(&self) -> f64;

    /// Segments that may be in flight.
    fn allowance(&self) -> u32 {
        self.window().max(1.0) as u32
    }

    /// Bytes/s on the wire, if it paces.
    fn pacing_rate(&self, _now_ns: u64) -> Option<f64> {
        None
    }

    /// Segments that leave together when pacing.
    fn burst(&self) -> u32 {
        1
    }

    /// Whether it uses [`Ack::sample`].
    fn samples_rate(&self) -> bool {
        false
    }

    /// Whether its window is intentionally too small for the path, as if the
    /// application had no more data.
    fn is_below_capacity(&self) -> bool {
        false
    }

    /// Moving average of the marked share.
    fn alpha(&self) -> f64 {
        0.0
    }

    /// Reductions for ECN so far, of those controls that react in `on_ack`.
    fn ecn_events(&self) -> u64 {
        0
    }
}

/// The stream control that `config` names; `srtt_ns` is 0 if not known yet.
pub(super) fn control(config: &FlowConfig, srtt_ns: u64) -> Box<dyn CongestionControl> {
    match config.cc {
        Cc::Cubic => Box::new(cubic::Cubic::new(config.hystart)),
        Cc::Dctcp => Box::new(dctcp::Dctcp::default()),
        Cc::Prague => Box::new(prague::Prague::new(srtt_ns)),
        Cc::Bbr => Box::new(bbr::Bbr::new(srtt_ns, config.seed)),
        // The datagram controls have separate senders.
        Cc::NewReno | Cc::Udp | Cc::UdpPrague => Box::new(newreno::NewReno::new(config.hystart)),
    }
}
