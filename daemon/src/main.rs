//! `l4sllmd`: reads queue records, decides with a policy, sends overrides.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use l4sllmd::config::{self, Config};
use l4sllmd::error::Error;
use l4sllmd::files::Files;
use l4sllmd::logging::LogControl;
use l4sllmd::run::{Daemon, Engines};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Reads queue records from dualpi2_llm, decides with a policy, and sends
/// overrides.
///
/// SIGHUP reloads configuration and policy; SIGTERM and SIGINT end the daemon.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Check configuration and policy, describe them, and exit.
    #[arg(long)]
    check: bool,
}

const EXIT_CODES: &str = "\
Exit status:
   0  ended by SIGTERM or SIGINT, or the check passed
   2  usage
  65  the policy cannot be loaded
  69  no device (is the module loaded?)
  70  internal error: the thread that decides ended
  71  signals, the event loop or the sandbox are unavailable, or the system is
      short of files or memory
  73  the status socket cannot be opened
  74  the stream of records is unusable
  75  the device disappeared, or another program controls it
  76  device and daemon have incompatible versions
  77  no permission
  78  the configuration is invalid";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.check {
        check(&arguments)
    } else {
        run(arguments)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Once the log is open, stderr must contain nothing else.
            if tracing::dispatcher::has_been_set() {
                tracing::error!(%error, exit_code = error.exit_code(), "ended");
            } else {
                eprintln!("l4sllmd: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn check(arguments: &Arguments) -> Result<(), Error> {
    let config = Config::load(&arguments.config)?;
    let engines = Engines::load(&config.engine, &Files::by_path())?;
    println!("{}: ok, {}", arguments.config.display(), engines.status());
    Ok(())
}

fn run(arguments: Arguments) -> Result<(), Error> {
    let runtime = event_loop().map_err(Error::Runtime)?;
    // Before loading the policy, which may take long, because a SIGHUP without
    // a handler would end the program.
    let hangups = {
        let _context = runtime.enter();
        signal(SignalKind::hangup()).map_err(Error::Signals)?
    };
    let config = Config::load(&arguments.config)?;
    let log = LogControl::start(config.log);
    let daemon = Daemon::new(arguments.config, config, log)?.with_hangups(hangups);
    let ended = runtime.block_on(daemon.run())?;
    if ended.abandoned {
        // SAFETY: no arguments. Exit handlers of libraries would free memory in
        // use by the thread that still computes; the log is not buffered.
        unsafe { nix::libc::_exit(0) };
    }
    Ok(())
}

/// Builds the event loop. tokio panics if there are no descriptors for its
/// signal sockets, so the same number is opened first as a test.
fn event_loop() -> std::io::Result<Runtime> {
    let spare = [
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
    ];
    drop(spare);
    Builder::new_current_thread().enable_all().build()
}
