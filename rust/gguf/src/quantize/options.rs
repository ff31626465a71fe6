//! How a model is quantized.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::imatrix::Imatrix;
use crate::owned::OwnedValue;

use super::tensor_rule::TensorRule;

/// What a model becomes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// A file of this type, with its mixture.
    FileType(FileType),
    /// The same types as before: only metadata, order and layers change.
    Copy,
    /// A type for each tensor, in the order of the [`Plan`](super::Plan); the types of tensors that may not be quantized are ignored.
    Chosen(Vec<GgmlType>),
}

/// Takes the names of file types, and `COPY`.
impl std::str::FromStr for Target {
    type Err = super::QuantizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("copy") { Ok(Self::Copy) } else { Ok(Self::FileType(text.parse()?)) }
    }
}

/// The options of llama.cpp's quantizer; see `with_*` for what each does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuantizeOptions {
    /// What the model becomes.
    pub target: Target,
    /// No mixture: every tensor that may be quantized gets the file type's default.
    pub is_pure: bool,
    /// `output.weight` keeps its type.
    pub leaves_output: bool,
    /// The type of `output.weight`, and of token embeddings that are the output, too.
    pub output_type: Option<GgmlType>,
    /// The type of the token embeddings.
    pub embedding_type: Option<GgmlType>,
    /// Types by names; the first that applies counts.
    pub rules: Vec<TensorRule>,
    /// Quantized tensors may be quantized again.
    pub allows_requantizing: bool,
    /// As many parts as before, with the same tensors.
    pub keeps_split: bool,
    /// New values of metadata, which also count for the choice of types: [`OwnedValue::I64`] (stored as `u32`), [`OwnedValue::F64`]
    /// (stored as `f32`), [`OwnedValue::Bool`] and [`OwnedValue::String`].
    pub overrides: Vec<(String, OwnedValue)>,
    /// Layers to leave out.
    pub pruned_layers: Vec<u32>,
    /// How much each weight matters.
    pub imatrix: Option<Arc<Imatrix>>,
    /// The file that the matrix comes from, as the result's metadata will name it; llama.cpp's quantizer stores the path as it was given.
    pub imatrix_file: String,
    /// Threads that encode; all that the process may use if not given.
    pub threads: Option<NonZeroUsize>,
    /// The most bytes of a tensor in memory at a time, but always a row for each thread.
    pub buffer_bytes: u64,
}

impl QuantizeOptions {
    /// The options of llama.cpp's quantizer when it is only told the type.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            is_pure: false,
            leaves_output: false,
            output_type: None,
            embedding_type: None,
            rules: Vec::new(),
            allows_requantizing: false,
            keeps_split: false,
            overrides: Vec::new(),
            pruned_layers: Vec::new(),
            imatrix: None,
            imatrix_file: String::new(),
            threads: None,
            buffer_bytes: 8 << 20,
        }
    }

    /// Gives every tensor the file type's default.
    #[must_use]
    pub fn with_pure(mut self, is_pure: bool) -> Self {
        self.is_pure = is_pure;
        self
    }

    /// Adds rules for tensors by their names.
    #[must_use]
    pub fn with_rules(mut self, rules: impl IntoIterator<Item = TensorRule>) -> Self {
        self.rules.extend(rules);
        self
    }

    /// Allows quantizing tensors that are quantized already.
    #[must_use]
    pub fn with_requantizing(mut self, allows: bool) -> Self {
        self.allows_requantizing = allows;
        self
    }

    /// Uses an importance matrix that comes from `file`; one without entries counts as none.
    #[must_use]
    pub fn with_imatrix(mut self, imatrix: Imatrix, file: &str) -> Self {
        self.imatrix = Some(imatrix).filter(|known| known.n_entries() > 0).map(Arc::new);
        file.clone_into(&mut self.imatrix_file);
        self
    }

    /// Sets how many threads encode.
    #[must_use]
    pub fn with_threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }
}
