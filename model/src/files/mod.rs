//! Files and directories, written and read so that neither an accident nor a
//! stranger does damage.
//!
//! The threat is a directory that others may write to, such as `/tmp`: a
//! symbolic link planted under a name that this program is going to write
//! must not direct the write elsewhere, and a crash must not leave half a file
//! under its final name.  So content goes into a temporary file in the same
//! directory, with an unpredictable name that is created and never opened
//! (`O_EXCL`), reaches the disk, and takes its place by one rename, which
//! replaces a link and does not follow it.  Directories on the way may be
//! links: where the user's own `out/` leads is the user's choice.
//!
//! | | content |
//! |---|---|
//! | [`replace`], [`create_new`] | in memory |
//! | [`AtomicFile`] | streamed |
//! | [`AtomicDir`] | a whole directory |
//! | [`open_append`] | added to an existing file |
//! | [`read_regular`] | read, bounded, from a regular file only |
//! | [`Claim`] | one program at a time in a directory |

mod atomic;
mod claim;
mod directory;
mod read;
mod temporary;

pub use atomic::{AtomicFile, Existing, create_new, remove_leftovers, replace};
pub use claim::{Claim, ClaimError};
pub use directory::AtomicDir;
pub use read::{open_append, open_regular, read_regular};
pub use temporary::remove_temporaries;
