//! The student of an arm: a network in the queue itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use l4sllm_abi::StudentSwitch;
use l4sllm_model::IdleBudget;
use l4sllm_model::strict_toml::{Section, TomlError};
use l4sllm_model::student::Student;
use sha2::{Digest, Sha256};

/// A student and its settings.
#[derive(Clone, PartialEq, Eq)]
pub struct ArmStudent {
    /// Its file; empty for one in memory.
    pub file: PathBuf,
    /// Idle budget; `None` for its own.
    pub idle_budget: Option<IdleBudget>,
    student: Arc<Student>,
    bytes: Arc<[u8]>,
}

impl ArmStudent {
    /// A student with its own idle budget; `None` if a value is out of its range.
    pub fn new(student: Student) -> Option<ArmStudent> {
        let bytes = student.to_bytes().ok()?.into();
        Some(ArmStudent {
            file: PathBuf::new(),
            idle_budget: None,
            student: Arc::new(student),
            bytes,
        })
    }

    /// The network.
    pub fn student(&self) -> &Student {
        &self.student
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the file, hex.
    pub fn sha256(&self) -> String {
        let digest = Sha256::digest(&self.bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The request that enables it.
    pub fn switch(&self) -> StudentSwitch {
        let millionths = |budget: IdleBudget| (budget.share() * 1e6).round() as u32;
        StudentSwitch {
            on: true,
            idle_budget: self.idle_budget.map(millionths),
        }
    }
}

/// The text that identifies a run: without the weights, but with their digest.
impl fmt::Debug for ArmStudent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmStudent")
            .field("sha256", &self.sha256())
            .field("idle_budget", &self.idle_budget)
            .finish()
    }
}

/// `student = { file = "...", idle_budget = 0.005 }`.
pub(super) fn read(mut section: Section<'_>, scenario: &Path) -> Result<ArmStudent, TomlError> {
    let field = section.require("file")?;
    let file = super::values::near(scenario, field.text()?);
    let bytes = std::fs::read(&file)
        .map_err(|error| field.error(format!("cannot read {}: {error}", file.display())))?;
    let student = Student::from_bytes(&bytes)
        .map_err(|error| field.error(format!("{}: {error}", file.display())))?;
    let idle_budget = section.field("idle_budget");
    let idle_budget = idle_budget.map(|field| super::arm::read_budget(&field));
    let read = ArmStudent {
        file,
        idle_budget: idle_budget.transpose()?,
        student: Arc::new(student),
        bytes: bytes.into(),
    };
    section.finish()?;
    Ok(read)
}
