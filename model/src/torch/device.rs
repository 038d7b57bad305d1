//! The CPU or GPU that libtorch computes on.
//!
//! The programs are linked against the CPU part of libtorch. The CUDA part is
//! loaded when a GPU is requested, and is found through LD_LIBRARY_PATH (the
//! `lib` directory of an installed torch with CUDA).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;

use tch::{Cuda, Device, Kind, Tensor};

use super::TrainError;
pub use crate::Precision;

/// Opens `cpu`, `cuda` (the first GPU) or `cuda:N` and prepares it for
/// computation.
///
/// # Errors
/// The name is unknown, or there is no driver, no CUDA libtorch or no such
/// GPU.
pub fn open(name: &str) -> Result<Device, TrainError> {
    let refused = |reason: String| TrainError::Device {
        name: name.to_owned(),
        reason,
    };
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse::<usize>().ok())
            .ok_or_else(|| refused("expected cpu, cuda or cuda:N".to_owned()))?,
    };
    // Check for the driver first: without it, loading the rest wastes 350 MB.
    Library::open("libcuda.so.1").map_err(|e| refused(format!("no NVIDIA driver: {e}")))?;
    Library::open("libtorch_cuda.so").map_err(|e| {
        refused(format!(
            "no libtorch for CUDA: {e}; set LD_LIBRARY_PATH to the lib directory of an \
             installed torch with CUDA"
        ))
    })?;
    let count = Cuda::device_count();
    if !Cuda::is_available() || index as i64 >= count {
        return Err(refused(format!("libtorch finds {count} GPUs")));
    }
    Ok(Device::Cuda(index))
}

/// As [`open`]; `auto` is the first usable GPU, or else the CPU.
///
/// # Errors
/// As [`open`]; none for `auto`.
pub fn choose(name: &str) -> Result<Device, TrainError> {
    match name {
        "auto" => Ok(open("cuda").unwrap_or(Device::Cpu)),
        name => open(name),
    }
}

/// Waits until all work submitted to the device is done.
pub fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Makes the allocator of this process keep freed memory for reuse. Each
/// training step allocates what the previous step freed, some GB; if it were
/// returned to the system, its pages would be mapped and zeroed again, which
/// costs up to a sixth of a step. Does nothing if the C library is not glibc.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    {
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        // If mallopt fails, the setting is unchanged.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 1 << 30);
            mallopt(M_TRIM_THRESHOLD, c_int::MAX);
        }
    }
}

/// Name reported by the device.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cuda(index) => {
            gpu_name(index).unwrap_or_else(|| format!("a GPU of unknown name ({index})"))
        }
        _ => processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
    }
}

impl Precision {
    /// The device, for [`super::Options`].
    pub fn kind(self) -> Kind {
        match self {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        }
    }

    /// The type for computation.
    pub fn of(kind: Kind) -> Precision {
        match kind {
            Kind::BFloat16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }
}

/// Memory of a device, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Available memory.
    pub free: u64,
    /// Peak memory: of this process (cpu), or of the device in total (cuda;
    /// libtorch keeps memory once allocated).
    pub peak: u64,
}

/// Memory use; `None` if unknown. For a GPU it is known only after a
/// computation on it by this thread.
pub fn memory(device: Device) -> Option<Memory> {
    match device {
        Device::Cuda(_) => gpu_memory(),
        _ => Some(Memory {
            free: kib("/proc/meminfo", "MemAvailable:")?,
            peak: kib("/proc/self/status", "VmHWM:")?,
        }),
    }
}

/// Available memory, bytes.
///
/// # Errors
/// The system does not report it.
pub fn free_bytes(device: Device) -> Result<u64, TrainError> {
    // Creates the GPU's context and makes it current.
    let _ = Tensor::f_zeros([1], (Kind::Float, device))?;
    memory(device)
        .map(|memory| memory.free)
        .ok_or_else(|| TrainError::Device {
            name: format!("{device:?}"),
            reason: "does not report how much memory is free".to_owned(),
        })
}

/// Value of a line `KEY N kB` of a file, in bytes.
fn kib(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    Some(number.parse::<u64>().ok()? * 1024)
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn gpu_name(index: usize) -> Option<String> {
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let driver = Library::open("libcuda.so.1").ok()?;
    let mut text = [0u8; 256];
    let mut device: c_int = 0;
    // SAFETY: cuDeviceGet and cuDeviceGetName of the driver's interface have
    // these signatures; the driver is initialised, for libtorch found a GPU.
    unsafe {
        let get: Get = driver.function(c"cuDeviceGet")?;
        let name: Name = driver.function(c"cuDeviceGetName")?;
        let length = text.len() as c_int;
        let done = get(&mut device, index as c_int) == 0
            && name(text.as_mut_ptr().cast(), length, device) == 0;
        if !done {
            return None;
        }
    }
    let name = CStr::from_bytes_until_nul(&text).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// Memory of the GPU whose context is current in this thread.
fn gpu_memory() -> Option<Memory> {
    type Info = unsafe extern "C" fn(*mut usize, *mut usize) -> c_int;
    let driver = Library::open("libcuda.so.1").ok()?;
    let (mut free, mut total) = (0usize, 0usize);
    // SAFETY: cuMemGetInfo_v2 of the driver's interface has this signature;
    // without a current context it fails, and writes nothing.
    unsafe {
        let info: Info = driver.function(c"cuMemGetInfo_v2")?;
        if info(&mut free, &mut total) != 0 {
            return None;
        }
    }
    Some(Memory {
        free: free as u64,
        peak: total.saturating_sub(free) as u64,
    })
}

/// A shared library that stays loaded.
struct Library(*mut c_void);

impl Library {
    /// Loads the library with global symbols, as libtorch's registration
    /// requires.
    fn open(name: &str) -> Result<Library, String> {
        const RTLD_NOW: c_int = 2;
        const RTLD_GLOBAL: c_int = 0x100;
        let name = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: a C string and flags of <dlfcn.h>; initialisers of the
        // libraries named in this file may run at any time.
        let handle = unsafe { dlopen(name.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
        if !handle.is_null() {
            return Ok(Library(handle));
        }
        // SAFETY: dlerror gives null or a C string that lives until the next
        // call in this thread.
        let reason = unsafe {
            let text = dlerror();
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        Err(reason.unwrap_or_else(|| "unknown reason".to_owned()))
    }

    /// # Safety
    /// `F` is the type of a pointer to the C function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is that of a library that is never closed.
        let address = unsafe { dlsym(self.0, name.as_ptr()) };
        // SAFETY: the caller guarantees the type; the assertion checks its
        // size.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Library")
    }
}

// Of the C library, which every program here is linked with.
unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *mut c_char;
    #[cfg(target_env = "gnu")]
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        assert_eq!(open("cpu").unwrap(), Device::Cpu);
        for name in ["gpu", "cuda:", "cuda:x", ""] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains("cpu, cuda or cuda:N"), "{error}");
        }
    }

    #[test]
    fn missing_gpu_error_names_the_cause() {
        if let Err(error) = open("cuda:99") {
            assert!(error.to_string().starts_with("device cuda:99: "), "{error}");
        }
    }

    #[test]
    fn cpu_reports_name_and_memory() {
        assert!(!describe(Device::Cpu).is_empty());
        let memory = memory(Device::Cpu).expect("Linux says");
        assert!(memory.free > 1 << 20 && memory.peak > 1 << 20, "{memory:?}");
    }
}
