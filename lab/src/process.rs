//! Programs of the lab, in its namespaces. They end with the lab.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use l4sllm_router::Net;
use nix::libc;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::LabError;

/// Time after which a program that ignores a signal is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Interval between two looks at a program that should end.
const POLL: Duration = Duration::from_millis(5);

/// A running program, killed on drop. Its output goes to files.
///
/// The kernel kills it if the thread that started it ends: start programs from a
/// thread that outlives them.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `program` in the namespace `net`, or in that of the caller. Its
    /// output goes to `NAME.out` and `NAME.err` in `dir`.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn start<S: AsRef<str>>(
        net: Option<&Net>,
        dir: &Path,
        name: &str,
        program: &Path,
        arguments: &[S],
    ) -> Result<Process, LabError> {
        Process::start_with(net, dir, name, program, arguments, &[])
    }

    /// As [`Process::start`], with variables added to its environment.
    pub(crate) fn start_with<S: AsRef<str>>(
        net: Option<&Net>,
        dir: &Path,
        name: &str,
        program: &Path,
        arguments: &[S],
        environment: &[(String, String)],
    ) -> Result<Process, LabError> {
        let failed = |error: io::Error| LabError::Program {
            program: program.display().to_string(),
            reason: format!("cannot be started: {error}"),
        };
        let file = |kind| {
            let path = dir.join(format!("{name}.{kind}"));
            File::create(&path).map(|file| (path, file))
        };
        let (stdout, out) = file("out").map_err(failed)?;
        let (stderr, err) = file("err").map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(arguments.iter().map(AsRef::as_ref))
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        let net = net.map(Net::try_clone).transpose().map_err(failed)?;
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec, the closure makes system calls only.
        unsafe {
            command.pre_exec(move || enter(net.as_ref(), parent));
        }
        Ok(Process {
            name: name.to_owned(),
            child: command.spawn().map_err(failed)?,
            stdout,
            stderr,
        })
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal. A program that has ended is unaffected.
    pub fn signal(&mut self, signal: Signal) {
        // After a successful try_wait, the number may belong to another process.
        if self.ended().is_none() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // Fails only if it has ended.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Waits for its end; kills it after 5 s.
    pub fn wait(&mut self) {
        let until = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its standard output so far.
    pub fn output(&self) -> Vec<u8> {
        fs::read(&self.stdout).unwrap_or_default()
    }

    /// Its standard error so far.
    pub(crate) fn errors(&self) -> String {
        let bytes = fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The error for a program that ended early or printed something unexpected:
    /// `what`, with the last line that it printed.
    pub fn failure(&self, what: &str) -> LabError {
        let text = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (err, out) = (text(&self.stderr), text(&self.stdout));
        let last = |text: &str| text.trim().lines().last().map(str::to_owned);
        let said = last(&err).or_else(|| last(&out)).unwrap_or_default();
        LabError::Program {
            program: self.name.clone(),
            reason: format!("{what}: {said}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a sender or a receiver real-time, so that a busy host delays its traffic
/// less. They sleep most of the time. Without permission, nothing changes.
fn be_punctual() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: `parameters` is a live sched_param; 0 is this process.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &parameters) };
}

/// In the new process: enters the namespace and asks for a signal when the lab
/// ends.
fn enter(net: Option<&Net>, parent: Pid) -> io::Result<()> {
    if let Some(net) = net {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(net.as_fd(), network)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if net.is_some() {
        be_punctual();
    }
    // The lab may have ended in between.
    match rustix::process::getppid() == Some(parent) {
        true => Ok(()),
        false => Err(io::ErrorKind::Other.into()),
    }
}
