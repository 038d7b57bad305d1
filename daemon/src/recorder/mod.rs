//! The flight recorder: the last minutes of messages, windows and decisions in a
//! bounded ring of files, from which `l4sllm replay` makes every decision again.
//!
//! A recording has everything that determines decisions: the messages of every
//! turn, its plan, the parameters of the device, changes of configuration, and,
//! at the start of each segment, the state of every window. Each segment can be
//! replayed without the others.
//!
//! ```text
//! worker ─ frames ─▶ bounded queue ─▶ thread ─▶ ring of 8 files
//!                    full: dropped, counted, then a checkpoint
//! ```
//!
//! The page cache of a killed process reaches the disk; that of a machine
//! without power may not, because nothing waits for fsync(2).

pub mod codec;
pub mod frame;
mod read;
pub mod ring;
mod writer;

pub use frame::{Bits, Checkpoint, Decided, EngineSpec, Frame, Turn};
pub use read::{ReadError, Segment, segments};
pub use writer::{Recorder, Recording, start};
