//! The published kernel log of decisions.
//!
//! The authors' kernel prints one line per decision, by `printf(9)`, which
//! syslogd(8) puts behind a prefix of its own:
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
//! | `max_ecn_threshold`, `flags`, `measurement_start_time`, `status_flags` | the writer's: Q13, PIE's flags and µs modulo 2³² from the authors' kernel; Q31, `L4S_FLAG_*`, ns and `L4S_STATUS_*` in lines made of records.  No feature is made of them. |
//!
//! An [`Entry`] holds the numbers as they stand in the line, so that what is
//! read is written as it was.
//!
//! **Damage is normal**: two kernels' lines run into one another, syslogd is
//! killed, files are rotated, the message buffer overflows.  [`LogReader`]
//! takes what is whole, counts the rest by [`Fault`] and shows the first few.
//! A line that lost its middle can by chance have 24 numbers; ranges catch
//! most of those.
//!
//! **Time**: the line has none of its own (`measurement_start_time` is when
//! the controller was last switched on).  The prefix has, in one of the forms
//! of [`Stamp`], in steps of a second or of its fraction.  [`Clock`] brings
//! them onto one time line.  A row gets that time, and rows of the same second
//! the same: their order is the file's.  Entries without a time that can be
//! read are counted.
//!
//! **Machines**: the prefix names the host, and [`LogReader`] hands out one
//! host after the other.  Each has a clock of its own.
//!
//! **Files**: [`oldest_first`] orders rotated files by their names and, where
//! names leave it open, by their first stamps.

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
