//! `l4sllm student`: the network that steers inside the queue.

mod info;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use l4sllm_abi::{Refusal, StudentStatus, StudentSwitch};
use l4sllm_model::IdleBudget;
use l4sllm_testbed::scenario::ArmStudent;
use l4sllmd::config::{DeviceConfig, DeviceKind};
use l4sllmd::device::{Device, DeviceError};
use l4sllmd::files::Files;

use crate::format::{Format, FormatArgs, print_json, print_values};
use crate::output::outln;
use crate::shipped;
use info::{FileInfo, State};

/// Load a student into the queue, enable it and show its state.
///
/// A student is a small network that the kernel module runs itself: it chooses
/// DualPI2's set-points at the end of each period, within the limits of overrides and
/// without a daemon. While a daemon's `steer` override is active, the student waits.
/// `l4sllm policy distil` makes one from a policy.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm student load context --on
  l4sllm student show
  l4sllm student show out/student/student.l4s --format json
  l4sllm student on --idle-budget 0.002
  l4sllm student off
  l4sllm student unload")]
pub struct StudentArgs {
    #[command(subcommand)]
    command: StudentCommand,
}

/// The device of the queue.
#[derive(Debug, Args)]
struct DeviceArgs {
    /// The Unix socket of an emulated device, instead of /dev/l4sllm.
    #[arg(long, value_name = "SOCKET")]
    device: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum StudentCommand {
    /// Check a student and load it. A loaded and enabled one is replaced.
    #[command(after_long_help = "\
Examples:
  l4sllm student load out/student/student.l4s
  l4sllm student load context --on --device /tmp/l4sllm-device.sock")]
    Load {
        /// The student: a file, or a policy that has one, by directory or built-in name.
        #[arg(value_name = "STUDENT")]
        student: PathBuf,
        /// Also enable it.
        #[arg(long)]
        on: bool,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Disable the student and unload it.
    #[command(after_long_help = "\
Examples:
  l4sllm student unload")]
    Unload {
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Enable the loaded student.
    #[command(after_long_help = "\
Examples:
  l4sllm student on
  l4sllm student on --idle-budget 0.002")]
    On {
        /// Share of link time that may be idle, 0.001 to 0.02 [default: the student's].
        #[arg(long, value_name = "SHARE", value_parser = budget)]
        idle_budget: Option<IdleBudget>,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Disable the student; it stays loaded.
    #[command(after_long_help = "\
Examples:
  l4sllm student off")]
    Off {
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Show the state of the queue's student, or the contents of a file.
    #[command(after_long_help = "\
Examples:
  l4sllm student show
  l4sllm student show context
  l4sllm student show --device /tmp/l4sllm-device.sock --format json")]
    Show {
        /// A student's file, or a policy that has one [default: the queue's state].
        #[arg(value_name = "STUDENT", conflicts_with = "device")]
        student: Option<PathBuf>,
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
}

fn budget(text: &str) -> Result<IdleBudget, String> {
    let share = text.parse().ok().and_then(IdleBudget::new);
    share.ok_or_else(|| "expected a share of 0.001 to 0.02".to_owned())
}

/// Runs the subcommand.
pub fn run(args: &StudentArgs) -> anyhow::Result<()> {
    match &args.command {
        StudentCommand::Load {
            student,
            on,
            device,
        } => load(student, *on, device),
        StudentCommand::Unload { device } => {
            on_device(device, async |device| device.load_student(&[]).await)?;
            outln!("unloaded")
        }
        StudentCommand::On {
            idle_budget,
            device,
        } => {
            let millionths = |of: IdleBudget| (of.share() * 1e6).round() as u32;
            let switch = StudentSwitch {
                on: true,
                idle_budget: idle_budget.map(millionths),
            };
            let status = switched(device, switch)?;
            outln!("{} steers", status.name().unwrap_or_default())
        }
        StudentCommand::Off { device } => {
            let switch = StudentSwitch {
                on: false,
                idle_budget: None,
            };
            switched(device, switch)?;
            outln!("off: DualPI2 has its own set-points")
        }
        StudentCommand::Show {
            student: Some(student),
            format,
            ..
        } => {
            let student = read(student)?;
            let info = FileInfo::of(&student);
            match format.format {
                Format::Text => info.tell(),
                Format::Csv => print_values(&info),
                Format::Json => print_json(&info),
            }
        }
        StudentCommand::Show { device, format, .. } => {
            let status = on_device(device, async |device| device.student().await)?;
            let state = State::of(&status);
            match format.format {
                Format::Text => state.tell(),
                Format::Csv => print_values(&state),
                Format::Json => print_json(&state),
            }
        }
    }
}

fn load(student: &Path, on: bool, device: &DeviceArgs) -> anyhow::Result<()> {
    let student = read(student)?;
    on_device(device, async |device| {
        device.load_student(student.bytes()).await
    })?;
    let status = match on {
        true => {
            let switch = StudentSwitch {
                on: true,
                idle_budget: None,
            };
            switched(device, switch)?
        }
        false => on_device(device, async |device| device.student().await)?,
    };
    FileInfo::of(&student).tell()?;
    match status.is_on() {
        true => outln!("loaded, and it steers"),
        false => outln!("loaded; l4sllm student on enables it"),
    }
}

fn read(student: &Path) -> anyhow::Result<ArmStudent> {
    Ok(ArmStudent::open(&shipped::student(student)?)?)
}

fn switched(device: &DeviceArgs, switch: StudentSwitch) -> anyhow::Result<StudentStatus> {
    let done = on_device(device, async |device| {
        device.set_student(&switch).await?;
        device.student().await
    });
    match done {
        Err(error) if is_refused(&error, Refusal::NotFound) => {
            bail!("no student is loaded; l4sllm student load STUDENT --on")
        }
        done => done,
    }
}

fn is_refused(error: &anyhow::Error, by: Refusal) -> bool {
    matches!(
        error.downcast_ref(),
        Some(DeviceError::Refused { refusal, .. }) if *refusal == by
    )
}

/// Opens the device, agrees on a version and runs `requests`.
fn on_device<T>(
    args: &DeviceArgs,
    requests: impl AsyncFnOnce(&mut Device) -> Result<T, DeviceError>,
) -> anyhow::Result<T> {
    let (kind, path) = match &args.device {
        Some(socket) => (DeviceKind::Socket, socket.clone()),
        None => (DeviceKind::Character, PathBuf::from("/dev/l4sllm")),
    };
    let config = DeviceConfig::observer(kind, path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let mut device = Device::open(&Files::by_path(), &config).await?;
        device.version().await?;
        requests(&mut device).await
    });
    match done {
        Err(error) => {
            let error = anyhow::Error::from(error);
            match is_refused(&error, Refusal::Permission) {
                true => Err(error.context("the student needs privilege; run this as root")),
                false => Err(error),
            }
        }
        Ok(done) => Ok(done),
    }
}
