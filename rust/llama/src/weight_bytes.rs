//! Bytes of a model's weights in memory.

use tabagent_gguf::{GgmlType, GgufFile, TensorInfo};

/// Where the weights of a model will lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeightBytes {
    /// Read from the mapped file when they are needed.
    pub(crate) mapped: u64,
    /// In memory of their own: all that is read without a map, and what the CPU module packs in another order.
    pub(crate) allocated: u64,
}

impl WeightBytes {
    /// Those of the model in `files`, its parts, with the CPU module of that name. Of weights that a module packs only in some shapes, all count.
    pub(crate) fn of(files: &[GgufFile], module: Option<&str>, memory_map: bool) -> Self {
        let tensors = || files.iter().flat_map(GgufFile::tensors);
        let has_output = tensors().any(|tensor| tensor.name == "output.weight");
        let all: u64 = tensors().map(|tensor| tensor.n_bytes).sum();
        let packing = Packing::of(module);
        let packed = |tensor: &&TensorInfo| {
            let is_input = tensor.name == "token_embd.weight";
            let is_matrix = tensor.shape.dims().len() >= 2 && tensor.name.ends_with(".weight");
            is_matrix && (!is_input || !has_output) && packing.is_for(tensor.ggml_type)
        };
        let packed_bytes: u64 = tensors().filter(packed).map(|tensor| packing.bytes(tensor)).sum();
        if memory_map {
            return Self { mapped: all, allocated: packed_bytes };
        }
        // Without a map, a packed matrix is kept once, unless it also serves as the table of embeddings.
        let plain: u64 =
            tensors().filter(packed).filter(|t| t.name != "token_embd.weight").map(|t| t.n_bytes).sum();
        Self { mapped: 0, allocated: all - plain + packed_bytes }
    }
}

/// Which matrices a CPU module may pack (`ggml_repack_get_optimal_repack_type` in `ggml/src/ggml-cpu/repack.cpp`, `extra_buffer_type::supports_op`
/// in `ggml/src/ggml-cpu/amx/amx.cpp`), by the instructions that it is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Packing {
    avx2: bool,
    avx512: bool,
    amx: bool,
    /// AArch64's products of four bytes each.
    dotprod: bool,
}

impl Packing {
    /// By the names of the modules in `ggml/src/CMakeLists.txt`. One of another name, or without any, may pack all that some module packs.
    fn of(module: Option<&str>) -> Self {
        let none = Self::default();
        match module.unwrap_or_default() {
            "x64" | "sse42" | "sandybridge" | "ivybridge" | "piledriver" | "armv8.0_1"
            | "android_armv8.0_1" => none,
            "haswell" | "alderlake" => Self { avx2: true, ..none },
            "skylakex" | "cannonlake" | "cascadelake" | "icelake" | "cooperlake" | "zen4" => {
                Self { avx2: true, avx512: true, ..none }
            }
            "sapphirerapids" => Self { dotprod: false, ..Self::all() },
            name if ["armv", "android_armv", "apple_"].iter().any(|start| name.starts_with(start)) => {
                Self { dotprod: true, ..none }
            }
            _ => Self::all(),
        }
    }

    fn all() -> Self {
        Self { avx2: true, avx512: true, amx: true, dotprod: true }
    }

    fn is_for(self, kind: GgmlType) -> bool {
        match kind {
            GgmlType::Q4_0 | GgmlType::Q4_K => self.avx2 || self.amx || self.dotprod,
            GgmlType::IQ4_NL | GgmlType::MXFP4 => self.avx2 || self.dotprod,
            GgmlType::Q2_K => self.avx512,
            GgmlType::Q8_0 | GgmlType::Q5_K | GgmlType::Q6_K => self.amx || self.dotprod,
            GgmlType::F16 | GgmlType::Q4_1 | GgmlType::IQ4_XS => self.amx,
            GgmlType::Q1_0 => self.dotprod,
            _ => false,
        }
    }

    /// The bytes of a packed matrix: AMX keeps sums beside the blocks (`get_row_size` in `ggml/src/ggml-cpu/amx/mmq.cpp`).
    fn bytes(self, tensor: &TensorInfo) -> u64 {
        let block = match tensor.ggml_type {
            _ if !self.amx => return tensor.n_bytes,
            GgmlType::Q8_0 => 32,
            GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::IQ4_XS => 256,
            _ => return tensor.n_bytes,
        };
        tensor.n_bytes + 4 * tensor.shape.n_elements().div_ceil(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabagent_gguf::GgufWriter;

    /// A model of 8 rows of 256 weights in each tensor.
    fn file(tensors: &[(&str, GgmlType)]) -> GgufFile {
        let writer = GgufWriter::new().set("general.architecture", "llama");
        let writer = tensors.iter().fold(writer, |writer, (name, kind)| {
            let bytes = vec![0_u8; usize::try_from(kind.n_bytes(2048).unwrap()).unwrap()];
            writer.add_tensor(name, *kind, &[256, 8], bytes)
        });
        GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap()
    }

    fn bytes(tensors: &[(&str, GgmlType)], module: &str, map: bool) -> (u64, u64) {
        let weights = WeightBytes::of(&[file(tensors)], Some(module), map);
        (weights.mapped, weights.allocated)
    }

    #[test]
    fn mapped_weights_are_counted_once_more_where_they_are_packed() {
        let size = |kind: GgmlType| kind.n_bytes(2048).unwrap();
        let (q4, q8, f16) = (size(GgmlType::Q4_K), size(GgmlType::Q8_0), size(GgmlType::F16));
        let model = [
            ("token_embd.weight", GgmlType::Q4_K),
            ("output.weight", GgmlType::Q8_0),
            ("blk.0.attn_q.weight", GgmlType::Q4_K),
            ("blk.0.ffn_up.weight", GgmlType::F16),
        ];
        let all = 2 * q4 + q8 + f16;
        assert_eq!(bytes(&model, "x64", true), (all, 0));
        assert_eq!(bytes(&model, "haswell", true), (all, q4));
        assert_eq!(bytes(&model, "sapphirerapids", true), (all, q4 + 4 * 8 + q8 + 4 * 64 + f16));
        assert_eq!(bytes(&model, "armv8.2_2", true), (all, q4 + q8));
        assert_eq!(bytes(&model, "haswell", false), (0, all));
    }

    #[test]
    fn embeddings_that_are_the_output_too_are_kept_twice_where_they_are_packed() {
        let q4 = GgmlType::Q4_K.n_bytes(2048).unwrap();
        let tied = [("token_embd.weight", GgmlType::Q4_K)];
        assert_eq!(bytes(&tied, "haswell", true), (q4, q4));
        assert_eq!(bytes(&tied, "haswell", false), (0, 2 * q4));
        assert_eq!(bytes(&tied, "x64", false), (0, q4));
    }

    #[test]
    fn modules_pack_what_their_instructions_are_for() {
        let packed = |kind, module| Packing::of(Some(module)).is_for(kind);
        assert!(!packed(GgmlType::Q4_0, "sse42"));
        assert!(packed(GgmlType::Q4_0, "haswell"));
        assert!(!packed(GgmlType::Q2_K, "haswell"));
        assert!(packed(GgmlType::Q2_K, "zen4"));
        assert!(!packed(GgmlType::Q6_K, "zen4"));
        assert!(packed(GgmlType::Q6_K, "sapphirerapids"));
        assert!(!packed(GgmlType::F32, "sapphirerapids"));
        assert!(!packed(GgmlType::Q4_0, "armv8.0_1"));
        assert!(packed(GgmlType::Q6_K, "armv8.2_1"));
        assert!(packed(GgmlType::Q8_0, "apple_m1"));
        assert!(!packed(GgmlType::Q2_K, "armv9.2_2"));
        assert!(!packed(GgmlType::Q1_0, "haswell"));
    }
}
