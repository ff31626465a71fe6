//! Where the parts of a model go: which devices, how much to each, and which tensors somewhere else.

use crate::device::{Device, DeviceKind};
use crate::library::Library;
use crate::model_error::ModelError;
use crate::rpc::RpcAddress;
use std::ffi::{CString, c_char};
use tabagent_sys::{
    PlacementSettings, ggml_backend_buffer_type, ggml_backend_device, llama_model_tensor_buft_override,
    llama_split_mode,
};

/// The tensors of experts (`LLM_FFN_EXPS_REGEX` in `common/common.h`).
const EXPERTS: &str = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps";
/// The memory of the CPU, by ggml's name.
const CPU: &str = "CPU";
/// Numbers that `tensor_split` has at least (`llama_max_devices` in `src/llama.cpp`).
const SPLITS: usize = 16;

/// How several devices share a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SplitMode {
    /// One device has all of it.
    None,
    /// Each has some of the layers, with their part of the cache.
    Layer,
    /// Each has some rows of each matrix.
    Row,
    /// Each has a part of each tensor and of the cache.
    Tensor,
}

impl SplitMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Layer, Self::Row, Self::Tensor];

    /// Its name, as llama.cpp's programs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Row => "row",
            Self::Tensor => "tensor",
        }
    }

    /// The mode of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    const fn to_c(self) -> llama_split_mode {
        match self {
            Self::None => llama_split_mode::NONE,
            Self::Layer => llama_split_mode::LAYER,
            Self::Row => llama_split_mode::ROW,
            Self::Tensor => llama_split_mode::TENSOR,
        }
    }
}

/// Where the parts of a model go. The default leaves all to llama.cpp: every discrete GPU, or else an integrated one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The only devices to use beside the CPU, as [`Device::is_called`] knows them; `Some` of nothing, or of `cpu` alone, is the CPU.
    pub devices: Option<Vec<String>>,
    /// How several devices share the model.
    pub split_mode: Option<SplitMode>,
    /// The place among the devices of the one that has all, or the small parts, in the modes in which one does.
    pub main_gpu: Option<u32>,
    /// How much of the model each device takes, in proportion; empty for as much as each has free memory.
    pub tensor_split: Vec<f32>,
    /// Patterns (regular expressions that match a part of a tensor's name) and the names of the memory that such tensors lie in, such as `CPU` or
    /// `CUDA0`. The first that matches counts.
    pub overrides: Vec<(String, String)>,
    /// Keep the experts of so many layers, the first ones, in the CPU's memory; `u32::MAX` for all.
    pub cpu_experts: u32,
}

impl Placement {
    /// The servers on other machines whose devices are named.
    pub fn servers(&self) -> Vec<RpcAddress> {
        let names = self.devices.iter().flatten().filter(|name| RpcAddress::is_meant_by(name));
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// The same without the devices of other machines, and without what counts devices.
    #[must_use]
    pub fn without_servers(&self) -> Self {
        let is_here = |name: &&String| !RpcAddress::is_meant_by(name);
        let mut devices: Vec<String> = self.devices.iter().flatten().filter(is_here).cloned().collect();
        if devices.is_empty() {
            devices.push(CPU.to_owned());
        }
        Self { devices: Some(devices), cpu_experts: self.cpu_experts, ..Self::default() }
    }

    /// All on the CPU.
    #[must_use]
    pub fn on_cpu() -> Self {
        Self { devices: Some(vec![CPU.to_owned()]), ..Self::default() }
    }

    /// The devices that a model would use beside the CPU, in order.
    ///
    /// # Errors
    /// [`ModelError::UnknownDevice`] names one that does not exist.
    pub fn devices(&self, library: &Library) -> Result<Vec<Device>, ModelError> {
        let all = library.devices();
        let Some(names) = &self.devices else { return Ok(default_devices(all)) };
        let mut chosen: Vec<Device> = Vec::new();
        for name in names {
            let found: Vec<_> = all.iter().filter(|device| device.is_called(name)).collect();
            if found.is_empty() {
                let known = all.iter().map(Device::user_name).collect();
                return Err(ModelError::UnknownDevice { name: name.clone(), known });
            }
            let fresh = found.into_iter().filter(|device| device.kind != DeviceKind::Cpu);
            for device in fresh {
                if !chosen.iter().any(|before| before.name == device.name) {
                    chosen.push(device.clone());
                }
            }
        }
        Ok(chosen)
    }

    /// What the C side reads, which must live until the model is loaded.
    pub(crate) fn resolve(&self, library: &Library) -> Result<Resolved, ModelError> {
        let mut resolved =
            Resolved { split_mode: self.split_mode, main_gpu: self.main_gpu, ..Resolved::default() };
        if *self == Self::default() {
            return Ok(resolved);
        }
        let devices = self.devices(library)?;
        if self.devices.is_some() {
            let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
            resolved.devices = library.device_pointers(&names);
            resolved.devices.push(std::ptr::null_mut());
        }
        if let Some(main) = self.main_gpu.filter(|main| *main as usize >= devices.len().max(1)) {
            return Err(ModelError::BadOption {
                option: "main_gpu",
                range: "the place of one of the devices, counted from 0",
                got: main.to_string(),
            });
        }
        resolved.tensor_split = self.splits(devices.len())?;
        let experts = match self.cpu_experts {
            0 => Vec::new(),
            u32::MAX => vec![EXPERTS.to_owned()],
            count => (0..count).map(|layer| format!(r"blk\.{layer}{EXPERTS}")).collect(),
        };
        let own = self.overrides.iter().cloned();
        let overrides: Vec<(String, String)> =
            own.chain(experts.into_iter().map(|pattern| (pattern, CPU.to_owned()))).collect();
        if !overrides.is_empty() {
            resolved.add_overrides(library, overrides)?;
        }
        Ok(resolved)
    }

    /// A number for each device that llama.cpp may read.
    fn splits(&self, devices: usize) -> Result<Vec<f32>, ModelError> {
        if self.tensor_split.is_empty() {
            return Ok(Vec::new());
        }
        let bad = |range, got| Err(ModelError::BadOption { option: "tensor_split", range, got });
        let sum: f32 = self.tensor_split.iter().sum();
        let are_parts = self.tensor_split.iter().all(|part| part.is_finite() && *part >= 0.0);
        if !are_parts || sum <= 0.0 || !sum.is_finite() {
            return bad("numbers of at least 0, one of them above 0", format!("{:?}", self.tensor_split));
        }
        if self.tensor_split.len() > devices.max(1) {
            return bad(
                "one number for each device, at most",
                format!("{} numbers for {devices} devices", self.tensor_split.len()),
            );
        }
        let mut splits = self.tensor_split.clone();
        splits.resize(SPLITS.max(devices), 0.0);
        Ok(splits)
    }
}

/// The devices that llama.cpp takes where none are named (`llama_prepare_model_devices` in `src/llama.cpp`): those that work beside the CPU for
/// other processes, then discrete GPUs, and only where there are none of either, the first integrated one.
fn default_devices(all: Vec<Device>) -> Vec<Device> {
    let (gpus, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|device| device.kind == DeviceKind::Gpu);
    if gpus.is_empty() {
        return others
            .into_iter()
            .find(|device| device.kind == DeviceKind::IntegratedGpu)
            .into_iter()
            .collect();
    }
    gpus
}

/// A placement as the C side reads it.
#[derive(Default)]
pub(crate) struct Resolved {
    devices: Vec<*mut ggml_backend_device>,
    split_mode: Option<SplitMode>,
    main_gpu: Option<u32>,
    tensor_split: Vec<f32>,
    overrides: Vec<llama_model_tensor_buft_override>,
    /// What the overrides point to.
    patterns_held: Vec<CString>,
}

impl Resolved {
    /// Pointers into this, which must outlive them.
    pub(crate) fn settings(&self) -> PlacementSettings {
        PlacementSettings {
            devices: first_of(&self.devices),
            split_mode: self.split_mode.map(SplitMode::to_c),
            main_gpu: self.main_gpu,
            tensor_split: first_of(&self.tensor_split),
            overrides: first_of(&self.overrides),
        }
    }

    fn add_overrides(&mut self, library: &Library, wanted: Vec<(String, String)>) -> Result<(), ModelError> {
        let memories = library.memories();
        let mut patterns = Vec::new();
        for (pattern, memory) in wanted {
            let same =
                |(name, _): &&(String, *mut ggml_backend_buffer_type)| name.eq_ignore_ascii_case(&memory);
            let Some((_, buffer_type)) = memories.iter().find(same) else {
                let known = memories.into_iter().map(|(name, _)| name).collect();
                return Err(ModelError::UnknownMemory { name: memory, known });
            };
            let bad =
                |range| ModelError::BadOption { option: "override_tensors", range, got: pattern.clone() };
            if pattern.is_empty() {
                return Err(bad("patterns that are not empty"));
            }
            let pattern = CString::new(pattern.clone()).map_err(|_| bad("patterns without NUL bytes"))?;
            self.overrides
                .push(llama_model_tensor_buft_override { pattern: pattern.as_ptr(), buft: *buffer_type });
            patterns.push(pattern);
        }
        let end: *const c_char = std::ptr::null();
        self.overrides.push(llama_model_tensor_buft_override { pattern: end, buft: std::ptr::null_mut() });
        self.patterns_held = patterns;
        Ok(())
    }
}

fn first_of<T>(list: &[T]) -> *const T {
    if list.is_empty() { std::ptr::null() } else { list.as_ptr() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, kind: DeviceKind) -> Device {
        Device { name: name.to_owned(), description: String::new(), kind, memory_free: 0, memory_total: 0 }
    }

    #[test]
    fn an_integrated_gpu_is_taken_only_where_there_is_no_other() {
        let names = |devices: Vec<Device>| -> Vec<String> {
            default_devices(devices).into_iter().map(|device| device.name).collect()
        };
        let (cpu, small) = (device("CPU", DeviceKind::Cpu), device("Vulkan0", DeviceKind::IntegratedGpu));
        let other = device("Vulkan2", DeviceKind::IntegratedGpu);
        let (one, two) = (device("CUDA0", DeviceKind::Gpu), device("CUDA1", DeviceKind::Gpu));
        assert_eq!(names(vec![cpu.clone()]), [""; 0]);
        assert_eq!(names(vec![cpu.clone(), small.clone(), other]), ["Vulkan0"]);
        assert_eq!(names(vec![small, one, cpu, two]), ["CUDA0", "CUDA1"]);
    }

    #[test]
    fn splits_are_numbers_for_devices() {
        let splits = |numbers: &[f32], devices| {
            let placement = Placement { tensor_split: numbers.to_vec(), ..Placement::default() };
            placement.splits(devices).map_err(|error| error.to_string())
        };
        assert_eq!(splits(&[], 0), Ok(Vec::new()));
        let two = splits(&[3.0, 1.0], 2).unwrap();
        assert_eq!((&two[..3], two.len()), (&[3.0, 1.0, 0.0][..], SPLITS));
        for (numbers, devices) in
            [(&[1.0, 1.0][..], 1), (&[0.0, 0.0], 2), (&[-1.0, 2.0], 2), (&[f32::NAN], 1)]
        {
            let text = splits(numbers, devices).unwrap_err();
            assert!(text.starts_with("`tensor_split` must be "), "{text}");
        }
    }

    #[test]
    fn servers_are_told_from_devices_that_are_here() {
        let named = |names: &[&str]| Placement {
            devices: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            tensor_split: vec![1.0, 2.0],
            cpu_experts: 3,
            ..Placement::default()
        };
        let both = named(&["cuda:0", "rpc://box:50052"]);
        assert_eq!(both.servers().iter().map(ToString::to_string).collect::<Vec<_>>(), ["rpc://box:50052"]);
        let here = both.without_servers();
        assert_eq!(
            (here.devices, here.tensor_split, here.cpu_experts),
            (Some(vec!["cuda:0".to_owned()]), vec![], 3)
        );
        assert_eq!(named(&["rpc://box:50052"]).without_servers().devices, Some(vec![CPU.to_owned()]));
        assert_eq!(Placement::default().servers(), []);
        let remote = device("RPC1", DeviceKind::Gpu);
        let remote = Device { description: "box:50052".to_owned(), ..remote };
        assert_eq!(remote.user_name(), "rpc://box:50052");
        assert!(
            remote.is_called("rpc://box:50052")
                && remote.is_called("RPC1")
                && !remote.is_called("rpc://box:1")
        );
        assert!(!device("CUDA1", DeviceKind::Gpu).is_remote());
    }

    #[test]
    fn modes_have_names() {
        for mode in SplitMode::ALL {
            assert_eq!(SplitMode::named(mode.name()), Some(mode));
        }
        assert_eq!(SplitMode::named("rows"), None);
    }
}
