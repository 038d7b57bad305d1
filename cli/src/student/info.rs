//! What `student show` prints.

use l4sllm_abi::StudentStatus;
use l4sllm_model::student::{OUTPUTS, SCALES, SIGNAL_NAMES};
use l4sllm_testbed::scenario::ArmStudent;
use serde::Serialize;

use crate::output::outln;

/// Names and units of the outputs, and the factor from the file's unit.
const SET_POINTS: [(&str, &str, f64); OUTPUTS] = [
    ("target", "ms", 1e-6),
    ("alpha", "Hz", 1e-6),
    ("beta", "Hz", 1e-6),
    ("k", "", 1.0 / 256.0),
];

/// A file.
#[derive(Serialize)]
pub struct FileInfo {
    name: String,
    sha256: String,
    bytes: usize,
    parameters: usize,
    /// Of the network, per decision.
    multiplications: usize,
    period_ms: f64,
    idle_budget: f64,
    /// SHA-256 of the policy that it imitates, hex; none if it has none.
    teacher: Option<String>,
    hidden: [usize; 2],
    set_points: Vec<Range>,
    inputs: Vec<Input>,
}

/// Range of a set-point, before the limits of overrides.
#[derive(Serialize)]
struct Range {
    name: &'static str,
    unit: &'static str,
    min: f64,
    max: f64,
}

/// An input: a signal, and the number of periods of its mean.
#[derive(Serialize)]
struct Input {
    signal: &'static str,
    periods: u32,
}

impl FileInfo {
    pub fn of(student: &ArmStudent) -> FileInfo {
        let of = student.student();
        let hex: String = of
            .teacher
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let value = |log: i32| f64::exp2(f64::from(log) / 65_536.0);
        let ranges = SET_POINTS.iter().zip(of.bounds);
        FileInfo {
            name: of.name.clone(),
            sha256: student.sha256(),
            bytes: student.bytes().len(),
            parameters: of.parameters(),
            multiplications: of.weights.iter().map(Vec::len).sum(),
            period_ms: of.period_ns as f64 / 1e6,
            idle_budget: f64::from(of.idle_budget) / 1e6,
            teacher: (of.teacher != [0; 32]).then_some(hex),
            hidden: [of.units[0].len(), of.units[1].len()],
            set_points: ranges
                .map(|((name, unit, factor), (min, max))| Range {
                    name,
                    unit,
                    min: value(min) * factor,
                    max: value(max) * factor,
                })
                .collect(),
            inputs: of
                .inputs
                .iter()
                .map(|input| Input {
                    signal: SIGNAL_NAMES[usize::from(input.signal)],
                    periods: 1 << (2 * u32::from(input.scale)),
                })
                .collect(),
        }
    }

    /// Prints it as text.
    pub fn tell(&self) -> anyhow::Result<()> {
        outln!(
            "{}: {} bytes, {} parameters",
            self.name,
            self.bytes,
            self.parameters
        )?;
        outln!("  sha256     {}", self.sha256)?;
        if let Some(teacher) = &self.teacher {
            outln!("  teacher    {teacher}")?;
        }
        outln!(
            "  network    {} inputs, {} and {} hidden units, {} multiplications",
            self.inputs.len(),
            self.hidden[0],
            self.hidden[1],
            self.multiplications
        )?;
        outln!("  decisions  every {} ms", self.period_ms)?;
        outln!("  budget     {} of link time may be idle", self.idle_budget)?;
        for Range {
            name,
            unit,
            min,
            max,
        } in &self.set_points
        {
            outln!("  {name:<10} {min:.3} to {max:.3} {unit}")?;
        }
        // Signals with the periods of their means, wrapped by the terminal's width.
        let mut line = String::from("  inputs    ");
        for (number, name) in SIGNAL_NAMES.iter().enumerate() {
            let periods: Vec<String> = self
                .inputs
                .iter()
                .filter(|input| input.signal == *name)
                .map(|input| input.periods.to_string())
                .collect();
            if periods.is_empty() {
                continue;
            }
            let item = format!(" {name}/{}", periods.join("/"));
            if line.len() + item.len() > 78 {
                outln!("{line}")?;
                line = " ".repeat(12);
            }
            line += &item;
            if number + 1 == SIGNAL_NAMES.len() {
                break;
            }
        }
        outln!("{line}")?;
        outln!(
            "  (signal/periods of its mean, of 1, 4, 16 and {})",
            1 << (2 * (SCALES - 1))
        )
    }
}

/// The student of a queue.
#[derive(Serialize)]
pub struct State {
    /// None if none is loaded.
    name: Option<String>,
    on: bool,
    bytes: u32,
    checksum: String,
    period_ms: f64,
    idle_budget: f64,
    decisions: u64,
    /// Schedulers with its set-points in force, and all.
    steering: u32,
    schedulers: u32,
}

impl State {
    pub fn of(status: &StudentStatus) -> State {
        State {
            name: status.name(),
            on: status.is_on(),
            bytes: status.student.length,
            checksum: format!("{:08x}", status.student.checksum),
            period_ms: status.student.period_ns as f64 / 1e6,
            idle_budget: f64::from(status.idle_budget) / 1e6,
            decisions: status.decisions,
            steering: status.steering,
            schedulers: status.instances,
        }
    }

    /// Prints it as text.
    pub fn tell(&self) -> anyhow::Result<()> {
        let Some(name) = &self.name else {
            return outln!("no student is loaded; l4sllm student load STUDENT --on");
        };
        let on = match self.on {
            true => "on",
            false => "off; l4sllm student on enables it",
        };
        outln!(
            "{name}: {} bytes, checksum {}, {on}",
            self.bytes,
            self.checksum
        )?;
        outln!(
            "  {} decisions, every {} ms, with an idle budget of {}",
            self.decisions,
            self.period_ms,
            self.idle_budget
        )?;
        outln!(
            "  its set-points are in force in {} of {} schedulers",
            self.steering,
            self.schedulers
        )
    }
}
