//! What an adapter adds to one tensor: the product of two thin matrices.

use crate::convert::tensor_plan::source_row;
use crate::tensor::TensorInfo;

use super::factor::Factor;

/// The product of two thin matrices, times a number.
#[derive(Debug, Clone)]
pub(super) struct LowRank {
    /// `B`: as many rows as the tensor has.
    pub(super) left: Factor,
    /// `A`: rows as long as the tensor's.
    pub(super) right: Factor,
    /// What the product is multiplied with when the adapter's scale is 1.
    pub(super) strength: f64,
    /// The number of heads whose rows the adapter has in Hugging Face's order.
    pub(super) permuted_heads: Option<usize>,
}

/// The decoded factors for one matrix of a tensor.
pub(super) struct Numbers {
    left: Vec<f32>,
    right: Vec<f32>,
    rank: usize,
}

impl LowRank {
    /// How many rows `A` has.
    pub(super) fn rank(&self) -> usize {
        self.right.rows()
    }

    /// Why the two matrices do not belong together.
    pub(super) fn problem(&self) -> Option<String> {
        let (left, right) = (&self.left, &self.right);
        if left.columns() != right.rows() {
            return Some(format!(
                "tensors `{}` and `{}` have ranks `{}` and `{}`, but must have the same",
                right.name,
                left.name,
                right.rows(),
                left.columns()
            ));
        }
        let heads =
            self.permuted_heads.filter(|heads| *heads == 0 || !left.rows().is_multiple_of(2 * heads))?;
        Some(format!(
            "tensor `{}` has `{}` rows, which `{heads}` heads of pairs do not divide",
            left.name,
            left.rows()
        ))
    }

    /// Why this cannot be added to `tensor` of the model called `model`.
    pub(super) fn mismatch(&self, tensor: &TensorInfo, model: &str) -> Option<String> {
        let (left, right, shape) = (&self.left, &self.right, &tensor.shape);
        let experts = shape.dim(2);
        let is_for_all = |factor: &Factor| factor.n_matrices == 1 || factor.n_matrices as u64 == experts;
        let fits = right.columns() as u64 == shape.row_len()
            && left.rows() as u64 == shape.dim(1)
            && shape.dim(3) == 1
            && is_for_all(left)
            && is_for_all(right);
        if fits {
            return None;
        }
        let n = left.n_matrices.max(right.n_matrices);
        let for_experts = if n == 1 { String::new() } else { format!(" for `{n}` experts") };
        Some(format!(
            "tensors `{}` and `{}` make shape `[{}, {}]`{for_experts}, but `{}` of `{model}` has shape `{shape}`; it is for another model",
            right.name,
            left.name,
            right.columns(),
            left.rows(),
            tensor.name
        ))
    }

    /// `B`'s rows for matrix `index` in the order of the tensor's rows.
    pub(super) fn left_numbers(&self, index: usize) -> Vec<f32> {
        let stored = self.left.numbers(index);
        let Some(heads) = self.permuted_heads.filter(|heads| *heads > 0) else { return stored };
        let (rows, rank) = (self.left.rows(), self.left.columns());
        let mut sorted = Vec::with_capacity(stored.len());
        for row in 0..rows {
            let from = source_row(row, rows / heads) * rank;
            sorted.extend_from_slice(stored.get(from..from + rank).unwrap_or_default());
        }
        sorted
    }

    /// The numbers for matrix `index` of the tensor, with the adapter's `scale`.
    pub(super) fn numbers(&self, index: usize, scale: f64) -> Numbers {
        let factor = (scale * self.strength) as f32;
        let mut left = self.left_numbers(index);
        for number in &mut left {
            *number *= factor;
        }
        Numbers { left, right: self.right.numbers(index), rank: self.rank() }
    }
}

impl Numbers {
    /// Adds the product's row `row` to `sums`.
    pub(super) fn add_row(&self, row: usize, sums: &mut [f32]) {
        let weights = self.left.get(row * self.rank..(row + 1) * self.rank).unwrap_or_default();
        let n = sums.len();
        let row_of = |index: usize| self.right.get(index * n..(index + 1) * n).unwrap_or_default();
        let (quads, rest) = weights.as_chunks::<4>();
        // Four rows at once, so that the sums are loaded and stored once for four products.
        for (index, [a, b, c, d]) in quads.iter().enumerate() {
            let rows = row_of(4 * index).iter().zip(row_of(4 * index + 1));
            let more = row_of(4 * index + 2).iter().zip(row_of(4 * index + 3));
            for (sum, ((w, x), (y, z))) in sums.iter_mut().zip(rows.zip(more)) {
                *sum += (a * w + b * x) + (c * y + d * z);
            }
        }
        for (index, weight) in rest.iter().enumerate() {
            for (sum, number) in sums.iter_mut().zip(row_of(4 * quads.len() + index)) {
                *sum += weight * number;
            }
        }
    }
}
