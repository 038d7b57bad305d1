//! The computer that runs the hypervisor: its programs and files, or a stand-in.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use l4sllm_model::text::shell_word;

use crate::{Error, Session};

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Name of the program, found in PATH.
    pub program: String,
    /// Its arguments, each as the program gets it.
    pub arguments: Vec<String>,
}

impl Invocation {
    /// Creates an invocation of `program` with `arguments`.
    pub fn new<A: Into<String>>(
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Invocation {
        Invocation {
            program: program.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// Appends arguments.
    #[must_use]
    pub fn and<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Invocation {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }
}

/// Formats the command line with the quoting of a POSIX shell.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shell_word(&self.program))?;
        for argument in &self.arguments {
            write!(f, " {}", shell_word(argument))?;
        }
        Ok(())
    }
}

/// The operations of a testbed on a computer. Queries return `None` on hosts
/// that do not inspect the computer, such as [`DryRun`].
pub trait Host {
    /// Runs a program and waits until it exits.
    fn run(&mut self, invocation: &Invocation) -> Result<(), Error>;
    /// Returns the standard output of a program that changes nothing.
    fn ask(&mut self, invocation: &Invocation) -> Result<Option<String>, Error>;
    /// Writes the standard output of a program that changes nothing to a file.
    fn save(&mut self, invocation: &Invocation, path: &Path) -> Result<(), Error>;
    /// Starts a session with a name for errors, and waits until its programs are ready; `None` on hosts that
    /// run nothing.
    fn start(&mut self, invocation: &Invocation, name: &str) -> Result<Option<Session>, Error>;
    /// Returns whether a program that changes nothing exits with 0.
    fn succeeds(&mut self, invocation: &Invocation) -> Result<Option<bool>, Error>;
    /// Returns whether a file exists.
    fn exists(&mut self, path: &Path) -> Option<bool>;
    /// Returns a file's text; `None` also if it does not exist.
    fn read(&mut self, path: &Path) -> Result<Option<String>, Error>;
    /// Creates or replaces a file.
    fn write(&mut self, path: &Path, contents: &[u8]) -> Result<(), Error>;
    /// Renames a file or directory.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error>;
    /// Creates a directory and its parents.
    fn make_dir(&mut self, path: &Path) -> Result<(), Error>;
    /// Removes a directory and its contents, if it exists.
    fn remove_dir(&mut self, path: &Path) -> Result<(), Error>;
    /// Returns the time of a monotonic clock.
    fn now(&mut self) -> Instant;
    /// Waits before the next attempt.
    fn pause(&mut self, time: Duration);
}

/// This computer.
#[derive(Debug, Default)]
pub struct System;

impl System {
    fn output(
        invocation: &Invocation,
        stdout: impl Into<Stdio>,
    ) -> Result<std::process::Output, Error> {
        Command::new(&invocation.program)
            .args(&invocation.arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .output()
            .map_err(|source| Error::Spawn {
                program: invocation.program.clone(),
                source,
            })
    }
}

impl Host for System {
    fn run(&mut self, invocation: &Invocation) -> Result<(), Error> {
        self.ask(invocation).map(drop)
    }

    fn ask(&mut self, invocation: &Invocation) -> Result<Option<String>, Error> {
        let output = System::output(invocation, Stdio::piped())?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        Err(unsuccessful(invocation, &output))
    }

    /// Deletes the file of a failed program without output.
    fn save(&mut self, invocation: &Invocation, path: &Path) -> Result<(), Error> {
        let unwritable = |error| failed(path, "cannot be written", error);
        let file = fs::File::create(path).map_err(unwritable)?;
        let output = System::output(invocation, file)?;
        if output.status.success() {
            return Ok(());
        }
        if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
            fs::remove_file(path).map_err(unwritable)?;
        }
        Err(unsuccessful(invocation, &output))
    }

    fn start(&mut self, invocation: &Invocation, name: &str) -> Result<Option<Session>, Error> {
        Session::start(invocation, name).map(Some)
    }

    fn succeeds(&mut self, invocation: &Invocation) -> Result<Option<bool>, Error> {
        let output = System::output(invocation, Stdio::piped())?;
        Ok(Some(output.status.success()))
    }

    fn exists(&mut self, path: &Path) -> Option<bool> {
        Some(path.exists())
    }

    fn read(&mut self, path: &Path) -> Result<Option<String>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, "cannot be read", error)),
        }
    }

    fn write(&mut self, path: &Path, contents: &[u8]) -> Result<(), Error> {
        l4sllm_model::files::replace(path, contents)
            .map_err(|error| failed(path, "cannot be written", error))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from, to).map_err(|error| failed(to, "cannot be replaced", error))
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), Error> {
        fs::create_dir_all(path).map_err(|error| failed(path, "cannot be made", error))
    }

    fn remove_dir(&mut self, path: &Path) -> Result<(), Error> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(path, "cannot be removed", error))
            }
            _ => Ok(()),
        }
    }

    fn now(&mut self) -> Instant {
        Instant::now()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn unsuccessful(invocation: &Invocation, output: &std::process::Output) -> Error {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // vmrun prints its errors to standard output.
    let said = text(&output.stderr) + &text(&output.stdout);
    Error::Failed {
        invocation: invocation.to_string(),
        status: output.status.to_string(),
        code: output.status.code(),
        message: said.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

/// A host that prints every command instead of running it, and inspects nothing.
#[derive(Debug)]
pub struct DryRun<W> {
    out: W,
}

impl<W: Write> DryRun<W> {
    /// Creates a host that prints to `out`.
    pub fn new(out: W) -> DryRun<W> {
        DryRun { out }
    }

    fn print(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.out, "{line}")
            .map_err(|error| failed(Path::new("standard output"), "cannot be written", error))
    }
}

impl<W: Write> Host for DryRun<W> {
    fn run(&mut self, invocation: &Invocation) -> Result<(), Error> {
        self.print(&invocation.to_string())
    }

    fn ask(&mut self, _: &Invocation) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn save(&mut self, invocation: &Invocation, path: &Path) -> Result<(), Error> {
        let path = path.to_string_lossy();
        self.print(&format!("{invocation} >{}", shell_word(&path)))
    }

    fn start(&mut self, invocation: &Invocation, _: &str) -> Result<Option<Session>, Error> {
        self.run(invocation).map(|()| None)
    }

    fn succeeds(&mut self, _: &Invocation) -> Result<Option<bool>, Error> {
        Ok(None)
    }

    fn exists(&mut self, _: &Path) -> Option<bool> {
        None
    }

    fn read(&mut self, _: &Path) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn write(&mut self, path: &Path, contents: &[u8]) -> Result<(), Error> {
        self.print(&format!(
            "# writes {} ({} bytes)",
            path.display(),
            contents.len()
        ))?;
        let text = std::str::from_utf8(contents).unwrap_or_default();
        // A disk's bytes are of no use to a reader.
        for line in text.lines().filter(|_| !text.contains('\0')) {
            self.print(&format!("#   {line}"))?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let paths = [from.to_string_lossy(), to.to_string_lossy()];
        self.run(&Invocation::new("mv", paths))
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), Error> {
        self.run(&Invocation::new("mkdir", ["-p", &path.to_string_lossy()]))
    }

    fn remove_dir(&mut self, path: &Path) -> Result<(), Error> {
        self.run(&Invocation::new("rm", ["-rf", &path.to_string_lossy()]))
    }

    fn now(&mut self) -> Instant {
        Instant::now()
    }

    /// Does nothing: no attempt fails.
    fn pause(&mut self, _: Duration) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn sh(script: &str) -> Invocation {
        Invocation::new("sh", ["-c", script])
    }

    #[test]
    fn commands_are_printed_with_shell_quoting() {
        let words = [
            "plain-1.2:/=,@%+",
            "two words",
            "it's",
            "",
            "$(reboot)",
            "\\n",
        ];
        let printed = Invocation::new("printf", ["%s|"]).and(words).to_string();
        let output = System.ask(&sh(&printed)).unwrap();
        assert_eq!(
            output.unwrap(),
            words.map(|word| format!("{word}|")).concat()
        );
    }

    #[test]
    fn failures_include_the_command_and_its_output() {
        let error = System
            .run(&sh("echo out; echo no such machine >&2; exit 3"))
            .unwrap_err();
        let expected = "sh -c 'echo out; echo no such machine >&2; exit 3': \
                        exit status: 3: no such machine out";
        assert_eq!(error.to_string(), expected);
        assert_eq!(System.succeeds(&sh("exit 3")).unwrap(), Some(false));
        let error = System
            .run(&Invocation::new("no-such-program-here", ["x"]))
            .unwrap_err();
        let expected = "cannot start no-such-program-here; is it installed?";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn files_are_replaced_and_missing_ones_read_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/router.iso");
        assert_eq!(System.read(&path).unwrap(), None);
        System.make_dir(path.parent().unwrap()).unwrap();
        System.write(&path, b"one").unwrap();
        System.write(&path, b"two").unwrap();
        assert_eq!(System.read(&path).unwrap().unwrap(), "two");
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1);
        System.remove_dir(&dir.path().join("a")).unwrap();
        System.remove_dir(&dir.path().join("a")).unwrap();
        assert_eq!(System.exists(&path), Some(false));
    }

    #[test]
    fn dry_run_inspects_nothing_and_prints_its_writes() {
        let mut out = Vec::new();
        let mut host = DryRun::new(&mut out);
        assert_eq!(host.ask(&sh("exit 1")).unwrap(), None);
        assert_eq!(host.exists(Path::new("/")), None);
        host.run(&sh("exit 1")).unwrap();
        host.write(Path::new("/x.vmx"), b"memsize = \"2048\"\n")
            .unwrap();
        host.write(Path::new("/x.iso"), &[0; 4096]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "sh -c 'exit 1'\n# writes /x.vmx (17 bytes)\n\
                        #   memsize = \"2048\"\n# writes /x.iso (4096 bytes)\n";
        assert_eq!(text, expected);
    }
}
