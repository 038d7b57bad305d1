//! ping: round-trip times of single packets between the hosts.

use l4sllm_testbed::result::Histogram;
use serde::{Deserialize, Serialize};

use crate::topology::SERVER;

/// Arguments: a packet every 200 ms, the shortest interval that all versions
/// allow, until interrupted.
pub fn arguments() -> [&'static str; 4] {
    ["-n", "-i", "0.2", SERVER[1]]
}

/// Round-trip times of packets that are not ECN-capable, ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// Packets that returned.
    pub received: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl RoundTrips {
    /// Reads ping's output: lines with `time=12.3 ms`. The first `skip` packets
    /// do not count. `None` if no packet returned.
    pub fn parse(output: &str, skip: u64) -> Option<RoundTrips> {
        let times = output.lines().filter_map(|line| {
            let number: u64 = value(line, "icmp_seq=")?.parse().ok()?;
            let ms: f64 = value(line, "time=")?.parse().ok()?;
            (number > skip).then_some((ms * 1e6) as u64)
        });
        let times: Histogram = times.collect();
        let ms = |ns: u64| ns as f64 / 1e6;
        Some(RoundTrips {
            received: times.count(),
            mean_ms: times.mean()? / 1e6,
            p50_ms: ms(times.quantile(0.5)?),
            p99_ms: ms(times.quantile(0.99)?),
        })
    }
}

/// The word after `key`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_pings_lines() {
        let output = "PING 10.77.0.3 (10.77.0.3) 56(84) bytes of data.\n\
            64 bytes from 10.77.0.3: icmp_seq=1 ttl=64 time=500 ms\n\
            64 bytes from 10.77.0.3: icmp_seq=2 ttl=64 time=10.5 ms\n\
            64 bytes from 10.77.0.3: icmp_seq=4 ttl=64 time=20.5 ms\n\n\
            --- 10.77.0.3 ping statistics ---\n4 packets transmitted, 3 received\n";
        let times = RoundTrips::parse(output, 1).unwrap();
        assert_eq!(times.received, 2);
        assert!((times.mean_ms - 15.5).abs() < 0.01, "{times:?}");
        assert!((times.p50_ms - 10.5).abs() < 0.01, "{times:?}");
        assert!((times.p99_ms - 20.5).abs() < 0.01, "{times:?}");
        assert_eq!(RoundTrips::parse("PING\n", 0), None);
    }
}
