//! Options of where the parts of a model go.

use serde_json::{Value as Json, json};
use tabagent_llama::{Placement, RpcAddress, SplitMode};

use crate::value::{COUNT, Fields, OptionError, Value, number, text};

/// Reads `devices`, `split_mode`, `main_gpu`, `tensor_split`, `override_tensors` (memory by pattern) and `cpu_experts` (how many layers' experts stay
/// in the CPU's memory; `u32::MAX` for all).
///
/// # Errors
/// [`OptionError`] names the option that has a wrong type or value.
pub(crate) fn read(given: &mut Fields) -> Result<Placement, OptionError> {
    const MODES: [(&str, SplitMode); 4] = [
        (SplitMode::None.name(), SplitMode::None),
        (SplitMode::Layer.name(), SplitMode::Layer),
        (SplitMode::Row.name(), SplitMode::Row),
        (SplitMode::Tensor.name(), SplitMode::Tensor),
    ];
    let splits = given.list("tensor_split")?.unwrap_or_default();
    let overrides = given.map("override_tensors")?.unwrap_or_default();
    let memory = |(pattern, value): (String, Value)| Ok((pattern, text("override_tensors", value)?));
    Ok(Placement {
        devices: given.texts("devices")?.map(|names| names.into_iter().map(device).collect()).transpose()?,
        split_mode: given.named("split_mode", &MODES)?,
        main_gpu: given.integer("main_gpu", COUNT)?,
        tensor_split: splits.iter().map(|value| number("tensor_split", value)).collect::<Result<_, _>>()?,
        overrides: overrides.into_iter().map(memory).collect::<Result<_, OptionError>>()?,
        cpu_experts: given.integer("cpu_experts", COUNT)?.unwrap_or(0),
    })
}

/// The name of a device; an address of a server is written out in full.
fn device(name: String) -> Result<String, OptionError> {
    if !RpcAddress::is_meant_by(&name) {
        return Ok(name);
    }
    match name.parse::<RpcAddress>() {
        Ok(address) => Ok(address.to_string()),
        Err(error) => {
            let range = format!("`rpc://HOST:PORT` ({})", error.reason);
            Err(OptionError::out_of_range("devices", range, &name))
        }
    }
}

/// The options as [`read`] reads them.
pub(crate) fn write(placement: &Placement, into: &mut Json) {
    let Placement { devices, split_mode, main_gpu, tensor_split, overrides, cpu_experts } = placement;
    let overrides: serde_json::Map<_, _> =
        overrides.iter().map(|(pattern, memory)| (pattern.clone(), json!(memory))).collect();
    into["devices"] = json!(devices);
    into["split_mode"] = json!(split_mode.map(SplitMode::name));
    into["main_gpu"] = json!(main_gpu);
    into["tensor_split"] = json!(tensor_split);
    into["override_tensors"] = json!(overrides);
    into["cpu_experts"] = json!(cpu_experts);
}
