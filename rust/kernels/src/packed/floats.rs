//! A matrix of floating-point weights in tiles.

use half::{bf16, f16};
use tabagent_gguf::{GgmlType, quants};

use super::form::{Line, TILE};
use crate::KernelError;

/// A floating-point form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatName {
    /// A line is a column.
    F32,
    /// A line is two columns.
    F16,
    /// A line is two columns.
    BF16,
}

impl FloatName {
    /// Columns in a line.
    pub(crate) const fn per_line(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// A floating-point form, known when the kernels are compiled.
pub(crate) trait FloatForm {
    /// Which it is.
    const NAME: FloatName;
}

/// Makes the forms, and a macro that calls generic code for a name.
macro_rules! float_forms {
    ($($form:ident = $name:ident;)+) => {
        $(
            /// A floating-point form.
            #[derive(Debug)]
            pub(crate) struct $form;

            impl FloatForm for $form {
                const NAME: FloatName = FloatName::$name;
            }
        )+

        /// `for_float!(name, F => code)`: the code with `F` the form of that name.
        macro_rules! for_float {
            ($form_name:expr, $generic:ident => $code:expr) => {
                match $form_name {
                    $($crate::packed::FloatName::$name => {
                        type $generic = $crate::packed::$form;
                        $code
                    })+
                }
            };
        }
        pub(crate) use for_float;
    };
}

float_forms! {
    Singles = F32;
    Halves = F16;
    Brains = BF16;
}

/// Floating-point weights, column after column of a tile, tile after tile. Columns and rows that fill up lines and tiles are zeros.
#[derive(Debug, Clone)]
pub(crate) struct Floats {
    pub(crate) form: FloatName,
    /// Lines of a tile.
    pub(crate) n_lines: usize,
    pub(crate) lines: Vec<Line>,
}

impl Floats {
    /// Packs rows of `n_cols` weights of any type: F16 and BF16 as they are, others as F16 where that loses next to nothing, else as F32.
    pub(crate) fn pack(
        kind: GgmlType,
        n_cols: usize,
        n_rows: usize,
        bytes: &[u8],
    ) -> Result<Self, KernelError> {
        let mut weights = vec![0.0; n_cols * n_rows];
        quants::dequantize(kind, bytes, &mut weights)?;
        let form = match kind {
            GgmlType::F32 => FloatName::F32,
            GgmlType::BF16 => FloatName::BF16,
            GgmlType::F16 => FloatName::F16,
            _ if weights.iter().all(|w| fits_half(*w)) => FloatName::F16,
            _ => FloatName::F32,
        };
        let n_lines = n_cols.div_ceil(form.per_line());
        let mut lines = vec![Line([0; 64]); n_lines * n_rows.div_ceil(TILE)];
        for (row, weights) in weights.chunks_exact(n_cols).enumerate() {
            let tile = &mut lines[row / TILE * n_lines..][..n_lines];
            for (line, weights) in tile.iter_mut().zip(weights.chunks(form.per_line())) {
                for (col, weight) in weights.iter().enumerate() {
                    put(form, line, row % TILE, col, *weight);
                }
            }
        }
        Ok(Self { form, n_lines, lines })
    }

    /// Lines of a tile.
    pub(crate) fn tile_lines(&self, tile: usize) -> &[Line] {
        &self.lines[tile * self.n_lines..][..self.n_lines]
    }

    /// Bytes of memory.
    pub(crate) fn n_bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Bytes of a tile.
    pub(crate) fn tile_bytes(&self) -> usize {
        64 * self.n_lines
    }

    /// Decodes a row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let lines = self.tile_lines(row / TILE);
        for (line, out) in lines.iter().zip(out.chunks_mut(self.form.per_line())) {
            for (col, out) in out.iter_mut().enumerate() {
                *out = float_at(self.form, line, row % TILE, col);
            }
        }
    }
}

/// True if F16 holds `weight` with a relative error of no more than half a unit in the last place.
fn fits_half(weight: f32) -> bool {
    (f16::from_f32(weight).to_f32() - weight).abs() <= weight.abs() / 2048.0
}

fn put(form: FloatName, line: &mut Line, row: usize, col: usize, weight: f32) {
    let at = TILE * col + row;
    match form {
        FloatName::F32 => line.0[4 * at..][..4].copy_from_slice(&weight.to_le_bytes()),
        FloatName::F16 => line.0[2 * at..][..2].copy_from_slice(&f16::from_f32(weight).to_le_bytes()),
        FloatName::BF16 => line.0[2 * at..][..2].copy_from_slice(&bf16::from_f32(weight).to_le_bytes()),
    }
}

/// The weight of a row in column `col` of a line.
pub(crate) fn float_at(form: FloatName, line: &Line, row: usize, col: usize) -> f32 {
    let at = TILE * col + row;
    match form {
        FloatName::F32 => f32::from_le_bytes(line.0.as_chunks().0[at]),
        FloatName::F16 => f16::from_le_bytes(line.0.as_chunks().0[at]).to_f32(),
        FloatName::BF16 => bf16::from_le_bytes(line.0.as_chunks().0[at]).to_f32(),
    }
}
