//! Importance matrices: how much each column of a tensor counts when its weights are rounded.
//!
//! For a matrix that is multiplied with activations `x`, the importance of column `j` is the mean of `x_j²` over the tokens of a
//! calibration text. llama.cpp's `llama-imatrix` collects them; `quantize` makes better blocks with them.

mod entry;
mod gguf;
mod legacy;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{GgufError, Subject};
use crate::file::{GgufFile, MEMORY};
use crate::input::Inputs;
use crate::mmap::Bytes;
use crate::progress::{Progress, no_progress};
use crate::tensor::TensorInfo;
use crate::text::grouped;

use entry::{Entry, Sums};

/// Tensors that llama.cpp quantizes without importances if theirs have the wrong length (`tensor_name_match_token_embd` in `src/llama-quant.cpp`).
const EMBEDDINGS: [&str; 2] = ["token_embd.weight", "per_layer_token_embd.weight"];

/// An importance matrix, from a GGUF file or from the older `.dat` form.
///
/// The importances are those that `llama-quantize` computes with (`load_imatrix` in `tools/quantize/quantize.cpp`): sums of squares divided by their
/// counts. An expert that no token chose, whose count is not above 0, has importances of 1. A matrix in the `.dat` form whose number of calls is not
/// above 0 is taken as it is. Counts are rounded to whole numbers first, as there.
///
/// Importances that are NaN or infinite are refused, as by the tool, and so are negative ones, because no sum of squares is negative.
///
/// ```
/// use tabagent_gguf::Imatrix;
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let matrix = Imatrix::from_importances([("blk.0.attn_q.weight".to_owned(), vec![0.5, 2.0])])?;
/// let again = Imatrix::from_bytes(matrix.writer().to_bytes()?)?;
/// assert_eq!(again.importances("blk.0.attn_q.weight"), Some(&[0.5, 2.0][..]));
/// assert_eq!((again.n_entries(), again.importances("output.weight")), (1, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Imatrix {
    entries: BTreeMap<String, Entry>,
    datasets: Vec<String>,
    n_chunks: u32,
    /// Tokens in a chunk; 0 where the file does not say.
    chunk_size: u32,
    /// The file that it was read from.
    inputs: Inputs,
}

impl Imatrix {
    /// Maps the file at `path`, of either form, and reads it. It must not be truncated while the result lives.
    ///
    /// # Errors
    /// [`GgufError::Open`] if the file cannot be mapped, [`GgufError::Invalid`] if it breaks a rule of its form,
    /// [`GgufError::Unusable`] if it is a GGUF file but no importance matrix.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::open_with(path, &no_progress)
    }

    /// [`Imatrix::open`], which `progress` can stop between tensors.
    ///
    /// # Errors
    /// As [`Imatrix::open`]; [`GgufError::Cancelled`].
    pub fn open_with(path: &Path, progress: Progress<'_>) -> Result<Self, GgufError> {
        let bytes = Bytes::map(path).map_err(|source| GgufError::Open { path: path.to_owned(), source })?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        Self::parse(name, bytes, progress)
    }

    /// Reads a file that is already in memory. Errors call it `memory.gguf`.
    ///
    /// # Errors
    /// As [`Imatrix::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::parse(MEMORY.to_owned(), Bytes::Owned(bytes), &no_progress)
    }

    /// Makes a matrix of importances that were computed elsewhere: for each tensor those of all columns, for experts one after the other.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] for a tensor without importances or given twice, and for one that is negative, infinite or NaN.
    pub fn from_importances(
        entries: impl IntoIterator<Item = (String, Vec<f32>)>,
    ) -> Result<Self, GgufError> {
        let mut matrix = Self { n_chunks: 1, chunk_size: 1, ..Self::empty() };
        for (name, importances) in entries {
            let fail =
                |problem| Err(GgufError::Unwritable { subject: Subject::tensor(name.as_bytes()), problem });
            if importances.is_empty() {
                return fail("has no importances; leave it out".to_owned());
            }
            if let Some(problem) = entry::problem(&importances) {
                return fail(problem);
            }
            if matrix.entries.contains_key(&name) {
                return fail("was given twice; names must be unique".to_owned());
            }
            matrix.entries.insert(name, Entry { importances, counts: vec![1], sums: Sums::AsImportances });
        }
        Ok(matrix)
    }

    /// The importances of the columns of the tensor called `name`, in order, for experts one after the other; `None` if there are none.
    pub fn importances(&self, name: &str) -> Option<&[f32]> {
        self.entries.get(name).map(|entry| entry.importances.as_slice())
    }

    /// The importances for `tensor`, one for each column of each of its matrices; `None` if there are none. For token embeddings, importances of
    /// another length count as none, as in `llama-quantize`.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if they are not those of a tensor of this shape.
    pub fn importances_for(&self, tensor: &TensorInfo) -> Result<Option<&[f32]>, GgufError> {
        let Some(found) = self.importances(&tensor.name) else { return Ok(None) };
        let needed = tensor.shape.row_len().saturating_mul(tensor.shape.dim(2));
        if found.len() as u64 == needed {
            return Ok(Some(found));
        }
        if EMBEDDINGS.contains(&tensor.name.as_str()) {
            return Ok(None);
        }
        Err(GgufError::Unwritable {
            subject: Subject::tensor(tensor.name.as_bytes()),
            problem: format!(
                "has `{}` columns in all its matrices, but the importance matrix has `{}` for it; use one of the same model",
                grouped(needed),
                grouped(found.len() as u64)
            ),
        })
    }

    /// Names of tensors with their importances, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.importances.as_slice()))
    }

    /// Keeps the tensors for whose names `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.entries.retain(|name, _| keep(name));
    }

    /// How many tensors have importances.
    pub fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// The names that the tool was given for the texts that the model was run on; none if the file does not say.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// How many chunks of text the model was run on; 0 if the file does not say.
    pub fn n_chunks(&self) -> u32 {
        self.n_chunks
    }

    /// Tokens in a chunk; 0 if the file does not say, as in the `.dat` form.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The file that it was read from; nothing made with it may replace that file.
    pub(crate) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// A matrix without entries.
    fn empty() -> Self {
        Self {
            entries: BTreeMap::new(),
            datasets: Vec::new(),
            n_chunks: 0,
            chunk_size: 0,
            inputs: Inputs::default(),
        }
    }

    fn parse(name: String, bytes: Bytes, progress: Progress<'_>) -> Result<Self, GgufError> {
        let mut inputs = Inputs::default();
        inputs.add(bytes.file_id());
        let matrix = Self::read(name, bytes, progress)?;
        Ok(Self { inputs, ..matrix })
    }

    fn read(name: String, bytes: Bytes, progress: Progress<'_>) -> Result<Self, GgufError> {
        if bytes.as_slice().starts_with(b"GGUF") {
            return gguf::read(&GgufFile::parse(name, bytes)?, progress);
        }
        legacy::read(&name, &Arc::new(bytes), progress)
    }
}
