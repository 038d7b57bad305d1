//! The published kernel log of decisions.
//!
//! The authors' kernel prints one line per decision with `printf(9)`, to which syslogd(8) adds a
//! prefix:
//!
//! ```text
//! Nov 20 10:11:12 router kernel: l4s_ecn_marking-start,0,15000, … ,1500,1,end
//! ```
//!
//! Any word that ends in `ecn_marking-start` begins a line, 24 unsigned
//! decimal numbers follow, `,end` ends it.  The prefix may be missing (dmesg)
//! or in the form of RFC 5424.  [`FIELDS`] names the numbers; their units:
//!
//! | fields | unit |
//! |---|---|
//! | `queue_type` | 0 classic, 1 L4S |
//! | `qdelay_reference`, `tupdate`, `max_burst`, `burst_allowance`, `current_queue_delay`, `previous_queue_delay`, `average_dequeue_time` | µs |
//! | `drop_probability`, `accumulated_probability` | Q31: 2³¹ − 1 is one |
//! | `alpha`, `beta` | 2⁻¹³ Hz |
//! | `total_packets`, `queue_length`, `total_drops` | packets |
//! | `dequeue_count`, `total_bytes`, `length_in_bytes`, `packet_length` | bytes |
//! | `dequeue_action` | the action's code and one: 1 enqueue, 2 drop, 3 mark |
//! | `max_ecn_threshold`, `flags`, `measurement_start_time`, `status_flags` | the writer's: Q13, PIE's flags and µs modulo 2³² from the authors' kernel; Q31, `L4S_FLAG_*`, ns and `L4S_STATUS_*` in lines made of records.  They are not features. |
//!
//! An [`Entry`] holds the numbers exactly as in the line, so that entries survive reading and
//! writing unchanged.
//!
//! **Damage is normal**: lines of two kernels are interleaved, syslogd is killed, files are
//! rotated, the message buffer overflows. [`LogReader`] uses intact entries, counts the rest by
//! [`Fault`] and shows the first few. A line that lost its middle may accidentally have 24 numbers;
//! range checks detect most of those.
//!
//! **Time**: the entry has none (`measurement_start_time` is when the controller was last enabled).
//! The prefix has one, in one of the forms of [`Stamp`], with a resolution of a second or a
//! fraction. [`Clock`] maps them to one time line. Rows of the same second have the same time, in
//! file order. Entries without a readable time are counted.
//!
//! **Machines**: the prefix names the host, and [`LogReader`] returns one host after another. Each
//! has a separate clock.
//!
//! **Files**: [`oldest_first`] orders rotated files by their names or, if names do not determine
//! the order, by their first stamps.

mod civil;
mod clock;
mod entry;
mod host;
mod lines;
mod order;
mod read;
mod rotation;
mod stamp;
mod tally;
pub(crate) mod unpack;
mod write;

pub use clock::{Clock, ClockOptions, NoSuchDay, Tick};
pub use entry::{Entry, FIELDS, Fault, Scan};
pub use order::{Conflict, LogFile, Order, oldest_first};
pub use read::{LogError, LogReader, Logged, Run};
pub use stamp::Stamp;
pub use tally::{Place, Shown, Tally};
pub use write::LogWriter;
