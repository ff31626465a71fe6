//! Compute devices.

use crate::library::Library;
use tabagent_sys::{ggml_backend_dev_type, ggml_backend_device};

/// The kind of a device, as ggml classifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The CPU and its memory.
    Cpu,
    /// A GPU with memory of its own.
    Gpu,
    /// A GPU that uses the host's memory.
    IntegratedGpu,
    /// An accelerator that works beside the CPU.
    Accelerator,
    /// Something this version does not know, by its number.
    Other(i32),
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::IntegratedGpu => f.write_str("integrated_gpu"),
            Self::Accelerator => f.write_str("accelerator"),
            Self::Other(kind) => write!(f, "other_{kind}"),
        }
    }
}

/// A compute device, as it was when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its short name, such as `CPU` or `CUDA0`.
    pub name: String,
    /// Its product name.
    pub description: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Free memory in bytes at the time of asking; 0 when unknown.
    pub memory_free: u64,
    /// Memory in bytes; 0 when unknown.
    pub memory_total: u64,
}

impl Library {
    /// All devices that the loaded backends found, in ggml's order.
    pub fn devices(&self) -> Vec<Device> {
        let api = self.api();
        // SAFETY: takes nothing; the backends are registered since `open`.
        let count = unsafe { (api.ggml_backend_dev_count)() };
        (0..count)
            .filter_map(|index| {
                // SAFETY: `index` is below the count; devices are never unregistered by this crate.
                let device = unsafe { (api.ggml_backend_dev_get)(index) };
                (!device.is_null()).then(|| self.describe(device))
            })
            .collect()
    }

    fn describe(&self, device: *mut ggml_backend_device) -> Device {
        let api = self.api();
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: `device` came from `ggml_backend_dev_get` and lives as long as the process.
        let name = unsafe { (api.ggml_backend_dev_name)(device) };
        // SAFETY: as above.
        let description = unsafe { (api.ggml_backend_dev_description)(device) };
        // SAFETY: as above; both out-pointers are valid for one `usize`.
        unsafe { (api.ggml_backend_dev_memory)(device, &raw mut free, &raw mut total) };
        // SAFETY: as above.
        let kind = match unsafe { (api.ggml_backend_dev_type)(device) } {
            ggml_backend_dev_type::CPU => DeviceKind::Cpu,
            ggml_backend_dev_type::GPU => DeviceKind::Gpu,
            ggml_backend_dev_type::IGPU => DeviceKind::IntegratedGpu,
            ggml_backend_dev_type::ACCEL => DeviceKind::Accelerator,
            other => DeviceKind::Other(other.0),
        };
        Device {
            // SAFETY: a device's name is a NUL-terminated string that lives as long as the device.
            name: unsafe { crate::strings::copy(name) }.unwrap_or_default(),
            // SAFETY: as above.
            description: unsafe { crate::strings::copy(description) }.unwrap_or_default(),
            kind,
            memory_free: free as u64,
            memory_total: total as u64,
        }
    }
}
