//! Causes of marks and drops, with their counters.

use crate::Stats;

/// A cause of marks or drops.
#[derive(Debug, Clone, Copy)]
pub struct Cause {
    /// Its name in metrics and tables.
    pub name: &'static str,
    /// The counter of its packets.
    pub of: fn(&Stats) -> u64,
}

impl Cause {
    /// Causes of marks: p_C, the native L4S AQM, the coupling, and an override. A
    /// marked packet is counted under one of them.
    pub const MARKS: [Cause; 4] = [
        Cause {
            name: "classic",
            of: |stats| stats.marks_classic,
        },
        Cause {
            name: "native",
            of: |stats| stats.marks_native,
        },
        Cause {
            name: "coupled",
            of: |stats| stats.marks_coupled,
        },
        Cause {
            name: "override",
            of: |stats| stats.marks_override,
        },
    ];

    /// Causes of drops: a queue limit, DualPI2, an override, and the deletion of an
    /// instance. A dropped packet is counted under one of them.
    pub const DROPS: [Cause; 4] = [
        Cause {
            name: "tail",
            of: |stats| stats.drops_tail,
        },
        Cause {
            name: "dualpi2",
            of: |stats| stats.drops_base,
        },
        Cause {
            name: "override",
            of: |stats| stats.drops_override,
        },
        Cause {
            name: "flush",
            of: |stats| stats.drops_flush,
        },
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each counter has its own cause, and the drops are all of those in `dropped`.
    #[test]
    fn causes_of_drops_add_up_and_differ() {
        let mut raw = Stats::question(0, 0);
        (raw.drops_tail, raw.drops_base) = (1, 2);
        (raw.drops_override, raw.drops_flush) = (4, 8);
        (raw.marks_classic, raw.marks_native) = (16, 32);
        (raw.marks_coupled, raw.marks_override) = (64, 128);
        (raw.packets_in, raw.dropped) = (15, 15);
        let stats = Stats::try_from(raw).unwrap();
        assert_eq!(stats.imbalance(), None);
        let counts = |causes: [Cause; 4]| causes.map(|cause| (cause.of)(&stats));
        assert_eq!(counts(Cause::DROPS), [1, 2, 4, 8]);
        assert_eq!(counts(Cause::MARKS), [16, 32, 64, 128]);
    }
}
