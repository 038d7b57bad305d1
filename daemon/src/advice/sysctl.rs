//! Reads the module's variables with sysctlbyname(3). They are marked CAPRD, so
//! that they can be read in capability mode too.

use std::ffi::{CStr, CString, c_void};
use std::io;

use nix::libc;

use super::{Advice, AdviceError, ENGINE, HOLD, IDLE_BUDGET, INTERVAL, MODE, PERIOD, Source};

#[derive(Debug)]
pub(super) struct Sysctl;

impl Source for Sysctl {
    fn read(&mut self) -> Result<Advice, AdviceError> {
        let count = |name| {
            let mut value = [0; 4];
            read(name, &mut value)?;
            Ok(u32::from_ne_bytes(value))
        };
        let (mode, engine) = (word(MODE)?, word(ENGINE)?);
        Advice::of_values(count(INTERVAL)?, count(PERIOD)?, &mode, count(HOLD)?)?
            .with_engine(&engine)?
            .with_idle_budget(count(IDLE_BUDGET)?)
    }
}

fn word(name: &'static str) -> Result<String, AdviceError> {
    // The longest word and its NUL need nine bytes; the last byte stays 0.
    let mut word = [0; 16];
    read(name, &mut word)?;
    let word = CStr::from_bytes_until_nul(&word);
    Ok(word
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default())
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
