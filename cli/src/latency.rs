//! The one implementation of measuring decision times.

use std::time::{Duration, Instant};

use l4sllm_report::Latency;

/// Warm-up decisions.
const WARM_UP: u32 = 3;

/// If a decision takes seconds, fewer are measured than requested.
const MOST: Duration = Duration::from_secs(120);

/// Measures `count` decisions, each until its probabilities are available on
/// the processor.
pub fn decisions(
    count: u32,
    mut decide: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Latency> {
    let began = Instant::now();
    for _ in 0..WARM_UP {
        decide()?;
        if began.elapsed() > MOST / 10 {
            break;
        }
    }
    let began = Instant::now();
    let mut taken_ns = Vec::new();
    while taken_ns.len() < count.max(1) as usize && (taken_ns.is_empty() || began.elapsed() < MOST)
    {
        let one = Instant::now();
        decide()?;
        taken_ns.push(u64::try_from(one.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Latency::of_ns(taken_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_the_requested_number_of_decisions() {
        let mut made = 0;
        let decide = || {
            made += 1;
            Ok(())
        };
        assert_eq!(decisions(7, decide).unwrap().count, 7);
        assert_eq!(made, WARM_UP + 7);
        let failed = decisions(1, || anyhow::bail!("no model"));
        assert!(failed.unwrap_err().to_string().contains("no model"));
    }
}
