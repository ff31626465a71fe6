//! The child's side: what GPUs there are, and whether they compute what they should.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;
use tabagent_llama::{Device, DeviceKind, LogLevel, drain_log, set_log_level};
use tabagent_variants::{GpuFacts, GpuKind, GpuReport};

use super::drivers;
use super::tiny_model::TinyModel;
use crate::library::OpenRequest;
use crate::trial::answer_parent;

/// What the child says before its report in JSON.
pub(super) const REPORT: &str = "tabagent-child: gpus ";

/// Loads the library with the modules that a line of JSON on standard input names, and says what GPUs they find.
pub(crate) fn attempt(library: &OsStr) -> ExitCode {
    answer_parent(|request| {
        let report = match report(library.as_ref(), &request) {
            Ok(gpus) => GpuReport::Found(gpus),
            Err(words) => GpuReport::Failed(words),
        };
        format!("{REPORT}{}", serde_json::json!(report))
    })
}

fn report(library: &Path, request: &Json) -> Result<Vec<GpuFacts>, String> {
    set_log_level(LogLevel::Info);
    let opened = OpenRequest::read(request).open(library);
    let library = opened.map_err(|error| format!("cannot be used: {error}"))?;
    let lines: Vec<String> = drain_log().into_iter().map(|record| record.text).collect();
    let gpus: Vec<Device> = library.devices().into_iter().filter(Device::is_gpu).collect();
    if gpus.is_empty() {
        return Ok(Vec::new());
    }
    // A program that pretends to be a GPU takes minutes to compile kernels, and only those who name it use it.
    if gpus.iter().all(Device::is_software) {
        return Ok(gpus.iter().map(|device| facts(device, &lines, None)).collect());
    }
    let model = TinyModel::new()?;
    let fault = |device: &Device| if device.is_software() { None } else { model.fault_of(&library, device) };
    Ok(gpus.iter().map(|device| facts(device, &lines, fault(device))).collect())
}

fn facts(device: &Device, lines: &[String], fault: Option<String>) -> GpuFacts {
    let vendor =
        GpuFacts::vendor_of(&device.description).or_else(|| drivers::vendor_of_backend(&device.name));
    GpuFacts {
        name: device.user_name(),
        description: device.description.clone(),
        kind: match device.kind {
            _ if device.is_software() => GpuKind::Software,
            DeviceKind::IntegratedGpu => GpuKind::Integrated,
            DeviceKind::Gpu | DeviceKind::Cpu | DeviceKind::Accelerator | DeviceKind::Other(_) => {
                GpuKind::Discrete
            }
        },
        driver: vendor.as_deref().and_then(drivers::version),
        vendor,
        memory_total: device.memory_total,
        compute_capability: compute_capability(&device.name, lines),
        fault,
    }
}

/// The compute capability in the lines that the CUDA backend writes as it starts: `  Device 0: NVIDIA H100, compute capability 9.0, VMM: yes`.
fn compute_capability(device: &str, lines: &[String]) -> Option<String> {
    let number = device.strip_prefix("CUDA")?;
    let start = format!("Device {number}: ");
    let line = lines.iter().find(|line| line.trim_start().starts_with(&start))?;
    let rest = line.split_once("compute capability ")?.1;
    Some(rest.split([',', ' ']).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compute_capabilities_are_read_from_the_log() {
        let lines = [
            "ggml_cuda_init: found 2 CUDA devices:",
            "  Device 0: NVIDIA H100 80GB HBM3, compute capability 9.0, VMM: yes, VRAM: 81079 MiB",
            "  Device 1: NVIDIA A10, compute capability 8.6, VMM: yes",
        ]
        .map(str::to_owned);
        assert_eq!(compute_capability("CUDA0", &lines).as_deref(), Some("9.0"));
        assert_eq!(compute_capability("CUDA1", &lines).as_deref(), Some("8.6"));
        assert_eq!(compute_capability("CUDA2", &lines), None);
        assert_eq!(compute_capability("Vulkan0", &lines), None);
    }
}
