//! Requests about the student.

use std::ffi::{CStr, c_char};

use crate::bytes::Plain;
use crate::{AbiError, check, check_layout, raw};

/// Minimum and maximum of an idle budget, millionths of the link's time.
const BUDGETS: std::ops::RangeInclusive<u32> = 1000..=20_000;

/// Enables or disables the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudentSwitch {
    /// Whether it steers.
    pub on: bool,
    /// Idle budget, millionths of the link's time, 1000 to 20000; `None` for the
    /// student's own.
    pub idle_budget: Option<u32>,
}

impl StudentSwitch {
    /// The C struct.
    ///
    /// # Errors
    /// [`AbiError::Range`] if the idle budget is out of range.
    pub fn to_raw(&self) -> Result<raw::l4s_student_switch, AbiError> {
        let budget = self.idle_budget.unwrap_or(0);
        check(
            self.idle_budget
                .is_none_or(|budget| BUDGETS.contains(&budget)),
            raw::l4s_student_switch::NAME,
            "idle_budget",
            u64::from(budget),
            "1000..=20000",
        )?;
        Ok(raw::l4s_student_switch {
            version: raw::L4S_ABI_VERSION as u16,
            pad0: 0,
            length: size_of::<raw::l4s_student_switch>() as u32,
            on: u32::from(self.on),
            idle_budget: budget,
        })
    }
}

/// State of the student, accessible through `Deref`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
pub struct StudentStatus(raw::l4s_student_status);

impl StudentStatus {
    /// Whether it steers.
    pub fn is_on(&self) -> bool {
        self.0.on != 0
    }

    /// Name of the loaded student; `None` if there is none.
    pub fn name(&self) -> Option<String> {
        (self.0.student.length != 0).then(|| name(&self.0.student))
    }
}

/// The name in a student's header, up to its NUL.
fn name(student: &raw::l4s_student) -> String {
    let bytes = student.name.map(|c: c_char| c as u8);
    CStr::from_bytes_until_nul(&bytes).map_or_else(
        |_| String::from_utf8_lossy(&bytes).into_owned(),
        |text| text.to_string_lossy().into_owned(),
    )
}

impl std::ops::Deref for StudentStatus {
    type Target = raw::l4s_student_status;
    fn deref(&self) -> &raw::l4s_student_status {
        &self.0
    }
}

impl TryFrom<raw::l4s_student_status> for StudentStatus {
    type Error = AbiError;
    /// Checks version, length and the switch; counters have no range.
    fn try_from(s: raw::l4s_student_status) -> Result<Self, AbiError> {
        let what = raw::l4s_student_status::NAME;
        check_layout(what, s.version, s.pad0, s.length, size_of_val(&s))?;
        check(s.on <= 1, what, "on", u64::from(s.on), "0 or 1")?;
        Ok(StudentStatus(s))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn status() -> raw::l4s_student_status {
        raw::l4s_student_status {
            version: raw::L4S_ABI_VERSION as u16,
            length: size_of::<raw::l4s_student_status>() as u32,
            ..Default::default()
        }
    }

    #[test]
    fn the_name_ends_at_nul() {
        assert_eq!(StudentStatus::try_from(status()).unwrap().name(), None);
        let mut named = status();
        named.student.length = 200;
        named.student.name[..3].copy_from_slice(&[b'a', b'b', 0].map(|b| b as c_char));
        let named = StudentStatus::try_from(named).unwrap();
        assert_eq!(named.name().as_deref(), Some("ab"));
    }

    #[test]
    fn fields_are_checked() {
        let mut on = status();
        on.on = 2;
        assert!(StudentStatus::try_from(on).is_err());
        let mut short = status();
        short.length -= 1;
        assert!(StudentStatus::try_from(short).is_err());
        for (budget, valid) in [(999, false), (1000, true), (20_000, true), (20_001, false)] {
            let switch = StudentSwitch {
                on: true,
                idle_budget: Some(budget),
            };
            assert_eq!(switch.to_raw().is_ok(), valid, "{budget}");
        }
    }
}
