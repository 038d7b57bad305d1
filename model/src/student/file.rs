//! The file of a student.

use std::ffi::c_char;

use l4sllm_abi::bytes::{Plain, as_bytes, from_bytes};
use l4sllm_abi::raw;
use thiserror::Error;

use super::network::OUTPUTS;
use super::signals::{SCALES, SIGNALS};
use crate::IdleBudget;

const HIDDEN: usize = raw::L4S_STUDENT_HIDDEN as usize;
const INPUTS: usize = raw::L4S_STUDENT_INPUTS as usize;
const MS: u64 = 1_000_000;
/// Bytes up to the end of the checksum, which it does not cover.
const UNSUMMED: usize = 12;

/// A file that is not a student, or not a valid one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StudentError {
    /// The file ends early, or has bytes after its end.
    #[error("{got} bytes, expected {want}")]
    Length {
        /// Bytes of the file.
        got: usize,
        /// Bytes expected.
        want: usize,
    },
    /// Another version, or not a student at all.
    #[error("not a student of version {want}: the file begins with {got}")]
    Version {
        /// In the file.
        got: u16,
        /// Supported.
        want: u32,
    },
    /// The checksum does not match the contents.
    #[error("checksum {got:08x}, expected {want:08x}: the file is damaged")]
    Checksum {
        /// In the file.
        got: u32,
        /// Of the contents.
        want: u32,
    },
    /// A value is out of its range.
    #[error("{field}: {got} is out of range, expected {want}")]
    Range {
        /// The field, with its index.
        field: String,
        /// The value.
        got: i64,
        /// The range.
        want: &'static str,
    },
}

/// An input of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudentInput {
    /// The signal, below [`SIGNALS`].
    pub signal: u8,
    /// 0 for the latest period, 1 to 3 for its means over 4, 16 and 64 periods.
    pub scale: u8,
    /// Subtracted from the signal, Q16.
    pub mean: i32,
    /// Inverse of the standard deviation, Q25.
    pub gain: i32,
}

/// The scale and bias of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StudentUnit {
    /// Factor of the sum of products, Q24.
    pub scale: i32,
    /// Q12; of an output: Q16.
    pub bias: i32,
}

/// A student: a network with two hidden layers and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Student {
    /// Its name, at most 31 bytes.
    pub name: String,
    /// SHA-256 of the policy that it imitates; zeros if there is none.
    pub teacher: [u8; 32],
    /// Minimum time between decisions, ns.
    pub period_ns: u64,
    /// Idle budget unless the operator sets one, millionths.
    pub idle_budget: u32,
    /// The controller's period, ns.
    pub tupdate_ns: u64,
    /// The controller's period for targets from `slow_from`, ns.
    pub slow_tupdate_ns: u64,
    /// Logarithm of that target in ns, Q16.
    pub slow_from: i32,
    /// Minimum and maximum of each output, Q16.
    pub bounds: [(i32, i32); OUTPUTS],
    /// The inputs.
    pub inputs: Vec<StudentInput>,
    /// Units of the two hidden layers and of the outputs.
    pub units: [Vec<StudentUnit>; 3],
    /// Weights of each layer: a row for each unit.
    pub weights: [Vec<i8>; 3],
}

impl Student {
    /// Reads a file.
    ///
    /// # Errors
    /// What the kernel refuses, with the field.
    pub fn from_bytes(bytes: &[u8]) -> Result<Student, StudentError> {
        let (header, rest) = header_of(bytes)?;
        let hidden = header.hidden.map(usize::from);
        let sizes = [
            (usize::from(header.inputs), hidden[0]),
            (hidden[0], hidden[1]),
            (hidden[1], OUTPUTS),
        ];
        let mut rest = rest;
        let mut inputs = Vec::new();
        for _ in 0..header.inputs {
            let input: raw::l4s_student_input = take(&mut rest);
            inputs.push(StudentInput {
                signal: input.signal,
                scale: input.scale,
                mean: input.mean,
                gain: input.gain,
            });
            range(
                || format!("inputs[{}].pad", inputs.len() - 1),
                input.pad,
                0,
                0,
                "0",
            )?;
        }
        let units = sizes.map(|(_, rows)| {
            let unit = |_| {
                let unit: raw::l4s_student_unit = take(&mut rest);
                StudentUnit {
                    scale: unit.scale,
                    bias: unit.bias,
                }
            };
            (0..rows).map(unit).collect()
        });
        let weights = sizes.map(|(columns, rows)| {
            let (own, after) = rest.split_at(columns * rows);
            rest = after;
            own.iter().map(|byte| *byte as i8).collect()
        });
        let name = header.name.map(|c: c_char| c as u8);
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        let student = Student {
            name: String::from_utf8_lossy(&name[..end]).into_owned(),
            teacher: header.teacher,
            period_ns: header.period_ns,
            idle_budget: header.idle_budget,
            tupdate_ns: header.tupdate_ns,
            slow_tupdate_ns: header.slow_tupdate_ns,
            slow_from: header.slow_from,
            bounds: std::array::from_fn(|i| (header.min[i], header.max[i])),
            inputs,
            units,
            weights,
        };
        student.check()?;
        Ok(student)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StudentError> {
        self.check()?;
        let mut header = raw::l4s_student {
            version: raw::L4S_STUDENT_VERSION as u16,
            inputs: self.inputs.len() as u16,
            hidden: [self.units[0].len() as u16, self.units[1].len() as u16],
            idle_budget: self.idle_budget,
            period_ns: self.period_ns,
            tupdate_ns: self.tupdate_ns,
            slow_tupdate_ns: self.slow_tupdate_ns,
            slow_from: self.slow_from,
            min: self.bounds.map(|(min, _)| min),
            max: self.bounds.map(|(_, max)| max),
            teacher: self.teacher,
            ..Default::default()
        };
        for (to, from) in header.name.iter_mut().zip(self.name.bytes()) {
            *to = from as c_char;
        }
        let mut body = Vec::new();
        for input in &self.inputs {
            body.extend_from_slice(as_bytes(&raw::l4s_student_input {
                signal: input.signal,
                scale: input.scale,
                pad: 0,
                mean: input.mean,
                gain: input.gain,
            }));
        }
        for unit in self.units.iter().flatten() {
            body.extend_from_slice(as_bytes(&raw::l4s_student_unit {
                scale: unit.scale,
                bias: unit.bias,
            }));
        }
        body.extend(self.weights.iter().flatten().map(|weight| *weight as u8));
        header.length = (size_of_val(&header) + body.len()) as u32;
        let mut bytes = as_bytes(&header).to_vec();
        bytes.extend(body);
        let checksum = crc32fast::hash(&bytes[UNSUMMED..]);
        bytes[UNSUMMED - 4..UNSUMMED].copy_from_slice(&checksum.to_ne_bytes());
        Ok(bytes)
    }

    /// Checks every value, as the kernel does.
    fn check(&self) -> Result<(), StudentError> {
        self.check_settings()?;
        let input = |i: usize, field: &'static str| move || format!("inputs[{i}].{field}");
        for (i, of) in self.inputs.iter().enumerate() {
            let signals = SIGNALS as i64 - 1;
            range(input(i, "signal"), of.signal, 0, signals, "0..=23")?;
            range(input(i, "scale"), of.scale, 0, SCALES as i64 - 1, "0..=3")?;
            within(
                input(i, "mean"),
                of.mean,
                raw::L4S_STUDENT_BIAS_MAX,
                "±2^24",
            )?;
            within(
                input(i, "gain"),
                of.gain,
                raw::L4S_STUDENT_GAIN_MAX,
                "±2^22",
            )?;
        }
        for (layer, units) in self.units.iter().enumerate() {
            let field =
                |i: usize, name: &'static str| move || format!("units[{layer}][{i}].{name}");
            for (i, unit) in units.iter().enumerate() {
                let most = i64::from(raw::L4S_STUDENT_SCALE_MAX);
                range(field(i, "scale"), unit.scale, 0, most, "0..=2^26")?;
                within(
                    field(i, "bias"),
                    unit.bias,
                    raw::L4S_STUDENT_BIAS_MAX,
                    "±2^24",
                )?;
            }
        }
        for (layer, weights) in self.weights.iter().enumerate() {
            let field = |i: usize| move || format!("weights[{layer}][{i}]");
            for (i, weight) in weights.iter().enumerate() {
                range(field(i), *weight, -127, 127, "-127..=127")?;
            }
        }
        Ok(())
    }

    fn check_settings(&self) -> Result<(), StudentError> {
        let named = |name: &'static str| move || name.to_owned();
        let sizes = [self.inputs.len(), self.units[0].len(), self.units[1].len()];
        let most = [INPUTS, HIDDEN, HIDDEN];
        let fields = ["inputs", "hidden[0]", "hidden[1]"];
        let wants = ["1..=96", "1..=64", "1..=64"];
        for i in 0..sizes.len() {
            range(
                named(fields[i]),
                sizes[i] as i64,
                1,
                most[i] as i64,
                wants[i],
            )?;
        }
        let length = self.name.len() as i64;
        range(named("length of the name"), length, 1, 31, "1..=31 bytes")?;
        let budgets = IdleBudget::MILLIONTHS;
        let (least, most) = (i64::from(*budgets.start()), i64::from(*budgets.end()));
        range(
            named("idle_budget"),
            self.idle_budget,
            least,
            most,
            "1000..=20000",
        )?;
        let period = self.period_ns as i64;
        range(
            named("period_ns"),
            period,
            (16 * MS) as i64,
            (2000 * MS) as i64,
            "16 ms..=2 s",
        )?;
        for (field, period) in [
            ("tupdate_ns", self.tupdate_ns),
            ("slow_tupdate_ns", self.slow_tupdate_ns),
        ] {
            let (least, most) = ((MS / 10) as i64, (1000 * MS) as i64);
            range(named(field), period as i64, least, most, "100 us..=1 s")?;
        }
        let most = i64::from(raw::L4S_STUDENT_OUT_MAX);
        range(named("slow_from"), self.slow_from, 0, most, "0..=40 in Q16")?;
        for (i, (min, max)) in self.bounds.iter().enumerate() {
            range(|| format!("min[{i}]"), *min, 0, most, "0..=40 in Q16")?;
            range(
                || format!("max[{i}]"),
                *max,
                i64::from(*min),
                most,
                "min..=40 in Q16",
            )?;
        }
        Ok(())
    }

    /// Number of weights, biases and scales.
    pub fn parameters(&self) -> usize {
        let weights: usize = self.weights.iter().map(Vec::len).sum();
        let units: usize = self.units.iter().map(Vec::len).sum();
        weights + 2 * units + 2 * self.inputs.len()
    }
}

fn range<T: Into<i64>>(
    field: impl Fn() -> String,
    got: T,
    least: i64,
    most: i64,
    want: &'static str,
) -> Result<(), StudentError> {
    let got = got.into();
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(StudentError::Range {
        field: field(),
        got,
        want,
    })
}

fn within(
    field: impl Fn() -> String,
    got: i32,
    most: u32,
    want: &'static str,
) -> Result<(), StudentError> {
    let most = i64::from(most);
    range(field, got, -most, most, want)
}

/// The header, with sizes that fit the file.
fn header_of(bytes: &[u8]) -> Result<(raw::l4s_student, &[u8]), StudentError> {
    const SIZE: usize = size_of::<raw::l4s_student>();
    let length = |want| StudentError::Length {
        got: bytes.len(),
        want,
    };
    let (head, rest) = bytes.split_at_checked(SIZE).ok_or_else(|| length(SIZE))?;
    let header: raw::l4s_student = from_bytes(head).map_err(|_| length(SIZE))?;
    if u32::from(header.version) != raw::L4S_STUDENT_VERSION {
        return Err(StudentError::Version {
            got: header.version,
            want: raw::L4S_STUDENT_VERSION,
        });
    }
    if header.length as usize != bytes.len() {
        return Err(length(header.length as usize));
    }
    let want = crc32fast::hash(&bytes[UNSUMMED..]);
    if header.checksum != want {
        return Err(StudentError::Checksum {
            got: header.checksum,
            want,
        });
    }
    let named = |name: &'static str| move || name.to_owned();
    range(named("inputs"), header.inputs, 1, INPUTS as i64, "1..=96")?;
    for hidden in header.hidden {
        range(named("hidden"), hidden, 1, HIDDEN as i64, "1..=64")?;
    }
    for pad in [u32::from(header.pad0), u32::from(header.pad1), header.pad2] {
        range(named("pad"), pad, 0, 0, "0")?;
    }
    let terminated = header.name[header.name.len() - 1] == 0;
    range(
        named("last byte of the name"),
        i64::from(!terminated),
        0,
        0,
        "NUL",
    )?;
    // Beyond i64, a time would be negative.
    for time in [header.period_ns, header.tupdate_ns, header.slow_tupdate_ns] {
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        range(named("a period"), time, 0, i64::MAX - 1, "at most 2 s")?;
    }
    let (inputs, hidden) = (usize::from(header.inputs), header.hidden.map(usize::from));
    let want = SIZE
        + inputs * size_of::<raw::l4s_student_input>()
        + (hidden[0] + hidden[1] + OUTPUTS) * size_of::<raw::l4s_student_unit>()
        + hidden[0] * inputs
        + hidden[1] * hidden[0]
        + OUTPUTS * hidden[1];
    match want == bytes.len() {
        true => Ok((header, rest)),
        false => Err(length(want)),
    }
}

/// Takes a struct from the front, which is long enough.
fn take<T: Plain>(rest: &mut &[u8]) -> T {
    let (own, after) = rest.split_at(size_of::<T>());
    *rest = after;
    from_bytes(own).unwrap_or_default()
}
