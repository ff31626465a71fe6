//! Compute devices.

use crate::library::Library;
use serde::{Deserialize, Serialize};
use tabagent_sys::{ggml_backend_buffer_type, ggml_backend_dev_type, ggml_backend_device};

/// The kind of a device, as ggml classifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Device {
    /// Whether it is a GPU, with memory of its own or not.
    pub fn is_gpu(&self) -> bool {
        matches!(self.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu)
    }

    /// Its name as users write it: `cuda:0` for `CUDA0`, `cpu` for `CPU`, `rpc://host:port` for those of a server on another machine.
    pub fn user_name(&self) -> String {
        if self.is_remote() {
            return format!("rpc://{}", self.description);
        }
        let name = self.name.to_lowercase();
        let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
        let (backend, number) = name.split_at(name.len() - digits);
        if number.is_empty() || backend.is_empty() { name } else { format!("{backend}:{number}") }
    }

    /// Whether a user who writes `name` means it: `cuda:0`, `CUDA0`, or `cuda` for all devices of the backend.
    pub fn is_called(&self, name: &str) -> bool {
        let own = self.user_name();
        let name = name.trim().to_lowercase();
        name == own
            || name == self.name.to_lowercase()
            || own.split_once(':').is_some_and(|(all, _)| all == name)
    }

    /// Whether it is a device of an RPC server, whose endpoint is the description (`ggml_backend_rpc_add_server` in `ggml/src/ggml-rpc/ggml-rpc.cpp`).
    pub fn is_remote(&self) -> bool {
        self.name.strip_prefix("RPC").is_some_and(|number| number.parse::<u32>().is_ok())
    }

    /// Whether it is no GPU but a program that pretends to be one, such as Mesa's llvmpipe.
    pub fn is_software(&self) -> bool {
        const PROGRAMS: [&str; 4] = ["llvmpipe", "lavapipe", "swiftshader", "softpipe"];
        let words = self.description.to_lowercase();
        PROGRAMS.iter().any(|program| words.contains(program))
    }
}

impl Library {
    /// All devices that the loaded backends found, in ggml's order.
    pub fn devices(&self) -> Vec<Device> {
        self.pointers().into_iter().map(|device| self.describe(device)).collect()
    }

    /// The devices of these names, in their order.
    pub(crate) fn device_pointers(&self, names: &[&str]) -> Vec<*mut ggml_backend_device> {
        let all = self.pointers();
        let named = |name: &&str| all.iter().find(|device| self.describe(**device).name == **name).copied();
        names.iter().filter_map(named).collect()
    }

    /// The memory of each device, by ggml's name for it: `CPU`, `CUDA0`.
    pub(crate) fn memories(&self) -> Vec<(String, *mut ggml_backend_buffer_type)> {
        let api = self.api();
        let (Some(memory_of), Some(name_of)) = (api.ggml_backend_dev_buffer_type, api.ggml_backend_buft_name)
        else {
            return Vec::new();
        };
        let mut memories: Vec<(String, *mut ggml_backend_buffer_type)> = Vec::new();
        for device in self.pointers() {
            // SAFETY: the device is registered, and registered devices are never freed.
            let memory = unsafe { memory_of(device) };
            if memory.is_null() {
                continue;
            }
            // SAFETY: just got from a live device, with whose backend it lives.
            let name = unsafe { name_of(memory) };
            // SAFETY: the name of a buffer type is a NUL-terminated string that lives as long as it.
            let name = unsafe { crate::strings::copy(name) }.unwrap_or_default();
            if !memories.iter().any(|(known, _)| *known == name) {
                memories.push((name, memory));
            }
        }
        memories
    }

    fn pointers(&self) -> Vec<*mut ggml_backend_device> {
        let api = self.api();
        // Builds before 3905 have no registry of devices.
        let (Some(count), Some(get)) = (api.ggml_backend_dev_count, api.ggml_backend_dev_get) else {
            return Vec::new();
        };
        // SAFETY: takes nothing; the backends are registered since `open`.
        let count = unsafe { count() };
        // SAFETY: the index is below the count; devices are never unregistered by this crate.
        let all = (0..count).map(|index| unsafe { get(index) });
        all.filter(|device| !device.is_null()).collect()
    }

    fn describe(&self, device: *mut ggml_backend_device) -> Device {
        let api = self.api();
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: `device` came from `ggml_backend_dev_get` and lives as long as the process.
        let name = api.ggml_backend_dev_name.map_or(std::ptr::null(), |ask| unsafe { ask(device) });
        // SAFETY: as above.
        let description =
            api.ggml_backend_dev_description.map_or(std::ptr::null(), |ask| unsafe { ask(device) });
        if let Some(ask) = api.ggml_backend_dev_memory {
            // SAFETY: as above; both out-pointers are valid for one `usize`.
            unsafe { ask(device, &raw mut free, &raw mut total) };
        }
        // SAFETY: as above.
        let kind = api.ggml_backend_dev_type.map_or(ggml_backend_dev_type::CPU, |ask| unsafe { ask(device) });
        let kind = match kind {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, description: &str) -> Device {
        let (name, description) = (name.to_owned(), description.to_owned());
        Device { name, description, kind: DeviceKind::Gpu, memory_free: 0, memory_total: 0 }
    }

    #[test]
    fn users_write_backend_and_number() {
        let first = device("CUDA0", "");
        assert_eq!(first.user_name(), "cuda:0");
        for name in ["cuda:0", "CUDA0", "cuda0", " Cuda:0 ", "cuda"] {
            assert!(first.is_called(name), "{name}");
        }
        for name in ["cuda:1", "vulkan:0", "0", "", ":0", "cuda:", "cud"] {
            assert!(!first.is_called(name), "{name}");
        }
        assert_eq!(device("Vulkan12", "").user_name(), "vulkan:12");
        assert_eq!(device("CPU", "").user_name(), "cpu");
        assert_eq!(device("7", "").user_name(), "7");
        assert_eq!(device("RPC0[127.0.0.1:50052]", "").user_name(), "rpc0[127.0.0.1:50052]");
    }

    #[test]
    fn programs_that_pretend_to_be_gpus_are_known_by_their_words() {
        assert!(device("Vulkan0", "llvmpipe (LLVM 15.0.6, 256 bits)").is_software());
        assert!(device("Vulkan0", "SwiftShader Device (LLVM 10.0.0)").is_software());
        assert!(!device("CUDA0", "NVIDIA H100 80GB HBM3").is_software());
    }
}
