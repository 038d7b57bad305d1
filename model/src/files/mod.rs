//! Files and directories, written and read safely against accidents and other
//! users.
//!
//! The threat is a directory that others may write to, such as `/tmp`: a
//! symbolic link planted under an output name must not redirect the write, and
//! a crash must not leave half a file under its final name. So content is
//! written to a temporary file in the same directory, created exclusively
//! (`O_EXCL`) under an unpredictable name, synced to disk, and renamed; the
//! rename replaces a link instead of following it. Directories in the path may
//! be links: the target of the user's own `out/` is the user's choice.
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
