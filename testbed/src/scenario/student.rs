//! The student of an arm: a network in the queue itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use l4sllm_abi::StudentSwitch;
use l4sllm_model::IdleBudget;
use l4sllm_model::files::read_regular;
use l4sllm_model::strict_toml::{Section, TomlError};
use l4sllm_model::student::{Student, StudentError};
use l4sllm_model::text::shown;
use sha2::{Digest, Sha256};
use thiserror::Error;

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

/// A file that cannot be read, or is not a student.
#[derive(Debug, Error)]
pub enum StudentFileError {
    /// Not readable.
    #[error("cannot read {path}: {source}", path = shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Not a valid student.
    #[error("{path}: {source}", path = shown(path))]
    Student {
        /// The file.
        path: PathBuf,
        /// The field, and what was expected.
        source: StudentError,
    },
}

/// Maximum length of a file, far above any student's.
const MOST_BYTES: u64 = 1 << 20;

impl ArmStudent {
    /// Reads a student's file.
    ///
    /// # Errors
    /// It cannot be read, or is not a valid student.
    pub fn open(file: &Path) -> Result<ArmStudent, StudentFileError> {
        let io = |source| StudentFileError::Io {
            path: file.to_owned(),
            source,
        };
        let invalid = |source| StudentFileError::Student {
            path: file.to_owned(),
            source,
        };
        let bytes = read_regular(file, MOST_BYTES).map_err(io)?;
        Ok(ArmStudent {
            file: file.to_owned(),
            idle_budget: None,
            student: Arc::new(Student::from_bytes(&bytes).map_err(invalid)?),
            bytes: bytes.into(),
        })
    }

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

    /// The same student with an idle budget.
    pub fn with_budget(&self, idle_budget: IdleBudget) -> ArmStudent {
        ArmStudent {
            idle_budget: Some(idle_budget),
            ..self.clone()
        }
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
    let mut student = ArmStudent::open(&file).map_err(|error| field.error(error.to_string()))?;
    let idle_budget = section.field("idle_budget");
    let idle_budget = idle_budget.map(|field| super::arm::read_budget(&field));
    student.idle_budget = idle_budget.transpose()?;
    section.finish()?;
    Ok(student)
}
