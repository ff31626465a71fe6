//! Importance matrices in GGUF, as `llama-imatrix` writes them (`IMatrixCollector::save_imatrix` in `tools/imatrix/imatrix.cpp`; read by
//! `common_imatrix_load` in `common/imatrix-loader.cpp`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::ggml_type::GgmlType;
use crate::owned::{OwnedArray, OwnedValue};
use crate::progress::{Progress, go_on, no_progress};
use crate::tensor::TensorInfo;
use crate::text::{grouped, shown};
use crate::value::ValueType;
use crate::writer::GgufWriter;

use super::Imatrix;
use super::entry::{self, Entry, Sums, to_numbers};
use super::legacy::CALL_TOKENS;

const TYPE: &str = "general.type";
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// The two tensors of one entry.
#[derive(Default)]
struct Pair<'a> {
    sums: Option<&'a TensorInfo>,
    counts: Option<&'a TensorInfo>,
}

/// Reads the matrix that `file` holds.
pub(super) fn read(file: &GgufFile, progress: Progress<'_>) -> Result<Imatrix, GgufError> {
    let kind = file.metadata().get(TYPE).and_then(|value| value.as_str().map(str::to_owned));
    if let Some(kind) = kind.filter(|kind| kind != "imatrix") {
        let problem =
            format!("is `{}`, but that of an importance matrix is `imatrix`", shown(kind.as_bytes()));
        return Err(unusable(file, Subject::key(TYPE.as_bytes()), problem));
    }
    let datasets = datasets(file)?;
    let (n_chunks, chunk_size) = (number(file, CHUNK_COUNT)?, number(file, CHUNK_SIZE)?);
    let mut pairs: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    for tensor in file.tensors() {
        if let Some(name) = tensor.name.strip_suffix(SUMS) {
            pairs.entry(name).or_default().sums = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(COUNTS) {
            pairs.entry(name).or_default().counts = Some(tensor);
        }
    }
    if pairs.is_empty() {
        let problem = format!("has no tensors whose names end in `{SUMS}`; it holds no importances");
        return Err(unusable(file, Subject::Header, problem));
    }
    let read = |(name, pair): (&str, Pair<'_>)| {
        go_on(progress)?;
        Ok((name.to_owned(), entry(file, name, &pair)?))
    };
    let entries: Result<_, GgufError> = pairs.into_iter().map(read).collect();
    Ok(Imatrix { entries: entries?, datasets, n_chunks, chunk_size, ..Imatrix::empty() })
}

/// The texts that the model was run on.
fn datasets(file: &GgufFile) -> Result<Vec<String>, GgufError> {
    let value = file.metadata().get(DATASETS).ok_or_else(|| missing(file, DATASETS))?;
    let array = value.as_array().filter(|array| array.is_empty() || array.item_type() == ValueType::String);
    let array = array.ok_or_else(|| unusable_key(file, DATASETS, "must be an array of strings"))?;
    Ok(array.strings().into_iter().flatten().map(|text| text.to_string_lossy().into_owned()).collect())
}

/// Divides the sums of one tensor by their counts.
fn entry(file: &GgufFile, name: &str, pair: &Pair<'_>) -> Result<Entry, GgufError> {
    let fail = |tensor: &TensorInfo, problem| Err(invalid(file, tensor, problem));
    let (sums, counts) = match (pair.sums, pair.counts) {
        (Some(sums), Some(counts)) => (sums, counts),
        (Some(only), None) => {
            return fail(only, format!("has no counts; tensor `{name}{COUNTS}` is missing"));
        }
        (None, Some(only)) => return fail(only, format!("has no sums; tensor `{name}{SUMS}` is missing")),
        (None, None) => return Err(missing(file, SUMS)),
    };
    for tensor in [sums, counts] {
        if tensor.ggml_type != GgmlType::F32 {
            return fail(tensor, format!("has type `{}`, but importances are `F32`", tensor.ggml_type));
        }
    }
    let (n_sums, n_counts) = (sums.shape.n_elements(), counts.shape.n_elements());
    if n_sums == 0 || n_counts == 0 || !n_sums.is_multiple_of(n_counts) {
        let (n_sums, n_counts) = (grouped(n_sums), grouped(n_counts));
        return fail(sums, format!("has `{n_sums}` sums, which `{n_counts}` counts do not divide"));
    }
    let mut rounded = Vec::new();
    for count in to_numbers(file.tensor_data(counts), file.byte_order()) {
        // The count must fit 63 bits; how the tool rounds anything else is undefined.
        if !count.is_finite() || count.abs() >= 9.2e18 {
            return fail(counts, format!("has count `{count}`, which is no number of tokens"));
        }
        rounded.push(count.round() as i64);
    }
    let stored = file.shared_data(sums);
    let columns = (n_sums / n_counts) as usize;
    let mut importances: Vec<f32> = to_numbers(&stored, file.byte_order()).collect();
    for (matrix, &count) in importances.chunks_exact_mut(columns).zip(&rounded) {
        if let Some(problem) = entry::problem(matrix) {
            return fail(sums, problem);
        }
        for sum in matrix {
            *sum = if count > 0 { *sum / count as f32 } else { 1.0 };
        }
    }
    Ok(Entry { importances, counts: rounded, sums: Sums::Stored(stored, file.byte_order()) })
}

impl Imatrix {
    /// The matrix as a GGUF file to be written, in the form that `llama-imatrix` gives it.
    ///
    /// Sums and counts are those that were read, so that matrices can be combined. A `.dat` file has only means and calls; its calls count as 512
    /// tokens each, the tool's default.
    pub fn writer(&self) -> GgufWriter {
        let datasets = self.datasets.iter().map(|name| name.clone().into_bytes()).collect();
        let mut writer = GgufWriter::new()
            .with_inputs(&self.inputs)
            .add(TYPE, "imatrix")
            .add(DATASETS, OwnedValue::Array(OwnedArray::String(datasets)))
            .add(CHUNK_COUNT, self.n_chunks)
            .add(CHUNK_SIZE, if self.chunk_size == 0 { u32::from(CALL_TOKENS) } else { self.chunk_size });
        for (name, entry) in &self.entries {
            let n_counts = entry.counts.len() as u64;
            let columns = entry.importances.len() as u64 / n_counts.max(1);
            writer = writer
                .add_tensor(&format!("{name}{SUMS}"), GgmlType::F32, &[columns, n_counts], entry.sums())
                .add_tensor(&format!("{name}{COUNTS}"), GgmlType::F32, &[1, n_counts], entry.counts());
        }
        writer
    }

    /// Writes the matrix as a GGUF file, which appears whole or not at all.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] where a tensor's name is too long for the format, [`GgufError::Write`] if the system refuses.
    pub fn write_to(&self, path: &Path) -> Result<(), GgufError> {
        self.write_with(path, &no_progress)
    }

    /// [`Imatrix::write_to`] that tells `progress` the bytes written, and leaves nothing behind if that returns false.
    ///
    /// # Errors
    /// As [`Imatrix::write_to`]; [`GgufError::Cancelled`].
    pub fn write_with(&self, path: &Path, progress: Progress<'_>) -> Result<(), GgufError> {
        self.writer().write_with(path, progress)
    }
}

fn number(file: &GgufFile, key: &str) -> Result<u32, GgufError> {
    let value = file.metadata().get(key).ok_or_else(|| missing(file, key))?;
    let found = value.as_u64().and_then(|number| u32::try_from(number).ok());
    found.ok_or_else(|| unusable_key(file, key, "must be a whole number below 2^32"))
}

fn missing(file: &GgufFile, key: &str) -> GgufError {
    unusable_key(
        file,
        key,
        "is missing; it is no importance matrix, or one that `llama-imatrix` must write again",
    )
}

fn unusable_key(file: &GgufFile, key: &str, problem: &str) -> GgufError {
    unusable(file, Subject::key(key.as_bytes()), problem.to_owned())
}

fn unusable(file: &GgufFile, subject: Subject, problem: String) -> GgufError {
    let offset = if let Subject::Key(key) = &subject { file.metadata().offset(key) } else { None };
    GgufError::Unusable { file: file.file_name().to_owned(), offset, subject, problem }
}

fn invalid(file: &GgufFile, tensor: &TensorInfo, problem: String) -> GgufError {
    GgufError::Invalid {
        file: file.file_name().to_owned(),
        offset: file.data_start(tensor),
        subject: Subject::tensor(tensor.name.as_bytes()),
        problem,
    }
}
