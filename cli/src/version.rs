//! `l4sllm version`: versions of all parts that must be compatible.

use std::path::PathBuf;

use clap::Args;
use l4sllm_abi::{MESSAGE_SIZE, VERSIONS};
use l4sllm_model::text::shown;
use l4sllmd::config::DEFAULT_SOCKET;
use l4sllmd::os_error::explain;
use l4sllmd::status::ask;

use crate::output::print;

/// The version, with the commit if built from a checkout.
pub const VERSION: &str = env!("L4SLLM_VERSION");

/// Print the versions of this command, the interface, the daemon and the module.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm version")]
pub struct VersionArgs {
    /// The daemon's status socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Prints the versions or, if no daemon answers, the reason.
pub fn run(args: &VersionArgs) -> anyhow::Result<()> {
    let range = |(min, max): (u16, u16)| {
        if min == max {
            format!("{max}")
        } else {
            format!("{min} to {max}")
        }
    };
    let mut out = format!(
        "l4sllm    {}, interface {}, records of {MESSAGE_SIZE} bytes\n",
        VERSION,
        range(VERSIONS)
    );
    match ask(&args.socket) {
        Ok(status) => {
            out += &format!(
                "l4sllmd   {}, interface {}\n",
                status.version,
                range(status.abi)
            );
            out += &match (status.device.module, status.device.abi) {
                (Some(module), Some(abi)) => {
                    format!("module    {module}, interface {}\n", range(abi))
                }
                _ => format!("module    none at {}\n", status.device.path.display()),
            };
        }
        Err(error) => {
            let socket = shown(&args.socket);
            out += &format!("l4sllmd   no answer on {socket}: {}\n", explain(&error));
            out += "module    unknown: only the daemon can query it\n";
        }
    }
    print(&out)
}
