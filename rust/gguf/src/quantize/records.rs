//! The records of a quantized file: metadata and tensors.

use std::io::{self, Write};

use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::imatrix::Imatrix;
use crate::owned::OwnedValue;
use crate::writer::{GgufWriter, TensorData};

use super::error::QuantizeError;
use super::exempt::n_dims;
use super::new_value::stored;
use super::options::QuantizeOptions;
use super::plan::{Plan, PlannedTensor};

/// The version of ggml's block formats (`GGML_QNT_VERSION` in `ggml/include/ggml.h`).
const QUANTIZATION_VERSION: u32 = 2;

/// Longest string that llama.cpp's quantizer stores for an importance matrix, in bytes.
const MAX_STRING_BYTES: usize = 127;

/// A writer with the metadata of `file` and the new keys, in the order in which llama.cpp's quantizer leaves them.
pub(super) fn writer(
    file: &GgufFile,
    plan: &Plan,
    options: &QuantizeOptions,
) -> Result<GgufWriter, QuantizeError> {
    let mut writer = GgufWriter::new().add_metadata_of(file);
    for (key, value) in
        [("general.quantization_version", QUANTIZATION_VERSION), ("general.file_type", plan.file_type)]
    {
        writer = moved_to_end(writer, key, value);
    }
    writer = writer.without_split();
    for (key, value) in &options.overrides {
        writer = moved_to_end(writer, key, stored(key, value)?);
    }
    if let Some(imatrix) = &options.imatrix {
        writer = with_origin(writer, imatrix, &options.imatrix_file);
    }
    if let Some(n_layers) = plan.n_layers {
        let architecture = match options.overrides.iter().find(|(key, _)| key == "general.architecture") {
            Some((_, OwnedValue::String(name))) => String::from_utf8_lossy(name).into_owned(),
            _ => file.architecture().unwrap_or_default().to_owned(),
        };
        writer = moved_to_end(writer, &format!("{architecture}.block_count"), n_layers);
    }
    Ok(writer)
}

fn moved_to_end(writer: GgufWriter, key: &str, value: impl Into<OwnedValue>) -> GgufWriter {
    writer.remove(key).add(key, value)
}

/// Says which importances were used.
fn with_origin(writer: GgufWriter, imatrix: &Imatrix, file: &str) -> GgufWriter {
    let text = |text: &str| {
        let bytes = text.as_bytes();
        OwnedValue::String(bytes.get(..MAX_STRING_BYTES).unwrap_or(bytes).to_vec())
    };
    let mut writer = moved_to_end(writer, "quantize.imatrix.file", text(file));
    if let Some(dataset) = imatrix.datasets().first() {
        writer = moved_to_end(writer, "quantize.imatrix.dataset", text(dataset));
    }
    let n_entries = u32::try_from(imatrix.n_entries()).unwrap_or(u32::MAX);
    writer = moved_to_end(writer, "quantize.imatrix.entries_count", n_entries);
    match imatrix.n_chunks() {
        0 => writer,
        n_chunks => moved_to_end(writer, "quantize.imatrix.chunks_count", n_chunks),
    }
}

/// An error about a tensor that is not in the model it was planned for.
pub(super) fn lost(name: &str) -> QuantizeError {
    QuantizeError::Gguf(GgufError::Unwritable {
        subject: Subject::Tensor(name.to_owned()),
        problem: "is not in the model; plan it again".to_owned(),
    })
}

/// Adds a tensor as it was planned, without dimensions of 1 at the end, as llama.cpp writes them.
pub(super) fn add_tensor(
    writer: GgufWriter,
    tensor: &PlannedTensor,
    make: impl Fn(&mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
) -> GgufWriter {
    let dims = &[0, 1, 2, 3].map(|index| tensor.shape.dim(index))[..n_dims(&tensor.shape)];
    writer.add_tensor(&tensor.name, tensor.to, dims, TensorData::made(tensor.bytes_after, make))
}
