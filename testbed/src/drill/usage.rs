//! Memory and descriptors of a process over time, and whether they stay flat.

use serde::Serialize;

/// Memory and descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Usage {
    /// Of the process with this number; `None`: of this one. Nothing on systems
    /// without Linux's /proc, or if the process has ended.
    pub fn of(process: Option<u32>) -> Option<Usage> {
        let dir = match process {
            None => "/proc/self".to_owned(),
            Some(number) => format!("/proc/{number}"),
        };
        let status = std::fs::read_to_string(format!("{dir}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        let descriptors = std::fs::read_dir(format!("{dir}/fd")).ok()?;
        Some(Usage {
            memory_bytes: kib << 10,
            descriptors: descriptors.count() as u64,
        })
    }
}

/// Growth of memory that is not a leak: allocators keep freed memory.
const ALLOWANCE_BYTES: u64 = 4 << 20;
const ALLOWANCE_SHARE: f64 = 0.05;

/// Usage over time, compared between the second and the last quarter, after all
/// parts of a program have been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// Most in the second quarter.
    pub early: Usage,
    /// Most in the last quarter.
    pub late: Usage,
}

impl Trend {
    /// Of samples at equal intervals; none for fewer than four.
    pub fn of(samples: &[Usage]) -> Option<Trend> {
        let quarter = samples.len() / 4;
        if quarter == 0 {
            return None;
        }
        let most = |part: &[Usage]| Usage {
            memory_bytes: part.iter().map(|of| of.memory_bytes).max().unwrap_or(0),
            descriptors: part.iter().map(|of| of.descriptors).max().unwrap_or(0),
        };
        Some(Trend {
            early: most(&samples[quarter..2 * quarter]),
            late: most(&samples[samples.len() - quarter..]),
        })
    }

    /// Resources that have grown, with both values; empty if none.
    pub fn growth(&self) -> Option<String> {
        let Trend { early, late } = self;
        let allowed = (early.memory_bytes as f64 * ALLOWANCE_SHARE) as u64;
        let allowed = early.memory_bytes + allowed.max(ALLOWANCE_BYTES);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        if late.memory_bytes > allowed {
            let (early, late) = (mib(early.memory_bytes), mib(late.memory_bytes));
            return Some(format!("memory grew from {early:.1} MiB to {late:.1} MiB"));
        }
        (late.descriptors > early.descriptors).then(|| {
            format!(
                "descriptors grew from {} to {}",
                early.descriptors, late.descriptors
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(memory_mib: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Option<Trend> {
        let samples: Vec<Usage> = (0..100)
            .map(|at| Usage {
                memory_bytes: memory_mib(at) << 20,
                descriptors: descriptors(at),
            })
            .collect();
        Trend::of(&samples)
    }

    #[test]
    fn growth_is_found_after_the_first_quarter() {
        let growth = |memory: fn(u64) -> u64, descriptors: fn(u64) -> u64| {
            trend(memory, descriptors).unwrap().growth()
        };
        assert_eq!(growth(|_| 100, |_| 10), None);
        assert_eq!(
            growth(|at| 50 + at.min(25) * 2, |_| 10),
            None,
            "at the start"
        );
        assert_eq!(growth(|at| 100 + at % 4, |at| 10 + at % 3), None, "noise");
        let memory = growth(|at| 100 + at / 5, |_| 10).unwrap();
        assert!(memory.starts_with("memory grew from 109.0 MiB"), "{memory}");
        let descriptors = growth(|_| 100, |at| 10 + at / 30).unwrap();
        assert_eq!(descriptors, "descriptors grew from 11 to 13");
        assert_eq!(Trend::of(&[]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_memory_and_descriptors() {
        let usage = Usage::of(None).unwrap();
        assert!(
            usage.memory_bytes > 1 << 20 && usage.descriptors > 2,
            "{usage:?}"
        );
        assert_eq!(
            Usage::of(Some(std::process::id())).map(|of| of.descriptors > 2),
            Some(true)
        );
        assert_eq!(Usage::of(Some(u32::MAX)), None);
    }
}
