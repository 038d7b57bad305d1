//! A lab on one Linux machine: scenarios with the traffic of real hosts.
//!
//! ```text
//! namespace client            the lab's process            namespace server
//! iperf3 -c, ping ── l4s0 ── queue, link, delays ── l4s1 ── iperf3 -s
//!                                   │ Unix socket
//!                                l4sllmd
//! ```
//!
//! [`Lab`] runs the repetitions of a scenario into the emulator's result
//! directory. A [`Topology`] is the two namespaces, which have no other
//! interfaces, so no packet leaves them. Programs that the lab starts end
//! with it, even if it is killed; namespaces that a killed lab leaves are
//! removed by [`clean`], which every start calls.

pub mod compare;
pub mod convert;
mod daemon;
pub mod drill;
mod error;
mod experiment;
mod host;
pub mod iperf;
mod ping;
pub mod prague;
mod process;
mod recorder;
mod repetition;
mod standing;
mod tool;
mod topology;
mod traffic;

pub use daemon::{Daemon, configuration};
pub use error::LabError;
pub use experiment::{Lab, Progress};
pub use host::{Host, Os, Requirement};
pub use ping::RoundTrips;
pub use process::Process;
pub use recorder::Recorder;
pub use repetition::Precision;
pub use standing::Standing;
pub use topology::{Topology, clean};
pub use traffic::{Kind, Sender, senders};
