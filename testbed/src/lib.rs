//! A discrete-event testbed around the kernel's queue source.
//!
//! A [`scenario`] describes what to emulate; [`experiment::run`] runs its arms and
//! repetitions into a directory, which [`result`] describes and the report crate
//! draws. One repetition is a [`sim::Simulation`]: endpoints of [`transport`] send
//! segments through the links of [`net`] and the bottleneck's queue, which is the
//! kernel's ([`router`]) or a baseline ([`aqm`]), while [`control`] runs the daemon's
//! pipeline in virtual time. [`device`] serves the same queue to other processes in
//! real time. A [`suite`] evaluates policies on families of conditions; a [`rollout`]
//! is a run for training one; a [`drill`] is one in which something goes wrong.

pub mod aqm;
pub mod capture;
pub mod control;
pub mod device;
pub mod drill;
pub mod experiment;
mod json_lines;
pub mod net;
mod program;
pub mod published;
pub mod result;
pub mod rollout;
pub mod router;
pub mod scenario;
pub mod sim;
pub mod suite;
pub mod transport;
mod workers;

pub use json_lines::JsonLinesError;
