//! `l4sllm testbed`: runs the published testbed on four machines.

#[cfg(target_os = "linux")]
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use l4sllm_machines::provider::{Bhyve, Qemu, Ssh, VirtualBox, Vmware, machines};
use l4sllm_machines::{
    Address, Collected, DryRun, Error, Host, HostKeys, Inventory, Kind, Plan, Provider, Role,
    System, Testbed,
};
use l4sllm_model::text::{shell_word, shown};

#[cfg(target_os = "linux")]
use crate::cancel;
use crate::duration;
use crate::output::{Done, bail_usage, errln, note, outln};

/// Run the published testbed in four virtual machines.
///
/// vm-images/build.sh builds their image; vm-images/README.md describes each machine.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm testbed up --provider qemu
  l4sllm testbed status --provider qemu
  l4sllm testbed down --provider qemu")]
pub struct TestbedArgs {
    #[command(subcommand)]
    command: TestbedCommand,
}

#[derive(Debug, Subcommand)]
enum TestbedCommand {
    Up(UpArgs),
    /// Show the state and the ssh command of every machine.
    Status(StepArgs),
    /// Shut down the running machines.
    Stop(StepArgs),
    /// Start the machines that are not running.
    Start(StepArgs),
    /// Take a snapshot of the disks of stopped machines.
    Snapshot(StepArgs),
    /// Restore the disks of stopped machines from the snapshot.
    Reset(StepArgs),
    #[cfg(target_os = "linux")]
    Run(run::RunArgs),
    Collect(CollectArgs),
    /// Stop and delete the machines, but not the image.
    Down(StepArgs),
}

/// Create the machines that are absent, start those that are not running, and wait until
/// all answer over ssh.
///
/// Each machine configures itself on its first boot, reboots, and then accepts root's
/// logins with the key that the image was built with. The command ends when every machine
/// reports its role. Existing machines are kept, so an interrupted
/// command can be repeated.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm testbed up --provider qemu
  l4sllm testbed up --provider virtualbox --dry-run
  l4sllm testbed up --provider qemu --accelerator tcg --timeout 1h
  l4sllm testbed up --provider ssh --inventory machines.toml
  l4sllm testbed up --provider qemu --settings testbed.conf --key ~/.ssh/id_ed25519.pub")]
struct UpArgs {
    #[command(flatten)]
    options: Options,
    /// File of KEY=VALUE lines that override vm-images/testbed.conf.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Root's public key, instead of the image's.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Longest time to wait for all machines; 0s does not wait.
    #[arg(long, value_name = "TIME", default_value = "15min",
          value_parser = |text: &str| duration::within(text, 0..=86_400_000_000_000))]
    timeout: u64,
}

/// Copy versions, settings, counters and logs of every machine to a directory.
///
/// DIR/ROLE gets the output of uname, freebsd-version, kldstat, sysctl, ifconfig and
/// netstat, testbed.conf and the system log; of the router also the firewall's rules
/// and counters and the daemon's status and log, and of the others the version of
/// iperf3 and siftr's log. Failed commands are listed in failures.txt. A machine's
/// directory appears when it is complete; existing ones are kept, so the command can be
/// repeated after it was killed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm testbed collect --provider qemu --out out/machines
  l4sllm testbed collect --provider virtualbox --out out/machines --dry-run")]
struct CollectArgs {
    #[command(flatten)]
    options: Options,
    /// Directory for the files; created if necessary.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm testbed status --provider qemu
  l4sllm testbed stop --provider qemu
  l4sllm testbed start --provider qemu
  l4sllm testbed snapshot --provider virtualbox
  l4sllm testbed reset --provider virtualbox
  l4sllm testbed down --provider qemu --dry-run")]
struct StepArgs {
    #[command(flatten)]
    options: Options,
}

// Not a doc comment, because clap would show it as the help of every subcommand.
#[derive(Debug, Args)]
struct Options {
    /// Hypervisor of the machines: qemu, virtualbox, vmware or bhyve; or ssh for existing
    /// machines.
    #[arg(long, value_name = "PROVIDER")]
    provider: Kind,
    /// Print every command instead of running it.
    #[arg(long)]
    dry_run: bool,
    /// Directory of images and machines.
    #[arg(long, value_name = "DIR", default_value = "out/vm")]
    dir: PathBuf,
    /// Processors of each machine.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Memory of each machine, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(512..=65536))]
    memory: u32,
    /// QEMU's accelerator: kvm, hvf, whpx, or tcg, which delays packets.
    #[arg(long, value_name = "NAME", default_value = "kvm")]
    accelerator: String,
    /// VMware product, as in vmrun -T: ws or fusion.
    #[arg(long, value_name = "NAME", default_value = "ws")]
    product: String,
    /// Interface toward a DHCP server, for bhyve's machines [default: that of the default
    /// route].
    #[arg(long, value_name = "INTERFACE")]
    uplink: Option<String>,
    /// File that describes existing machines, for ssh: a table for each of router,
    /// client1, client2 and server, with host, and optionally user, port, identity (the
    /// private key) and interfaces.
    #[arg(long, value_name = "FILE", conflicts_with = "hosts")]
    inventory: Option<PathBuf>,
    /// Host of a machine, for ssh; repeat for router, client1, client2 and server.
    #[arg(long = "host", value_name = "ROLE=HOST", value_parser = host)]
    hosts: Vec<(Role, String)>,
}

fn host(text: &str) -> Result<(Role, String), String> {
    match text.split_once('=') {
        // ssh would take a leading `-` as an option.
        Some((role, host)) if !host.is_empty() && !host.starts_with('-') => {
            Ok((role.parse()?, host.to_owned()))
        }
        _ => Err("expected ROLE=HOST, such as router=10.0.0.1".to_owned()),
    }
}

/// Runs the subcommand.
pub fn run(args: &TestbedArgs) -> anyhow::Result<Done> {
    match &args.command {
        #[cfg(target_os = "linux")]
        TestbedCommand::Run(args) => return run::run(args, cancel::flag()?),
        TestbedCommand::Up(args) => up(args),
        TestbedCommand::Status(args) => status(&args.options),
        TestbedCommand::Stop(args) => {
            perform(&args.options, plan(&args.options)?, |t, host| t.stop(host))
        }
        TestbedCommand::Start(args) => {
            perform(&args.options, plan(&args.options)?, |t, host| t.start(host))
        }
        TestbedCommand::Snapshot(args) => {
            perform(&args.options, plan(&args.options)?, |t, host| {
                t.snapshot(host)
            })
        }
        TestbedCommand::Collect(args) => collect(args),
        TestbedCommand::Reset(args) => {
            perform(&args.options, plan(&args.options)?, |t, host| t.reset(host))
        }
        TestbedCommand::Down(args) => {
            perform(&args.options, plan(&args.options)?, |t, host| t.down(host))
        }
    }?;
    Ok(Done::Finished)
}

fn up(args: &UpArgs) -> anyhow::Result<()> {
    let read =
        |path: &PathBuf| fs::read(path).with_context(|| format!("{}: cannot be read", shown(path)));
    let plan = Plan {
        settings: args.settings.as_ref().map(read).transpose()?,
        keys: args.key.as_ref().map(read).transpose()?,
        host_keys: HostKeys::AcceptNew,
        ..plan(&args.options)?
    };
    let timeout = Duration::from_nanos(args.timeout);
    let (dry_run, provider) = (args.options.dry_run, args.options.provider.name());
    perform(&args.options, plan, |testbed, host| {
        testbed.up(host)?;
        if dry_run || timeout.is_zero() {
            return Ok(());
        }
        note!("waiting for the machines; a first boot takes a few minutes");
        testbed.wait(host, timeout, &mut |role| note!("{role} answers"))
    })?;
    if !dry_run && timeout.is_zero() {
        note!("l4sllm testbed status --provider {provider} shows the addresses of the machines");
    }
    Ok(())
}

fn collect(args: &CollectArgs) -> anyhow::Result<()> {
    let dry_run = args.options.dry_run;
    perform(&args.options, plan(&args.options)?, |testbed, host| {
        testbed.collect(host, &args.out, &mut |collected| {
            let Collected {
                role,
                earlier,
                failures,
            } = collected;
            match earlier {
                _ if dry_run => {}
                true => note!("{role}: kept, collected earlier"),
                false => note!("{role}: collected"),
            }
            for failure in failures {
                errln!("warning: {role}: {failure}");
            }
        })
    })
}

fn plan(args: &Options) -> anyhow::Result<Plan> {
    let dir = std::path::absolute(&args.dir)
        .with_context(|| format!("{}: has no absolute path", shown(&args.dir)))?;
    if dir.to_str().is_none_or(|dir| dir.contains([',', '\n'])) {
        bail!(
            "{}: hypervisors accept no commas, line breaks or invalid UTF-8 in paths",
            shown(&dir)
        );
    }
    if args.inventory.is_some() && args.provider != Kind::Ssh {
        bail_usage!("--inventory: only for --provider ssh; others know their machines");
    }
    Ok(Plan {
        dir,
        cpus: args.cpus,
        memory: args.memory,
        settings: None,
        keys: None,
        host_keys: HostKeys::Strict,
    })
}

fn provider(args: &Options, plan: &Plan) -> Result<Box<dyn Provider>, Error> {
    Ok(match args.provider {
        Kind::Qemu => Box::new(Qemu::new(plan, &args.accelerator)),
        Kind::VirtualBox => Box::new(VirtualBox::new(plan)),
        Kind::Vmware => Box::new(Vmware::new(plan, &args.product)),
        Kind::Bhyve => Box::new(Bhyve::new(plan, args.uplink.as_deref())),
        Kind::Ssh => {
            let addresses = match &args.inventory {
                Some(file) => Inventory::read(file)?.addresses(),
                None => {
                    let root = |(role, host): &(Role, String)| (*role, Address::root(host, None));
                    args.hosts.iter().map(root).collect::<BTreeMap<_, _>>()
                }
            };
            Box::new(Ssh::new(plan, addresses)?)
        }
    })
}

fn perform(
    args: &Options,
    plan: Plan,
    step: impl FnOnce(&Testbed<'_>, &mut dyn Host) -> Result<(), Error>,
) -> anyhow::Result<()> {
    let provider = provider(args, &plan)?;
    let testbed = testbed(&*provider, &plan, args.provider);
    if args.dry_run {
        let mut text = Vec::new();
        step(&testbed, &mut DryRun::new(&mut text))?;
        crate::output::print(&String::from_utf8_lossy(&text))?;
    } else {
        step(&testbed, &mut System)?;
    }
    Ok(())
}

fn testbed<'a>(provider: &'a dyn Provider, plan: &'a Plan, kind: Kind) -> Testbed<'a> {
    Testbed {
        provider,
        plan,
        dir: machines(&plan.dir, kind),
    }
}

/// The ssh command for a login by hand.
fn login(address: &Address) -> String {
    let mut ssh = "ssh".to_owned();
    if let Some(identity) = &address.identity {
        ssh += &format!(" -i {}", shell_word(&identity.to_string_lossy()));
    }
    if let Some(port) = address.port {
        ssh += &format!(" -p {port}");
    }
    ssh + &format!(" {}@{}", address.user, address.host)
}

fn status(args: &Options) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let provider = provider(args, &plan)?;
    let testbed = testbed(&*provider, &plan, args.provider);
    if args.dry_run {
        bail_usage!("--dry-run: status changes nothing and has no dry run");
    }
    for machine in testbed.status(&mut System)? {
        let state = machine
            .state
            .map(|state| state.to_string())
            .unwrap_or_default();
        let ssh = machine.address.as_ref().map(login);
        let line = format!(
            "{:<8} {state:<8} {}",
            machine.role.name(),
            ssh.unwrap_or_default()
        );
        outln!("{}", line.trim_end())?;
    }
    Ok(())
}
