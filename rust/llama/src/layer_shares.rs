//! How a model's layers, and with them its weights and its cache, are shared by the CPU and the devices beside it.

use crate::device::Device;
use crate::placement::{Placement, SplitMode};
use tabagent_gguf::GgufFile;

/// Bytes of weights by layer: those of each repeating layer, then those of the output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerBytes(Vec<u64>);

impl LayerBytes {
    /// Those of the model in `files` that has so many layers. Tensors that `placement` keeps elsewhere as experts do not count; other overrides
    /// are not looked at, so that rather too much is counted.
    pub(crate) fn of(files: &[GgufFile], layers: u32, placement: &Placement) -> Self {
        let mut bytes = vec![0_u64; layers as usize + 1];
        let (mut output, mut input) = (0, 0);
        for tensor in files.iter().flat_map(GgufFile::tensors) {
            let layer =
                tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
            match layer {
                Some(layer) if layer < layers => {
                    let is_expert = tensor.name.contains("_exps") || tensor.name.contains("_chexps");
                    if !is_expert || layer >= placement.cpu_experts {
                        bytes[layer as usize] += tensor.n_bytes;
                    }
                }
                _ if tensor.name.starts_with("output") => output += tensor.n_bytes,
                _ if tensor.name == "token_embd.weight" => input = tensor.n_bytes,
                _ => {}
            }
        }
        let has_output =
            files.iter().flat_map(GgufFile::tensors).any(|tensor| tensor.name == "output.weight");
        // A model without a matrix of its own for the output has a copy of its embeddings there.
        bytes[layers as usize] = output + if has_output { 0 } else { input };
        Self(bytes)
    }

    /// What each of the devices takes of the weights and how many repeating layers it gets where `count` layers go to them, the output first
    /// (`llama_model::load_tensors` in `src/llama-model.cpp`).
    pub(crate) fn shares(&self, count: u32, devices: &[Device], placement: &Placement) -> Vec<Share> {
        let mut shares = vec![Share::default(); devices.len()];
        let all = self.0.len();
        let count = (count as usize).min(all);
        if devices.is_empty() || count == 0 {
            return shares;
        }
        let ends = ends(devices, placement);
        for (place, layer) in (all - count..all).enumerate() {
            let part = place as f64 / count as f64;
            let device = ends.iter().position(|end| part < *end).unwrap_or(devices.len() - 1);
            shares[device].weights += self.0[layer];
            shares[device].layers += u32::from(layer + 1 < all);
        }
        shares
    }
}

/// What one device has of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Bytes of weights.
    pub(crate) weights: u64,
    /// Repeating layers, with their part of the cache.
    pub(crate) layers: u32,
}

/// Where each device's part of the layers ends, from 0 to 1.
fn ends(devices: &[Device], placement: &Placement) -> Vec<f64> {
    if placement.split_mode == Some(SplitMode::None) {
        let main = placement.main_gpu.unwrap_or(0) as usize;
        return (0..devices.len()).map(|index| if index >= main { 1.0 } else { 0.0 }).collect();
    }
    let part = |(index, device): (usize, &Device)| {
        if placement.tensor_split.is_empty() {
            device.memory_free as f64
        } else {
            f64::from(placement.tensor_split.get(index).copied().unwrap_or(0.0))
        }
    };
    let parts: Vec<f64> = devices.iter().enumerate().map(part).collect();
    let sum: f64 = parts.iter().sum();
    if sum <= 0.0 {
        return (1..=devices.len()).map(|index| index as f64 / devices.len() as f64).collect();
    }
    let mut end = 0.0;
    parts
        .iter()
        .map(|part| {
            end += part / sum;
            end
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceKind;

    fn device(memory_free: u64) -> Device {
        let name = "CUDA0".to_owned();
        Device {
            name,
            description: String::new(),
            kind: DeviceKind::Gpu,
            memory_free,
            memory_total: memory_free,
        }
    }

    fn shares(count: u32, devices: &[Device], placement: &Placement) -> Vec<(u64, u32)> {
        // Four layers of 10 bytes each and an output of 5.
        let bytes = LayerBytes(vec![10, 10, 10, 10, 5]);
        bytes.shares(count, devices, placement).iter().map(|share| (share.weights, share.layers)).collect()
    }

    #[test]
    fn the_output_goes_first_and_the_last_layers_next() {
        let (one, none) = ([device(1)], Placement::default());
        for (count, expected) in [(0, (0, 0)), (1, (5, 0)), (3, (25, 2)), (5, (45, 4)), (u32::MAX, (45, 4))] {
            assert_eq!(shares(count, &one, &none), [expected], "{count}");
        }
        assert_eq!(shares(5, &[], &none), []);
    }

    #[test]
    fn several_devices_take_layers_by_their_memory_or_as_told() {
        let two = [device(300), device(100)];
        assert_eq!(shares(5, &two, &Placement::default()), [(40, 4), (5, 0)]);
        let told = Placement { tensor_split: vec![1.0, 1.0], ..Placement::default() };
        assert_eq!(shares(5, &two, &told), [(30, 3), (15, 1)]);
        let main = Placement { split_mode: Some(SplitMode::None), main_gpu: Some(1), ..Placement::default() };
        assert_eq!(shares(5, &two, &main), [(0, 0), (45, 4)]);
        assert_eq!(shares(5, &[device(0), device(0)], &Placement::default()), [(30, 3), (15, 1)]);
    }
}
