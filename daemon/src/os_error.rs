//! System errors with remedies.

use std::io;

use nix::errno::Errno;

/// A system error with its remedy, if known.
pub fn explain(error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => "this process has too many files open; raise its limit (limits(1))",
        Some(Errno::ENFILE) => "the system has too many files open; raise kern.maxfiles",
        Some(Errno::EACCES | Errno::EPERM) => {
            "run as root, or as the owner or a member of the group shown by ls -l"
        }
        Some(Errno::ELOOP) => {
            "a symbolic link is circular, or leaves a directory that it must not leave"
        }
        Some(Errno::ENOMEM | Errno::ENOBUFS) => "the system is short of memory",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_include_a_remedy() {
        for (errno, words) in [
            (Errno::EMFILE, "limits(1)"),
            (Errno::EACCES, "member of the group"),
            (Errno::ENOENT, "No such file"),
        ] {
            let text = explain(&errno.into());
            assert!(text.contains(words), "{text}");
        }
    }
}
