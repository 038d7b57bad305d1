//! The `l4sllm` command.

// `println!` panics if the reader of the output has exited, `eprintln!` if
// standard error is full; `outln!` and `errln!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "torch")]
mod backbone;
mod bench;
mod cancel;
mod collect;
mod columns;
mod completions;
mod demo;
#[cfg(feature = "remote")]
mod descriptors;
mod device;
mod doctor;
mod drill;
mod duration;
mod engine;
mod eval;
mod export;
mod format;
mod judge;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(feature = "torch")]
mod latency;
#[cfg(not(feature = "torch"))]
mod libtorch;
mod live;
mod output;
mod pcap;
mod policy;
mod pool;
#[cfg(target_os = "linux")]
mod prague;
#[cfg(feature = "torch")]
mod published;
mod replay;
mod report;
#[cfg(feature = "torch")]
mod reproduce;
#[cfg(target_os = "linux")]
mod router;
mod run;
mod scenario;
#[cfg(feature = "remote")]
mod serve;
mod shipped;
mod status;
mod student;
mod suite;
mod testbed;
mod threads;
mod top;
#[cfg(feature = "torch")]
mod train;
#[cfg(not(feature = "remote"))]
mod unbuilt;
mod validate;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use output::Done;

/// Learned queue management for L4S: run experiments, report results, train and inspect
/// policies, query a running daemon.
#[derive(Debug, Parser)]
#[command(name = "l4sllm", version = version::VERSION, propagate_version = true)]
#[command(after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print more on standard error: the files and policies used.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Print no progress and no notes on standard error; errors and warnings remain.
    #[arg(short, long, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed, with one line on standard error; doctor: found something to fix;
       bench: an aim was missed
  2    invalid command line
  130  interrupted; finished output is on disk and valid

Examples:
  l4sllm demo
  l4sllm scenarios list
  l4sllm run paper --out out/paper
  l4sllm policy info default
  l4sllm device serve /tmp/l4sllm-device.sock";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
    #[command(visible_alias = "scenarios")]
    Scenario(scenario::ScenarioArgs),
    Suite(suite::SuiteArgs),
    Validate(validate::ValidateArgs),
    Bench(bench::BenchArgs),
    Collect(collect::CollectArgs),
    Pool(pool::PoolArgs),
    #[cfg(feature = "torch")]
    Train(Box<train::TrainArgs>),
    /// Train a policy on experience pools. Requires a build with libtorch.
    #[cfg(not(feature = "torch"))]
    Train(libtorch::Missing),
    #[cfg(feature = "torch")]
    Reproduce(reproduce::ReproduceArgs),
    /// Train on the published experience pool and report the scores. Requires a build
    /// with libtorch.
    #[cfg(not(feature = "torch"))]
    Reproduce(libtorch::Missing),
    #[cfg(feature = "torch")]
    Published(published::PublishedArgs),
    /// Train the published backbones at full size, and draw the report. Requires a build
    /// with libtorch.
    #[cfg(not(feature = "torch"))]
    Published(libtorch::Missing),
    Eval(eval::EvalArgs),
    #[command(visible_alias = "policies")]
    Policy(policy::PolicyArgs),
    #[cfg(feature = "torch")]
    Backbone(backbone::BackboneArgs),
    /// Inspect, run, create and merge Hugging Face models. Requires a build with
    /// libtorch
    #[cfg(not(feature = "torch"))]
    Backbone(libtorch::Missing),
    Device(device::DeviceArgs),
    Student(student::StudentArgs),
    #[cfg(feature = "remote")]
    Serve(serve::ServeArgs),
    /// Serve a policy to daemons on other hosts. Requires a build with feature `remote`.
    #[cfg(not(feature = "remote"))]
    Serve(unbuilt::Unbuilt),
    Drill(drill::DrillArgs),
    #[cfg(target_os = "linux")]
    Router(router::RouterArgs),
    #[cfg(target_os = "linux")]
    Lab(lab::LabArgs),
    #[cfg(target_os = "linux")]
    Prague(prague::PragueArgs),
    Testbed(testbed::TestbedArgs),
    Status(status::StatusArgs),
    Replay(replay::ReplayArgs),
    Top(top::TopArgs),
    Live(live::LiveArgs),
    Doctor(doctor::DoctorArgs),
    Version(version::VersionArgs),
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => {
            output::set_verbosity(cli.verbose, cli.quiet);
            cli.command
        }
        Err(error) => return ExitCode::from(output::usage(&error)),
    };
    let done = dispatch(command);
    shipped::remove();
    match done {
        Ok(Done::Finished) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(130),
        Ok(Done::Unhealthy) => ExitCode::FAILURE,
        // The reader closed the output; this is not an error.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::errln!("l4sllm: {}", output::chain(&error));
            match error.is::<output::UsageError>() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<Done> {
    let finished = |()| Done::Finished;
    match command {
        Command::Run(args) => run::run(&args, cancel::flag()?),
        Command::Demo(args) => demo::run(&args, cancel::flag()?),
        Command::Report(args) => report::run(&args).map(finished),
        Command::Export(args) => export::run(&args).map(finished),
        Command::Scenario(args) => scenario::run(&args).map(finished),
        Command::Suite(args) => suite::run(&args, cancel::flag()?),
        Command::Validate(args) => validate::run(&args, cancel::flag()?),
        Command::Bench(args) => bench::run(&args, cancel::flag()?),
        Command::Pool(args) => {
            let cancel = cancel::flag_or_exit()?;
            match (pool::run(&args, cancel), Done::of(cancel)) {
                (Err(error), Done::Interrupted) => {
                    output::errln!("l4sllm: {}", output::chain(&error));
                    Ok(Done::Interrupted)
                }
                (result, done) => result.map(|()| done),
            }
        }
        Command::Collect(args) => stoppable(|cancel| collect::run(&args, cancel)),
        #[cfg(feature = "torch")]
        Command::Train(args) => stoppable(|cancel| train::run(&args, cancel)),
        #[cfg(feature = "torch")]
        Command::Published(args) => published::run(&args, cancel::flag()?),
        #[cfg(feature = "torch")]
        Command::Reproduce(args) => stoppable(|cancel| reproduce::run(&args, cancel)),
        Command::Eval(args) => eval::run(&args).map(finished),
        Command::Policy(args) => policy::run(&args),
        #[cfg(feature = "torch")]
        Command::Backbone(args) => backbone::run(&args).map(finished),
        #[cfg(not(feature = "torch"))]
        Command::Train(args) => args.refuse("train").map(finished),
        #[cfg(not(feature = "torch"))]
        Command::Reproduce(args) => args.refuse("reproduce").map(finished),
        #[cfg(not(feature = "torch"))]
        Command::Published(args) => args.refuse("published").map(finished),
        #[cfg(not(feature = "torch"))]
        Command::Backbone(args) => args.refuse("backbone").map(finished),
        Command::Device(args) => device::run(&args).map(finished),
        #[cfg(feature = "remote")]
        Command::Serve(args) => serve::run(&args, cancel::signals()?).map(finished),
        #[cfg(not(feature = "remote"))]
        Command::Serve(args) => args.refuse("serve").map(finished),
        Command::Drill(args) => drill::run(&args, cancel::flag()?),
        #[cfg(target_os = "linux")]
        Command::Router(args) => router::run(&args).map(finished),
        #[cfg(target_os = "linux")]
        Command::Lab(args) => lab::run(&args, cancel::flag()?),
        #[cfg(target_os = "linux")]
        Command::Prague(args) => prague::run(&args, cancel::flag()?).map(finished),
        Command::Testbed(args) => testbed::run(&args),
        Command::Status(args) => status::run(&args).map(finished),
        Command::Replay(args) => replay::run(&args),
        Command::Top(args) => top::run(&args).map(finished),
        Command::Live(args) => live::run(&args).map(finished),
        Command::Doctor(args) => doctor::run(&args),
        Command::Student(args) => student::run(&args).map(finished),
        Command::Version(args) => version::run(&args).map(finished),
        Command::Completions(args) => completions::run(&args, Cli::command()).map(finished),
    }
}

/// For work that ends early when interrupted without reporting it.
fn stoppable(
    work: impl FnOnce(&std::sync::atomic::AtomicBool) -> anyhow::Result<()>,
) -> anyhow::Result<Done> {
    let cancel = cancel::flag()?;
    work(cancel)?;
    Ok(Done::of(cancel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// A command and its subcommands, by their full names.
    fn commands_below(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        let inner = command.get_subcommands();
        let inner =
            inner.flat_map(|inner| commands_below(inner, &format!("{name} {}", inner.get_name())));
        std::iter::once((name.to_owned(), command.clone()))
            .chain(inner)
            .collect()
    }

    #[test]
    fn every_command_has_help_and_examples() {
        let mut without = Vec::new();
        for (name, mut command) in commands_below(&Cli::command(), "l4sllm") {
            assert!(command.get_about().is_some(), "{name}");
            let help = command.render_long_help().to_string();
            // Builds without libtorch or the feature show such commands.
            let is_stub = help.contains("scripts/libtorch.sh") || help.contains("l4sllmd/remote");
            if !is_stub && !help.contains(&format!("  {name}")) {
                without.push(name);
            }
        }
        assert_eq!(without, [""; 0], "help without an example");
    }

    #[test]
    fn help_fits_80_columns() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for (name, mut command) in commands_below(&Cli::command(), "l4sllm") {
            for help in [command.render_long_help(), command.render_help()] {
                let help = help.to_string();
                let fitted = columns::fit(&help, 80);
                let widest = fitted.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(80), "{name}: {fitted}");
                assert_eq!(words(&fitted), words(&help), "{name}");
            }
        }
    }
    /// `l4sllm` commands of the shell examples in a document, as words.
    fn commands(document: &str) -> Vec<Vec<String>> {
        let blocks = document.split("```sh\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let joined: String = blocks.collect::<String>().replace("\\\n", " ");
        let mut found = Vec::new();
        for line in joined.lines() {
            let line = line.trim_start_matches("$ ");
            let ends = ["#", ">", "|", "&", ";"];
            let words = line.split_whitespace();
            let words = words.take_while(|word| !ends.iter().any(|end| word.starts_with(end)));
            let words: Vec<String> = words.map(str::to_owned).collect();
            if words.first().is_some_and(|name| name == "l4sllm") {
                found.push(words);
            }
        }
        found
    }

    #[test]
    fn the_commands_in_documents_are_valid() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, least) in [("README.md", 20), ("FIRST_HOUR.md", 10)] {
            let text = std::fs::read_to_string(root.join(name)).unwrap();
            let commands = commands(&text);
            assert!(commands.len() >= least, "{name}: {commands:?}");
            for words in commands {
                if let Err(error) = Cli::command().try_get_matches_from(&words) {
                    panic!("{name}: {}: {error}", words.join(" "));
                }
            }
        }
    }
}
