//! GGUF files of Microsoft's BitNet fork, rewritten with types that every llama.cpp knows.
//!
//! The fork's type 36, `I2_S`, packs ternary weights with one F32 scale for a whole tensor. `TQ2_0` packs the same weights with a half-precision
//! scale for each block of 256; here that scale is 1, and the tensor's own scale is kept exactly, in the `.scale` tensor with which llama.cpp
//! multiplies the product. Rows whose length is no multiple of 256 become `Q4_0` with scales of 1, which holds −1, 0 and 1 exactly, too.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::file::GgufFile;
use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::mmap::SharedBytes;
use crate::model::GgufModel;
use crate::owned::OwnedValue;
use crate::progress::Progress;
use crate::reader::ByteOrder;
use crate::tensor::TensorInfo;
use crate::text::{grouped, shown};
use crate::value::Value;
use crate::writer::{GgufWriter, TensorData};

use super::error::ConvertError;
use super::{ConvertOptions, Converted, OutType};

/// Architectures whose graphs multiply with `.scale` tensors and compute what the fork does.
const ARCHITECTURES: [&str; 2] = ["bitnet", "llama"];

/// Matrices of a block for which llama.cpp reads a `.scale` tensor.
const SCALED: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// 1 in half precision.
const HALF_ONE: [u8; 2] = [0x00, 0x3c];

/// Weights that the fork packs together, in [`GROUP_BYTES`].
const GROUP: usize = 128;
const GROUP_BYTES: usize = 32;

/// Bytes that may lie between an `I2_S` tensor and the next one, or the end of the file: what a writer pads to whole pages.
const MAX_GAP: u64 = 4096;

/// What to do about `bitnet-b1.58`, for which the fork has a graph of its own.
const FORK_ONLY: &str = "; llama.cpp's `bitnet` graph gates with SiLU, and none of its graphs gates with a squared ReLU between sub-norms as \
    `bitnet-b1.58` needs it, so use the model with Microsoft's bitnet.cpp";

/// What stopped the work on a tensor while it was written.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    /// What it was, once.
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, problem: String) -> io::Error {
        let error = io::Error::new(io::ErrorKind::InvalidData, problem.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
        error
    }
}

/// Rewrites the file at `path`, or the model that it is a part of, to `out`.
pub(super) fn rewrite(
    path: &Path,
    out: &Path,
    options: &ConvertOptions,
    progress: Progress<'_>,
) -> Result<Converted, ConvertError> {
    let wrong = |problem: String| ConvertError::source(path, problem);
    if !matches!(options.out_type, OutType::Auto | OutType::Tq2_0) {
        return Err(wrong(format!(
            "a GGUF file can be converted to `tq2_0` only, not to `{}`",
            options.out_type
        )));
    }
    let model = GgufModel::open(path)?;
    if !model.tensors().any(|tensor| tensor.info.ggml_type == GgmlType::I2_S) {
        return Err(wrong(
            "it is a GGUF file without `I2_S` tensors; there is nothing to convert".to_owned(),
        ));
    }
    let architecture = match model.metadata().get("general.architecture") {
        Some(Value::String(name)) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
        _ => return Err(wrong("key `general.architecture` is missing".to_owned())),
    };
    if !multiplies_scales(&architecture) {
        let way_out = if architecture.starts_with("bitnet-") { FORK_ONLY } else { "" };
        let supported = format!("`{}`{way_out}", ARCHITECTURES.join("` and `"));
        return Err(ConvertError::Architecture { path: path.to_owned(), architecture, supported });
    }
    let inputs = model.inputs();
    inputs.refuse(out)?;
    let mut writer = GgufWriter::new().with_inputs(&inputs).add_metadata_of(model.first());
    writer = writer.without_split().set("general.file_type", OwnedValue::U32(FileType::TQ2_0.id()));
    let (mut n_tensors, mut n_params) = (0, 0);
    let failure = Failure::default();
    for part in model.parts() {
        for tensor in part.tensors() {
            n_params += tensor.shape.n_elements();
            n_tensors += 1;
            if tensor.ggml_type == GgmlType::I2_S {
                n_tensors += 1;
                n_params += 1;
                let made = Rewritten::of(part, tensor, &failure).map_err(wrong)?;
                writer = writer.add_tensor(&tensor.name, made.ggml_type, tensor.shape.dims(), made.weights);
                writer = add_scale(writer, &made.scale_name, made.scale);
            } else {
                let data = TensorData::Shared(part.shared_data(tensor), part.byte_order());
                writer = writer.add_tensor(&tensor.name, tensor.ggml_type, tensor.shape.dims(), data);
            }
        }
    }
    let written = writer.write_with(out, progress);
    if let Some(problem) = failure.take() {
        return Err(wrong(problem));
    }
    written?;
    Ok(Converted { architecture, ggml_type: GgmlType::TQ2_0, n_tensors, n_params })
}

/// True if llama.cpp's graph of the architecture multiplies with `.scale` tensors, and computes what the fork's does.
pub(crate) fn multiplies_scales(architecture: &str) -> bool {
    ARCHITECTURES.contains(&architecture)
}

/// Adds the scale of a matrix.
pub(crate) fn add_scale(writer: GgufWriter, name: &str, scale: f32) -> GgufWriter {
    writer.add_tensor(name, GgmlType::F32, &[1], scale.to_le_bytes().to_vec())
}

/// An `I2_S` tensor as llama.cpp can use it: exactly its weights, and its scale apart.
pub(crate) struct Rewritten {
    /// `TQ2_0`, or `Q4_0` for rows that are no whole blocks of that.
    pub(crate) ggml_type: GgmlType,
    /// The weights −1, 0 and 1, in blocks with a scale of 1.
    pub(crate) weights: TensorData,
    /// The name of the tensor with the scale.
    pub(crate) scale_name: String,
    /// The scale.
    pub(crate) scale: f32,
}

impl Rewritten {
    /// Checks `tensor` of `part`. What is wrong with its weights is known only when they are written, and stands in `failure` then.
    pub(crate) fn of(part: &GgufFile, tensor: &TensorInfo, failure: &Failure) -> Result<Self, String> {
        let name = shown(tensor.name.as_bytes());
        check_room(part, tensor)?;
        let scale_name = scale_name(&tensor.name).ok_or_else(|| {
            format!("tensor `{name}` is of type `I2_S`, but llama.cpp reads no scale for it")
        })?;
        let data = part.shared_data(tensor);
        let n_packed = (tensor.shape.n_elements() / 4) as usize;
        let bytes = data.get(n_packed..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let scale = match part.byte_order() {
            ByteOrder::Little => f32::from_le_bytes(bytes),
            ByteOrder::Big => f32::from_be_bytes(bytes),
        };
        if !scale.is_finite() {
            return Err(format!(
                "tensor `{name}` has the scale `{scale}` after its weights; it must be finite"
            ));
        }
        let row = tensor.shape.row_len();
        let ggml_type = if row.is_multiple_of(256) { GgmlType::TQ2_0 } else { GgmlType::Q4_0 };
        let n_bytes = ggml_type.n_bytes(tensor.shape.n_elements());
        let n_bytes = n_bytes.filter(|_| row.is_multiple_of(32)).ok_or_else(|| {
            format!("tensor `{name}` has rows of `{row}` weights; they must be multiples of 32")
        })?;
        let failure = failure.clone();
        let weights =
            TensorData::made(n_bytes, move |out| repack(&data, n_packed, ggml_type, &name, &failure, out));
        Ok(Self { ggml_type, weights, scale_name, scale })
    }
}

/// The tensor that llama.cpp multiplies with the product of the matrix `name`; `None` for a matrix without.
pub(crate) fn scale_name(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".weight")?;
    let (_, kind) = stem.strip_prefix("blk.")?.split_once('.')?;
    SCALED.contains(&kind).then(|| format!("{stem}.scale"))
}

/// Checks by the room that it has that the tensor is an `I2_S` one: llama.cpp had another type 36, which it has removed.
fn check_room(part: &GgufFile, tensor: &TensorInfo) -> Result<(), String> {
    let next = part.tensors().iter().map(|other| other.offset).filter(|offset| *offset > tensor.offset).min();
    let end = next.unwrap_or_else(|| part.file_size().saturating_sub(part.data_offset()));
    let room = end.saturating_sub(tensor.offset);
    if room.saturating_sub(tensor.n_bytes) <= MAX_GAP.max(part.alignment()) {
        return Ok(());
    }
    let name = shown(tensor.name.as_bytes());
    let (room, n_bytes) = (grouped(room), grouped(tensor.n_bytes));
    Err(format!(
        "tensor `{name}` has number type 36 and `{room}` bytes, but as `I2_S` it takes `{n_bytes}`; it is of another type of that number (llama.cpp \
         had `IQ4_NL_4_4`, and removed it). Quantize or convert the original model again"
    ))
}

/// Writes the weights of the first `n_packed` bytes of `data` as blocks of `ggml_type`.
fn repack(
    data: &SharedBytes,
    n_packed: usize,
    ggml_type: GgmlType,
    name: &str,
    failure: &Failure,
    out: &mut dyn Write,
) -> io::Result<()> {
    let groups_a_block = if ggml_type == GgmlType::TQ2_0 { 2 } else { 1 };
    let packed = data.get(..n_packed).unwrap_or_default();
    let mut bytes = Vec::with_capacity(1 << 16);
    for block in packed.chunks(groups_a_block * GROUP_BYTES) {
        // Code 3, with both bits set, stands for no weight.
        if block.iter().any(|byte| byte & (byte >> 1) & 0x55 != 0) {
            return Err(failure.set(format!("tensor `{name}` holds a weight that is none of -1, 0 and 1")));
        }
        if ggml_type == GgmlType::TQ2_0 {
            bytes.extend(block.iter().map(|byte| reversed(*byte)));
            bytes.extend(HALF_ONE);
        } else {
            q4_0(block, &mut bytes);
        }
        if bytes.len() >= 1 << 16 {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    out.write_all(&bytes)
}

/// Reverses the order of the four pairs of bits: the fork starts with the highest, `TQ2_0` with the lowest.
fn reversed(byte: u8) -> u8 {
    byte >> 6 | (byte >> 2 & 0x0c) | (byte << 2 & 0x30) | byte << 6
}

/// Appends one group of weights as four `Q4_0` blocks with a scale of 1. Weight 0 has code 8 in `Q4_0` and code 1 in `I2_S`.
fn q4_0(group: &[u8], out: &mut Vec<u8>) {
    for block in 0..GROUP / 32 {
        let weight =
            |index: usize| (group.get(index).copied().unwrap_or_default() >> (6 - 2 * block) & 3) + 7;
        out.extend(HALF_ONE);
        out.extend((0..16).map(|index| weight(index) | weight(index + 16) << 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_bits_are_reversed() {
        assert_eq!(reversed(0b00_01_10_00), 0b00_10_01_00);
        assert!((0..=255).all(|byte| reversed(reversed(byte)) == byte));
    }

    #[test]
    fn blocks_of_four_bits_hold_the_weights() {
        let group: Vec<u8> = (0..32).map(|p| if p == 17 { 0b10_01_00_01 } else { 0b01_01_01_01 }).collect();
        let mut out = Vec::new();
        q4_0(&group, &mut out);
        assert_eq!(out.len(), 4 * 18);
        // Weight 17 of each block is in the upper half of byte 1.
        let upper: Vec<u8> = out.chunks(18).map(|block| block[3] >> 4).collect();
        assert_eq!(upper, [9, 8, 7, 8]);
        assert!(out.chunks(18).all(|block| block[..2] == HALF_ONE && block[2] == 0x88));
    }
}
