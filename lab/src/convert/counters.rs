//! The device's counters in the output of sysctl(8).

use std::collections::HashMap;

use l4sllm_testbed::result::{Overrides, Refusals};

/// Prefix of the variables (sysctl_stats.c of the module).
const PREFIX: &str = "net.inet.l4sllm.stats.";

/// Increases of the counters in a repetition.
#[derive(Debug, Default)]
pub(super) struct Counters(HashMap<String, u64>);

impl Counters {
    /// The differences of two outputs; the module counts since it was loaded.
    pub(super) fn between(before: &str, after: &str) -> Counters {
        let earlier = variables(before);
        let since = |(name, value): (String, u64)| {
            let before = earlier.get(&name).copied().unwrap_or(0);
            (name, value.saturating_sub(before))
        };
        Counters(variables(after).into_iter().map(since).collect())
    }

    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Overrides; all zero if the output has none.
    pub(super) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides {
            received: 0,
            applied: self.of("overrides_applied"),
            expired: self.of("overrides_expired"),
            refused: self.of("overrides_refused"),
            replaced: self.of("overrides_replaced"),
            waiting: 0,
        };
        let Overrides {
            applied,
            expired,
            refused,
            replaced,
            ..
        } = overrides;
        let used = applied + expired + refused + replaced;
        // sysctl reads one variable after another while the daemon sends overrides.
        overrides.received = self.of("overrides_received").max(used);
        overrides.waiting = overrides.received - used;
        overrides
    }

    /// Decisions that a limit refused.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals {
            not_ect: self.of("refused_not_ect"),
            drop_share: self.of("refused_drop_share"),
            ceiling: self.of("refused_ceiling"),
            overload: self.of("refused_overload"),
            last_packet: self.of("refused_last_packet"),
            mark_share: self.of("refused_mark_share"),
            invalid: self.of("refused_invalid"),
        }
    }
}

fn variables(output: &str) -> HashMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.strip_prefix(PREFIX)?.split_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    output.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_of_earlier_repetitions_are_subtracted() {
        let of = |received: u64, applied: u64| {
            format!(
                "net.inet.l4sllm.version: 0.1\n{PREFIX}overrides_received: {received}\n\
                 {PREFIX}overrides_applied: {applied}\n{PREFIX}refused_ceiling: {applied}\n"
            )
        };
        let counters = Counters::between(&of(100, 90), &of(150, 130));
        let overrides = counters.overrides();
        assert_eq!(
            (overrides.received, overrides.applied, overrides.waiting),
            (50, 40, 10)
        );
        assert_eq!(counters.refusals().ceiling, 40);
    }

    #[test]
    fn overrides_applied_between_two_reads_are_received() {
        let after = format!("{PREFIX}overrides_received: 5\n{PREFIX}overrides_applied: 6\n");
        let overrides = Counters::between("", &after).overrides();
        assert_eq!((overrides.received, overrides.waiting), (6, 0));
        assert_eq!(Counters::between("", "").overrides(), Overrides::default());
    }
}
