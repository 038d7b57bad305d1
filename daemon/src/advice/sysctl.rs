//! The module's variables, read by sysctlbyname(3). They are marked CAPRD, so
//! that they can be read in capability mode too.

use std::ffi::{CStr, CString, c_void};
use std::io;

use nix::libc;

use super::{Advice, AdviceError, HOLD, IDLE_BUDGET, INTERVAL, MODE, PERIOD, Source};

#[derive(Debug)]
pub(super) struct Sysctl;

impl Source for Sysctl {
    fn read(&mut self) -> Result<Advice, AdviceError> {
        let count = |name| {
            let mut value = [0; 4];
            read(name, &mut value)?;
            Ok(u32::from_ne_bytes(value))
        };
        // The longest mode and its NUL need seven bytes.
        let mut mode = [0; 16];
        read(MODE, &mut mode)?;
        // The last byte stays 0: the module's string is shorter.
        let mode = CStr::from_bytes_until_nul(&mode)
            .map(|mode| mode.to_string_lossy().into_owned())
            .unwrap_or_default();
        Advice::of_values(count(INTERVAL)?, count(PERIOD)?, &mode, count(HOLD)?)?
            .with_idle_budget(count(IDLE_BUDGET)?)
    }
}

fn read(name: &'static str, into: &mut [u8]) -> Result<(), AdviceError> {
    let failed = |source| AdviceError::Read { name, source };
    let c_name = CString::new(name).map_err(|e| failed(e.into()))?;
    let mut length = into.len();
    // SAFETY: the name is NUL-terminated, and the kernel writes at most
    // `length` bytes, which is what `into` has.
    let result = unsafe {
        libc::sysctlbyname(
            c_name.as_ptr(),
            into.as_mut_ptr().cast::<c_void>(),
            &mut length,
            std::ptr::null(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(failed(io::Error::last_os_error()))
    }
}
