//! `l4sllm testbed run`: scenarios on the four machines.

mod result;
mod script;

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use clap::Args;
use l4sllm_machines::{Inventory, Repetition, Role};
use l4sllm_model::files::Claim;
use l4sllm_model::text::shown;
use l4sllm_testbed::result::MachinesFacts;
use l4sllm_testbed::scenario::Scenario;
use serde_json::json;

use super::{Options, perform, plan};
use crate::output::{Done, bail_usage, note, outln};
use crate::{duration, shipped};
use result::Conversion;
use script::{Arm, Extras, Place};

/// Run scenarios on the machines, and write result directories and reports.
///
/// Each repetition creates the scenario's bottleneck on the router, starts l4sllmd
/// there in arms with a controller, and sends with iperf3 from the clients to the
/// server, with the scenario's start times and congestion controls. The files are in
/// DIR/SCENARIO/ARM/NUMBER: the router's records, the JSON of iperf3, the queue's
/// counters, and every command. A repetition's directory appears when it is complete,
/// and existing ones are kept, so the command can be repeated after it was killed.
///
/// Each stored repetition is converted to the result directory DIR/SCENARIO/result, like
/// that of `l4sllm run`. Records have no flow, so a capture of the router's link to the
/// server assigns them; dropped packets belong to the flow `other`.
///
/// Supported are links of constant rate and delay, and two clients. Arms: plain and
/// tuned (DualPI2), adaptive, or a policy that is installed on the router: context,
/// default, or an absolute path there.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm testbed run paper --provider qemu --out out/machines
  l4sllm testbed run paper --provider ssh --inventory machines.toml --out out/m \\
    --arms plain,default --interval 10,100 --repetitions 10 --siftr --pcap
  l4sllm testbed run paper --provider qemu --out out/m --dry-run")]
pub struct RunArgs {
    #[command(flatten)]
    options: Options,
    /// Scenarios: files, or built-in names. Their own arms are ignored.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Directory for the files; created if necessary.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Arms: plain, tuned, adaptive, or policies.
    #[arg(
        long,
        value_name = "ARM,ARM",
        value_delimiter = ',',
        default_value = "plain,tuned,adaptive,default"
    )]
    arms: Vec<String>,
    /// Packets between two decisions of a policy; each makes an arm, such as default-10.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        default_value = "10,100"
    )]
    interval: Vec<NonZeroU32>,
    /// Repetitions of each arm.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repetitions: u32,
    /// Time of each repetition [default: the scenario's].
    #[arg(long = "duration", value_name = "TIME", value_parser = duration::repetition)]
    duration_ns: Option<u64>,
    /// Store siftr's logs of the clients and the server.
    #[arg(long)]
    siftr: bool,
    /// Store the headers of the packets on the router's link to the server.
    #[arg(long)]
    pcap: bool,
}

/// Runs the repetitions that are missing, all arms of one before the next.
pub fn run(args: &RunArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    let arms = args.arms()?;
    let place = args.place()?;
    let mut scenarios = Vec::new();
    for file in &args.scenarios {
        let mut scenario = shipped::scenario(file)?;
        if let Some(duration_ns) = args.duration_ns {
            scenario.set_duration(duration_ns);
        }
        // Everything that the machines cannot do is found before the first step.
        for arm in &arms {
            args.repetition(&scenario, arm, 0, &place)?;
        }
        scenarios.push(scenario);
    }
    for scenario in &scenarios {
        args.run_scenario(scenario, &arms, &place, cancel)?;
    }
    Ok(Done::of(cancel))
}

impl RunArgs {
    fn arms(&self) -> anyhow::Result<Vec<Arm>> {
        let mut list: Vec<Arm> = Vec::new();
        for name in &self.arms {
            list.extend(Arm::of(name, &self.interval).with_context(|| format!("--arms: {name}"))?);
        }
        for (at, arm) in list.iter().enumerate() {
            if list[..at].iter().any(|other| other.name == arm.name) {
                bail_usage!("--arms: two arms are named {}", arm.name);
            }
        }
        Ok(list)
    }

    fn place(&self) -> anyhow::Result<Place> {
        let inventory = self.options.inventory.as_deref();
        let inventory = inventory.map(Inventory::read).transpose()?;
        let interface = inventory.as_ref().and_then(|inventory| {
            let router = inventory.machine(Role::Router);
            router.interfaces.get(&Role::Server).cloned()
        });
        Ok(Place {
            // The fourth interface of the image's machines.
            interface: interface.unwrap_or_else(|| "em3".to_owned()),
        })
    }

    fn repetition(
        &self,
        scenario: &Scenario,
        arm: &Arm,
        number: u32,
        place: &Place,
    ) -> anyhow::Result<Repetition> {
        let extras = Extras {
            siftr: self.siftr,
            pcap: self.pcap,
        };
        script::repetition(scenario, arm, number, place, extras)
            .with_context(|| format!("scenario {}", scenario.name))
    }

    fn run_scenario(
        &self,
        scenario: &Scenario,
        arms: &[Arm],
        place: &Place,
        cancel: &AtomicBool,
    ) -> anyhow::Result<()> {
        let dir = self.out.join(&scenario.name);
        let _claim = match self.options.dry_run {
            true => None,
            false => {
                let claim = Claim::of(&dir)?;
                check_manifest(&dir, scenario)?;
                Some(claim)
            }
        };
        let repetitions = if self.options.dry_run {
            1
        } else {
            self.repetitions
        };
        let machines = self.machines();
        let mut conversion = Conversion::new(scenario, arms, repetitions, machines, &dir);
        for number in 0..repetitions {
            for arm in arms {
                if Done::of(cancel) == Done::Interrupted {
                    conversion.finish()?;
                    return Ok(());
                }
                let repetition = self.repetition(scenario, arm, number, place)?;
                let out = dir.join(&arm.name).join(format!("{number:03}"));
                let what = format!("{}, {}, repetition {number}", scenario.name, arm.name);
                perform(&self.options, plan(&self.options)?, |testbed, host| {
                    let ran = testbed.repeat(host, &out, &repetition)?;
                    match ran {
                        _ if self.options.dry_run => {}
                        true => note!("{what}: stored"),
                        false => note!("{what}: kept"),
                    }
                    Ok(())
                })
                .with_context(|| what.clone())?;
                if !self.options.dry_run {
                    conversion.add(arm, number, &out)?;
                }
            }
        }
        if let Some(report) = conversion.finish()? {
            outln!("{}", shown(&report))?;
        }
        Ok(())
    }

    fn machines(&self) -> MachinesFacts {
        MachinesFacts {
            provider: self.options.provider.name().to_owned(),
            arms: self.arms.clone(),
            intervals: self.interval.iter().map(|number| number.get()).collect(),
        }
    }
}

/// Compares the manifest of a directory with the scenario, and writes it if there is
/// none.
fn check_manifest(dir: &Path, scenario: &Scenario) -> anyhow::Result<()> {
    let path = dir.join("manifest.json");
    let manifest = json!({
        "scenario": scenario.name,
        "source": scenario.source,
        "seed": scenario.seed,
        "duration_ns": scenario.duration_ns,
        "warmup_ns": scenario.warmup_ns,
    });
    match fs::read(&path) {
        Ok(bytes) => {
            let earlier = serde_json::from_slice::<serde_json::Value>(&bytes);
            if earlier.ok().as_ref() != Some(&manifest) {
                bail!(
                    "{}: is of another scenario, seed or duration; use another --out",
                    shown(&path)
                );
            }
            Ok(())
        }
        Err(_) => {
            let text = serde_json::to_vec_pretty(&manifest)?;
            l4sllm_testbed::result::write_atomically(&path, &text)?;
            Ok(())
        }
    }
}
