//! An output in memory that a test reads; also used by the tests of `router`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// An output that the test reads.
#[derive(Clone, Default)]
pub struct SharedFile(Arc<Mutex<Vec<u8>>>);

impl SharedFile {
    /// The bytes written so far.
    pub fn contents(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
