//! The result directory of a scenario, converted from the files of the machines.

use std::fs;
use std::path::{Path, PathBuf};

use l4sllm_lab::convert::Files;
use l4sllm_testbed::result::{Facts, LabFacts, MachinesFacts, ResultDir, ResultError};
use l4sllm_testbed::scenario::{Arm as ScenarioArm, Scenario};

use super::script::{Arm, freebsd};
use crate::output::errln;

/// Name of the result below the scenario's directory.
const RESULT: &str = "result";

/// The conversion of a scenario's repetitions.
pub struct Conversion<'a> {
    /// The network and its traffic.
    pub scenario: &'a Scenario,
    /// The arms of this run.
    pub arms: &'a [Arm],
    /// Repetitions of each arm.
    pub repetitions: u32,
    /// The command of this run.
    pub machines: MachinesFacts,
    /// The scenario's directory.
    pub dir: PathBuf,
    result: Option<ResultDir>,
    failures: u32,
}

impl<'a> Conversion<'a> {
    /// A conversion into `dir/result`.
    pub fn new(
        scenario: &'a Scenario,
        arms: &'a [Arm],
        repetitions: u32,
        machines: MachinesFacts,
        dir: &Path,
    ) -> Conversion<'a> {
        Conversion {
            scenario,
            arms,
            repetitions,
            machines,
            dir: dir.to_owned(),
            result: None,
            failures: 0,
        }
    }

    /// Converts a stored repetition that the result does not have. A repetition that
    /// cannot be converted is reported, and its files are kept.
    ///
    /// # Errors
    /// The result cannot be written.
    pub fn add(&mut self, arm: &Arm, number: u32, files: &Path) -> anyhow::Result<()> {
        let result = match self.result.take() {
            Some(result) => result,
            None => self.open(files)?,
        };
        if !result.is_finished(&arm.name, number) {
            let host = freebsd();
            let files = Files {
                scenario: self.scenario,
                arm: &arm.name,
                repetition: number,
                host: &host,
                dir: files,
            };
            let (name, arm) = (&self.scenario.name, &arm.name);
            match files.convert(&result) {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    errln!("warning: {name}, {arm}, repetition {number}: no flows: {reason}");
                }
                Err(error) => {
                    self.failures += 1;
                    errln!("error: {name}, {arm}, repetition {number}: {error}");
                }
            }
        }
        self.result = Some(result);
        Ok(())
    }

    /// Opens the result of this run; one of other arms or repetitions is replaced, since
    /// it is converted again from the same files.
    fn open(&self, files: &Path) -> anyhow::Result<ResultDir> {
        let path = self.dir.join(RESULT);
        match ResultDir::create(&path, self.facts(files), false) {
            Err(ResultError::Occupied { .. }) if path.join("facts.json").exists() => {
                Ok(ResultDir::create(&path, self.facts(files), true)?)
            }
            result => Ok(result?),
        }
    }

    fn facts(&self, files: &Path) -> Facts {
        let mut scenario = self.scenario.clone();
        scenario.repetitions = self.repetitions;
        let arm = |arm: &Arm| {
            let mut of = ScenarioArm::dualpi2(&arm.name, arm.params());
            of.control.clone_from(&arm.control);
            of
        };
        scenario.arms = self.arms.iter().map(arm).collect();
        let mut facts = scenario.facts();
        for arm in &mut facts.arms {
            arm.set_latency_ns = None;
        }
        let versions = fs::read_to_string(files.join("versions.txt")).unwrap_or_default();
        let (kernel, iperf) = systems(&versions);
        facts.lab = Some(LabFacts {
            kernel,
            iperf,
            machines: Some(self.machines.clone()),
        });
        facts
    }

    /// Writes the summary and the report; returns the report's path, or none if nothing
    /// was converted.
    ///
    /// # Errors
    /// They cannot be written, or repetitions could not be converted.
    pub fn finish(self) -> anyhow::Result<Option<PathBuf>> {
        let Some(result) = self.result else {
            return Ok(None);
        };
        result.write_pending()?;
        let path = result.path().to_owned();
        let report = match result.summary().arms.is_empty() {
            true => None,
            false => Some(l4sllm_report::render(&path)?),
        };
        anyhow::ensure!(
            self.failures == 0,
            "{}: {} repetitions could not be converted; their files are kept, and the command \
             can be repeated",
            self.scenario.name,
            self.failures
        );
        Ok(report.map(|report| report.page))
    }
}

/// Name and release of the system, and the version of iperf3, in the output of
/// `uname -a`, `l4sllm --version` and `iperf3 --version`.
fn systems(versions: &str) -> (String, String) {
    let words: Vec<&str> = versions.split_whitespace().take(3).collect();
    let kernel = match words[..] {
        [system, _host, release] => format!("{system} {release}"),
        _ => "unknown".to_owned(),
    };
    let mut lines = versions.lines();
    let iperf = lines.find(|line| line.starts_with("iperf "));
    (kernel, iperf.unwrap_or("iperf3").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_name_the_system_and_iperf() {
        let text = "FreeBSD router 14.1-RELEASE-p5 FreeBSD 14.1-RELEASE-p5 GENERIC amd64\n\
                    l4sllm 0.1.0\niperf 3.17.1 (cJSON 1.7.15)\nFreeBSD router\n";
        let expected = ("FreeBSD 14.1-RELEASE-p5", "iperf 3.17.1 (cJSON 1.7.15)");
        assert_eq!(systems(text), (expected.0.into(), expected.1.into()));
        assert_eq!(systems(""), ("unknown".into(), "iperf3".into()));
    }
}
