//! The processor as a [`Device`].

use tabagent_gguf::GgmlType;
use tabagent_kernels::{
    Activations, Attention, KernelError, KvPage, KvShape, Matrix, Pool, Query, Rope, RopeAngles, RopeOptions,
    add, attention, gelu, gelu_mul, layer_norm, multiply_all, rms_norm, silu, silu_mul, soft_cap,
};

use crate::blueprint::{Activation, Norm};
use crate::device::{Device, DeviceError, Heads, PlacedNorm, Sight};

/// Numbers from which on a step is worth other threads.
const PIECE: usize = 16 * 1024;

/// The processor with a number of threads.
#[derive(Debug)]
pub struct Cpu {
    pool: Pool,
    activations: Activations,
}

/// Rows of numbers in memory.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    n_cols: usize,
    numbers: Vec<f32>,
}

impl Rows {
    fn shape(&mut self, n_rows: usize, n_cols: usize) {
        self.n_cols = n_cols;
        self.numbers.resize(n_rows * n_cols, 0.0);
    }

    fn n_rows(&self) -> usize {
        self.numbers.len().checked_div(self.n_cols).unwrap_or_default()
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.n_cols..][..self.n_cols]
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.n_cols.max(1))
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.numbers.chunks_exact_mut(self.n_cols.max(1))
    }
}

impl Cpu {
    /// The processor with so many threads, the calling one among them.
    ///
    /// # Errors
    /// [`DeviceError`] if the system gives fewer.
    pub fn new(n_threads: usize) -> Result<Self, DeviceError> {
        Ok(Self { pool: Pool::new(n_threads)?, activations: Activations::new() })
    }

    /// Does `work` with pieces of `out`, whole rows each, and the number of their first value.
    fn each_piece(&self, out: &mut Rows, work: impl Fn(usize, &mut [f32]) + Sync) {
        let n_cols = out.n_cols.max(1);
        let piece = PIECE.div_ceil(n_cols) * n_cols;
        if out.numbers.len() <= piece {
            return work(0, &mut out.numbers);
        }
        let done = self.pool.each_chunk(&mut out.numbers, piece, &|index, chunk| work(index * piece, chunk));
        // A panic there is one here.
        if let Err(error) = done {
            panic!("{error}");
        }
    }
}

impl From<KernelError> for DeviceError {
    fn from(error: KernelError) -> Self {
        Self(error.to_string())
    }
}

impl Device for Cpu {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Rows;
    type Angles = RopeAngles;
    type Rope = Rope;
    type Page = KvPage;

    const PAGE: usize = KvPage::N_TOKENS;

    fn place_matrix(
        &self,
        ggml_type: GgmlType,
        n_cols: usize,
        n_rows: usize,
        bytes: &[u8],
    ) -> Result<Matrix, DeviceError> {
        Ok(Matrix::pack(ggml_type, n_cols, n_rows, bytes)?)
    }

    fn matrix_bytes(matrix: &Matrix) -> usize {
        matrix.n_bytes()
    }

    fn place_vector(&self, numbers: Vec<f32>) -> Result<Vec<f32>, DeviceError> {
        Ok(numbers)
    }

    fn place_rope(&self, options: &RopeOptions) -> Result<Rope, DeviceError> {
        Ok(Rope::new(options)?)
    }

    fn spread(&self, n: usize, work: &(dyn Fn(usize) + Sync)) -> Result<(), DeviceError> {
        Ok(self.pool.run(n, work)?)
    }

    fn embed(
        &mut self,
        table: &Matrix,
        tokens: &[usize],
        scale: f32,
        out: &mut Rows,
    ) -> Result<(), DeviceError> {
        out.shape(tokens.len(), table.n_cols());
        for (token, row) in tokens.iter().zip(out.rows_mut()) {
            table.row(*token, row)?;
        }
        if scale.to_bits() != 1.0_f32.to_bits() {
            tabagent_kernels::scale(&mut out.numbers, scale);
        }
        Ok(())
    }

    fn multiply(
        &mut self,
        matrices: &[&Matrix],
        input: &Rows,
        outs: &mut [&mut Rows],
    ) -> Result<(), DeviceError> {
        self.activations.load(&input.numbers, input.n_cols, &self.pool)?;
        for (matrix, out) in matrices.iter().zip(outs.iter_mut()) {
            out.shape(input.n_rows(), matrix.n_rows());
        }
        let mut outs: Vec<&mut [f32]> = outs.iter_mut().map(|out| out.numbers.as_mut_slice()).collect();
        Ok(multiply_all(matrices, &self.activations, &mut outs, &self.pool)?)
    }

    fn add_bias(&mut self, bias: &Vec<f32>, rows: &mut Rows) {
        rows.rows_mut().for_each(|row| add(row, bias));
    }

    fn multiply_columns(&mut self, factors: &Vec<f32>, rows: &mut Rows) {
        rows.rows_mut().for_each(|row| row.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor));
    }

    fn norm(&mut self, norm: &PlacedNorm<'_, Vec<f32>>, input: &Rows, out: &mut Rows) {
        out.shape(input.n_rows(), input.n_cols);
        let n_cols = input.n_cols;
        self.each_piece(out, |from, out| normalize(norm, &input.numbers[from..][..out.len()], n_cols, out));
    }

    fn norm_parts(&mut self, norm: &PlacedNorm<'_, Vec<f32>>, n: usize, rows: &mut Rows) {
        self.each_piece(rows, |_, rows| {
            let input = rows.to_vec();
            normalize(norm, &input, n, rows);
        });
    }

    fn angles(&mut self, rope: &Rope, positions: &[i32]) -> RopeAngles {
        rope.angles(positions)
    }

    fn rotate(&mut self, angles: &RopeAngles, rows: &mut Rows, n_heads: usize, head: usize) {
        angles.apply(&mut rows.numbers, n_heads, head);
    }

    fn page(&self, heads: &Heads) -> KvPage {
        KvPage::new(shape(heads))
    }

    fn page_bytes(page: &KvPage) -> usize {
        page.n_bytes()
    }

    fn write_page(&mut self, page: &mut KvPage, slot: usize, row: usize, keys: &Rows, values: &Rows) {
        page.write(slot, keys.row(row), values.row(row));
    }

    fn fill_page(&self, page: &mut KvPage, slot: usize, keys: &[f32], values: &[f32]) {
        page.write(slot, keys, values);
    }

    fn read_page(&self, page: &KvPage, slot: usize, keys: &mut Vec<f32>, values: &mut Vec<f32>) {
        let KvShape { n_kv_heads, k_dim, v_dim } = page.shape();
        let (n_keys, n_values) = (keys.len(), values.len());
        keys.resize(n_keys + n_kv_heads * k_dim, 0.0);
        values.resize(n_values + n_kv_heads * v_dim, 0.0);
        page.read(slot, &mut keys[n_keys..], &mut values[n_values..]);
    }

    fn attend(
        &mut self,
        heads: &Heads,
        queries: &Rows,
        sights: &[Sight],
        pages: &[Vec<&KvPage>],
        out: &mut Rows,
    ) -> Result<(), DeviceError> {
        out.shape(sights.len(), heads.n_heads * heads.head);
        let options = Attention {
            n_heads: heads.n_heads,
            kv: shape(heads),
            scale: heads.scale,
            soft_cap: heads.soft_cap,
        };
        let rows: Vec<Query<'_>> = sights
            .iter()
            .map(|sight| Query { pages: &pages[sight.sequence], visible: sight.tokens.clone() })
            .collect();
        Ok(attention(&options, &queries.numbers, &rows, &mut out.numbers, &self.pool)?)
    }

    fn gate(&mut self, activation: Activation, gate: &mut Rows, up: &Rows) {
        self.each_piece(gate, |from, gate| {
            let up = &up.numbers[from..][..gate.len()];
            match activation {
                Activation::Silu => silu_mul(gate, up),
                Activation::Gelu => gelu_mul(gate, up),
            }
        });
    }

    fn activate(&mut self, activation: Activation, rows: &mut Rows) {
        self.each_piece(rows, |_, rows| match activation {
            Activation::Silu => silu(rows),
            Activation::Gelu => gelu(rows),
        });
    }

    fn halves(&mut self, input: &Rows, left: &mut Rows, right: &mut Rows) {
        let half = input.n_cols / 2;
        self.columns(input, 0, half, left);
        self.columns(input, half, half, right);
    }

    fn columns(&mut self, input: &Rows, from: usize, n: usize, out: &mut Rows) {
        out.shape(input.n_rows(), n);
        for (row, out) in input.rows().zip(out.rows_mut()) {
            out.copy_from_slice(&row[from..][..n]);
        }
    }

    fn add(&mut self, more: &Rows, scale: f32, rows: &mut Rows) {
        self.each_piece(rows, |from, rows| {
            let more = &more.numbers[from..][..rows.len()];
            if scale.to_bits() == 1.0_f32.to_bits() {
                add(rows, more);
            } else {
                rows.iter_mut().zip(more).for_each(|(x, y)| *x += y * scale);
            }
        });
    }

    fn scale(&mut self, scale: f32, rows: &mut Rows) {
        self.each_piece(rows, |_, rows| tabagent_kernels::scale(rows, scale));
    }

    fn soft_cap(&mut self, cap: f32, rows: &mut Rows) {
        self.each_piece(rows, |_, rows| soft_cap(rows, cap));
    }

    fn gather(&mut self, input: &Rows, rows: &[usize], out: &mut Rows) {
        out.shape(rows.len(), input.n_cols);
        for (row, out) in rows.iter().zip(out.rows_mut()) {
            out.copy_from_slice(input.row(*row));
        }
    }

    fn scatter(&mut self, input: &Rows, rows: &[usize], weights: &[f32], out: &mut Rows) {
        for ((row, weight), input) in rows.iter().zip(weights).zip(input.rows()) {
            let start = row * out.n_cols;
            let out = &mut out.numbers[start..][..input.len()];
            out.iter_mut().zip(input).for_each(|(x, y)| *x += y * weight);
        }
    }

    fn zero(&mut self, n_rows: usize, n_cols: usize, out: &mut Rows) {
        out.shape(n_rows, n_cols);
        out.numbers.fill(0.0);
    }

    fn upload(&mut self, numbers: &[f32], n_cols: usize, out: &mut Rows) {
        out.n_cols = n_cols;
        out.numbers.clear();
        out.numbers.extend_from_slice(numbers);
    }

    fn n_rows(&self, rows: &Rows) -> usize {
        rows.n_rows()
    }

    fn download(&mut self, rows: &Rows, out: &mut Vec<f32>) {
        out.extend_from_slice(&rows.numbers);
    }
}

fn shape(heads: &Heads) -> KvShape {
    KvShape { n_kv_heads: heads.n_kv_heads, k_dim: heads.head, v_dim: heads.head }
}

fn normalize(placed: &PlacedNorm<'_, Vec<f32>>, input: &[f32], n_cols: usize, out: &mut [f32]) {
    let weight = placed.weight.map(Vec::as_slice);
    match placed.norm {
        Norm::Rms { epsilon } => rms_norm(input, n_cols, weight, epsilon, out),
        Norm::Layer { epsilon } => {
            layer_norm(input, n_cols, weight, placed.bias.map(Vec::as_slice), epsilon, out);
        }
    }
}
