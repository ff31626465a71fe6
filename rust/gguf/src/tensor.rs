//! What a file says about a tensor.

use std::fmt;

use crate::ggml_type::GgmlType;

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
pub(crate) const MAX_DIMS: usize = 4;

/// Longest name of a tensor, in bytes (`GGML_MAX_NAME` less its final zero).
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// The dimensions of a tensor in ggml's order: the first is the length of a row and varies fastest (`ne`).
/// A matrix that other tools call `rows x columns` is `[columns, rows]` here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u64; MAX_DIMS],
    rank: usize,
}

impl Shape {
    /// The shape with dimensions `dims`; `None` for more than four or if their product exceeds `i64::MAX`.
    pub fn new(dims: &[u64]) -> Option<Self> {
        let mut all = [1; MAX_DIMS];
        all.get_mut(..dims.len())?.copy_from_slice(dims);
        // Zeros count as ones, so that no order of multiplication overflows.
        let product = all.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim.max(1)))?;
        i64::try_from(product).is_ok().then_some(Self { dims: all, rank: dims.len() })
    }

    /// The stored dimensions, none to four.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank]
    }

    /// The length of a row: the first dimension, or 1.
    pub fn row_len(&self) -> u64 {
        self.dims[0]
    }

    /// Dimension `index`, 1 past the stored ones, as in ggml.
    pub fn dim(&self, index: usize) -> u64 {
        self.dims.get(index).copied().unwrap_or(1)
    }

    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dims().fmt(f)
    }
}

/// Prints `[640, 262144]`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Name, type, shape and place of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, at most 63 bytes.
    pub name: String,
    /// The number type.
    pub ggml_type: GgmlType,
    /// The dimensions in ggml's order.
    pub shape: Shape,
    /// Start of the data, in bytes from the start of the file's data section.
    pub offset: u64,
    /// Size of the data in bytes, without padding.
    pub n_bytes: u64,
}
