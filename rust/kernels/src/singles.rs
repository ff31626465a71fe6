//! Activations as they are, laid out for products with floats.

use crate::quantized::GROUP;

/// Rows of activations: groups of up to [`GROUP`] tokens; in a group, column after column, the tokens' values side by side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Singles {
    n_cols: usize,
    n_tokens: usize,
    values: Vec<f32>,
}

impl Singles {
    /// Lays out rows of `n_cols` values; columns up to an even number are zeros.
    pub(crate) fn new(rows: &[f32], n_cols: usize) -> Self {
        let padded = n_cols.next_multiple_of(2);
        let mut values = vec![0.0; rows.len() / n_cols * padded];
        let groups = values.chunks_mut(GROUP * padded).zip(rows.chunks(GROUP * n_cols));
        for (values, rows) in groups {
            let width = rows.len() / n_cols;
            for (token, row) in rows.chunks_exact(n_cols).enumerate() {
                for (value, x) in values[token..].iter_mut().step_by(width).zip(row) {
                    *value = *x;
                }
            }
        }
        Self { n_cols: padded, n_tokens: rows.len() / n_cols, values }
    }

    /// The values of a group and how many tokens it has.
    pub(crate) fn group(&self, group: usize) -> (&[f32], usize) {
        let width = (self.n_tokens - group * GROUP).min(GROUP);
        (&self.values[group * GROUP * self.n_cols..][..width * self.n_cols], width)
    }
}
