//! Programs of a machine in one ssh session. They end with the session's input, so
//! also if this program is killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use l4sllm_model::text::shell_word;

use crate::{Error, Invocation};

/// Directory for files of programs, relative to that of the login.
pub(crate) const DIR: &str = "l4sllm-run";
/// Printed by a machine when its programs run.
const READY: &str = "l4sllm: ready";
/// Checks for readiness, ten a second.
const CHECKS: u32 = 300;
/// Time between SIGTERM and SIGKILL, s: iperf3 and tcpdump write their last output.
const GRACE: u32 = 10;

/// A program on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Name of its files of output, `NAME.out` and `NAME.err`.
    pub name: String,
    /// Time from the start of the session to its own.
    pub delay: Duration,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// Programs of one machine that start together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The programs.
    pub programs: Vec<Program>,
    /// A command that succeeds once they are ready; empty: they are at once.
    pub check: Vec<String>,
}

impl Group {
    /// Returns the names of its programs.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.programs.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    }

    /// Returns the POSIX shell script of the group. It prints a line when the
    /// programs are ready, ends when all have ended, and fails if one has failed
    /// before the end of its standard input, which ends all of them, with SIGKILL
    /// after [`GRACE`].
    pub(crate) fn script(&self) -> String {
        self.script_within(GRACE)
    }

    fn script_within(&self, grace: u32) -> String {
        // The standard input of background commands is /dev/null.
        let mut text = format!("exec 3<&0\ncd {DIR} || exit 1\nrm -f .ended\npids=\n");
        for program in &self.programs {
            let name = shell_word(&program.name);
            text += &format!(
                "{{ sleep {}; exec {}; }} </dev/null 3<&- >{name}.out 2>{name}.err &\n\
                 pids=\"$pids $!\"\n",
                program.delay.as_secs_f64(),
                words(&program.command)
            );
        }
        // The watcher is killed as soon as all programs have ended.
        text += &format!(
            "{{ cat <&3; : >.ended; kill $pids; sleep {grace}; kill -9 $pids; }} \
             >/dev/null 2>&1 &\nwatcher=$!\nexec 3<&-\n"
        );
        if !self.check.is_empty() {
            text += &format!(
                "checks=0\n\
                 until {} >/dev/null 2>&1; do\n\
                 checks=$((checks + 1))\n\
                 if [ $checks = {CHECKS} ] || [ -e .ended ] || ! kill -0 $pids; then\n\
                 kill $watcher $pids\n\
                 echo 'the programs did not become ready' >&2\n\
                 tail -n 1 ./*.err >&2\n\
                 exit 1\n\
                 fi\n\
                 sleep 0.1\n\
                 done\n",
                words(&self.check)
            );
        }
        text += &format!("echo '{READY}'\n");
        text += "failed=0\n\
                 for pid in $pids; do\n\
                 wait $pid\n\
                 status=$?\n\
                 [ $status = 0 ] || [ -e .ended ] || failed=$status\n\
                 done\n\
                 kill $watcher 2>/dev/null\n\
                 [ $failed = 0 ] || tail -n 1 ./*.err >&2\n\
                 exit $failed\n";
        text
    }
}

fn words(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| shell_word(word)).collect();
    words.join(" ")
}

/// A running session. Dropping it ends its programs.
#[derive(Debug)]
pub struct Session {
    child: Child,
    /// Its programs, for errors: the script is long.
    name: String,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Starts the session `name` and waits until its programs are ready.
    ///
    /// # Errors
    /// It cannot be started, or ends before.
    pub(crate) fn start(invocation: &Invocation, name: &str) -> Result<Session, Error> {
        let spawned = Command::new(&invocation.program)
            .args(&invocation.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|source| Error::Spawn {
            program: invocation.program.clone(),
            source,
        })?;
        let output = child.stdout.take().expect("standard output is a pipe");
        let mut session = Session {
            child,
            name: name.to_owned(),
            output: BufReader::new(output),
        };
        let mut line = String::new();
        while session
            .output
            .read_line(&mut line)
            .is_ok_and(|read| read > 0)
        {
            if line.trim_end() == READY {
                return Ok(session);
            }
            line.clear();
        }
        Err(match session.wait() {
            Err(error) => error,
            Ok(()) => Error::Unexpected {
                invocation: session.name.clone(),
                expected: READY,
                found: line,
            },
        })
    }

    /// Waits until all programs have ended.
    ///
    /// # Errors
    /// One of them failed, or the connection did.
    pub fn wait(&mut self) -> Result<(), Error> {
        let mut message = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // Not text after a failure of the connection only.
            let _ = errors.read_to_string(&mut message);
        }
        let status = self.child.wait().map_err(|source| Error::Spawn {
            program: self.name.clone(),
            source,
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::Failed {
                invocation: self.name.clone(),
                status: status.to_string(),
                code: status.code(),
                message: message.split_whitespace().collect::<Vec<_>>().join(" "),
            }),
        }
    }

    /// Ends the programs, with SIGKILL if SIGTERM is not enough, and waits for their
    /// end.
    ///
    /// # Errors
    /// One of them failed before, or the connection did.
    pub fn end(&mut self) -> Result<(), Error> {
        drop(self.child.stdin.take());
        self.wait()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The machine sees the end of the input.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::path::Path;

    use super::*;

    fn program(name: &str, script: &str) -> Program {
        Program {
            name: name.to_owned(),
            delay: Duration::ZERO,
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        }
    }

    /// Runs a group in a directory of this computer.
    fn start(dir: &Path, group: &Group) -> Result<Session, Error> {
        start_script(dir, group, &group.script())
    }

    fn start_script(dir: &Path, group: &Group, script: &str) -> Result<Session, Error> {
        fs::create_dir_all(dir.join(DIR)).unwrap();
        let script = format!("cd {}\n{script}", dir.display());
        Session::start(&Invocation::new("sh", ["-c", &script]), &group.name())
    }

    fn group(programs: Vec<Program>, check: &[&str]) -> Group {
        Group {
            programs,
            check: check.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn a_session_ends_when_its_programs_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let programs = vec![
            program("a", "echo one"),
            program("b", "echo it\\'s two >&2"),
        ];
        start(dir.path(), &group(programs, &[]))
            .unwrap()
            .wait()
            .unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(DIR).join(name)).unwrap();
        assert_eq!(
            (read("a.out"), read("b.err")),
            ("one\n".into(), "it's two\n".into())
        );
    }

    #[test]
    fn programs_end_with_the_input_of_the_session() {
        let dir = tempfile::tempdir().unwrap();
        // It would never end by itself: the pipe has a writer.
        let endless = "mkfifo pipe; exec 4<>pipe; trap 'echo ended >end; exit' TERM; : >runs\n\
                       read x <&4 & wait";
        let programs = vec![program("endless", endless)];
        let ready = group(programs, &["test", "-e", "runs"]);
        let mut session = start(dir.path(), &ready).unwrap();
        session.end().unwrap();
        assert!(dir.path().join(DIR).join("end").exists());
    }

    #[test]
    fn programs_that_ignore_sigterm_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        // The pipe has a writer, so the read never ends, and its shell ignores SIGTERM.
        let stubborn = "trap '' TERM; mkfifo pipe; exec 4<>pipe; : >runs; read x <&4; : >end";
        let polite = "trap ': >polite; exit' TERM; exec 4<>pipe2; read x <&4 & wait";
        let programs = vec![
            program("stubborn", stubborn),
            program("polite", &format!("mkfifo pipe2; : >runs2; {polite}")),
        ];
        let ready = group(programs, &["sh", "-c", "test -e runs && test -e runs2"]);
        let mut session = start_script(dir.path(), &ready, &ready.script_within(1)).unwrap();
        session.end().unwrap();
        assert!(!dir.path().join(DIR).join("end").exists());
        assert!(dir.path().join(DIR).join("polite").exists());
    }

    #[test]
    fn failures_have_the_last_line_of_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let programs = vec![program("bad", "echo first >&2; echo no device >&2; exit 3")];
        let error = start(dir.path(), &group(programs, &[])).unwrap().wait();
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "bad: exit status: 3: no device");
    }

    #[test]
    fn programs_that_end_are_not_waited_for_to_become_ready() {
        let dir = tempfile::tempdir().unwrap();
        let programs = vec![program("bad", "echo no device >&2; exit 3")];
        let error = start(dir.path(), &group(programs, &["false"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("did not become ready no device"), "{error}");
    }
}
