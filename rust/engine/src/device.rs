//! What a model needs of the hardware that it is computed on.

use std::ops::Range;

use tabagent_gguf::GgmlType;
use tabagent_kernels::RopeOptions;

use crate::blueprint::{Activation, Norm};

/// Why a device could not do something, in its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

/// A norm whose numbers are on the device.
#[derive(Debug)]
pub struct PlacedNorm<'a, V> {
    /// Its kind.
    pub norm: Norm,
    /// A factor for each column; one for all of them if there is none.
    pub weight: Option<&'a V>,
    /// What is added to each column.
    pub bias: Option<&'a V>,
}

/// The heads of one layer's attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Heads of queries.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Numbers of a head.
    pub head: usize,
    /// Products of queries and keys are multiplied with it.
    pub scale: f32,
    /// Scores are bent to lie between plus and minus this.
    pub soft_cap: Option<f32>,
}

/// What one row of a batch sees: some tokens of its sequence, whose pages those of [`Device::attend`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The sequence's place in the list of pages.
    pub sequence: usize,
    /// The tokens, by their place in the sequence.
    pub tokens: Range<usize>,
}

/// Where a model's weights lie and its steps are computed: the processor ([`Cpu`](crate::Cpu)), or something else.
///
/// All that models compute is put together from these steps; none knows an architecture. Rows are tokens. A step overwrites its outputs, which get as
/// many rows as the input.
///
/// # Panics
///
/// Steps may panic where shapes do not fit together; [`crate::EngineDecoder`] checks what comes from outside, and shapes when it loads.
pub trait Device: Send + Sync + 'static {
    /// The weights of a linear map.
    type Matrix: Send + Sync;
    /// Numbers: the weights of a norm, a bias.
    type Vector: Send + Sync;
    /// Rows of numbers.
    type Buffer: Send + Default;
    /// The angles of a batch's rows.
    type Angles: Send;
    /// Rotations by any position.
    type Rope: Send + Sync;
    /// Keys and values of one layer for [`Device::PAGE`] tokens.
    type Page: Clone + Send + Sync;

    /// Tokens of a page.
    const PAGE: usize;

    /// Places a matrix of `n_rows` rows of `n_cols` weights, given as a GGUF file has them.
    ///
    /// # Errors
    /// [`DeviceError`] if the device cannot compute with the type, or has no room.
    fn place_matrix(
        &self,
        ggml_type: GgmlType,
        n_cols: usize,
        n_rows: usize,
        bytes: &[u8],
    ) -> Result<Self::Matrix, DeviceError>;

    /// Bytes that a matrix takes on the device.
    fn matrix_bytes(matrix: &Self::Matrix) -> usize;

    /// Places numbers.
    ///
    /// # Errors
    /// [`DeviceError`] if the device has no room.
    fn place_vector(&self, numbers: Vec<f32>) -> Result<Self::Vector, DeviceError>;

    /// Prepares rotations.
    ///
    /// # Errors
    /// [`DeviceError`] for options that make no sense.
    fn place_rope(&self, options: &RopeOptions) -> Result<Self::Rope, DeviceError>;

    /// Does `n` pieces of the caller's work, side by side if it can.
    ///
    /// # Errors
    /// [`DeviceError`] if one panicked.
    fn spread(&self, n: usize, work: &(dyn Fn(usize) + Sync)) -> Result<(), DeviceError>;

    /// The rows of a matrix that `tokens` name, times `scale`.
    ///
    /// # Errors
    /// [`DeviceError`] for a token that has no row; the same holds for all further steps, which fail only where something is broken.
    fn embed(
        &mut self,
        table: &Self::Matrix,
        tokens: &[usize],
        scale: f32,
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// Multiplies all of several matrices with the rows of `input`.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn multiply(
        &mut self,
        matrices: &[&Self::Matrix],
        input: &Self::Buffer,
        outs: &mut [&mut Self::Buffer],
    ) -> Result<(), DeviceError>;

    /// Adds `bias` to every row.
    fn add_bias(&mut self, bias: &Self::Vector, rows: &mut Self::Buffer);

    /// Multiplies every row with `factors`, a number for each column.
    fn multiply_columns(&mut self, factors: &Self::Vector, rows: &mut Self::Buffer);

    /// Normalizes rows.
    fn norm(&mut self, norm: &PlacedNorm<'_, Self::Vector>, input: &Self::Buffer, out: &mut Self::Buffer);

    /// Normalizes rows in parts of `n` numbers; the norm has as many.
    fn norm_parts(&mut self, norm: &PlacedNorm<'_, Self::Vector>, n: usize, rows: &mut Self::Buffer);

    /// Computes a batch's angles.
    fn angles(&mut self, rope: &Self::Rope, positions: &[i32]) -> Self::Angles;

    /// Turns the heads of all rows.
    fn rotate(&mut self, angles: &Self::Angles, rows: &mut Self::Buffer, n_heads: usize, head: usize);

    /// An empty page.
    fn page(&self, heads: &Heads) -> Self::Page;

    /// Bytes of a page.
    fn page_bytes(page: &Self::Page) -> usize;

    /// Puts row `row` of keys and values into a slot of a page.
    fn write_page(
        &mut self,
        page: &mut Self::Page,
        slot: usize,
        row: usize,
        keys: &Self::Buffer,
        values: &Self::Buffer,
    );

    /// Puts the host's key and value into a slot of a page.
    fn fill_page(&self, page: &mut Self::Page, slot: usize, keys: &[f32], values: &[f32]);

    /// Key and value of a slot, appended to buffers of the host.
    fn read_page(&self, page: &Self::Page, slot: usize, keys: &mut Vec<f32>, values: &mut Vec<f32>);

    /// Attention of each row of `queries`, whose `sights` say what it sees in which of `pages`.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn attend(
        &mut self,
        heads: &Heads,
        queries: &Self::Buffer,
        sights: &[Sight],
        pages: &[Vec<&Self::Page>],
        out: &mut Self::Buffer,
    ) -> Result<(), DeviceError>;

    /// `gate` becomes activation(gate) times `up`.
    fn gate(&mut self, activation: Activation, gate: &mut Self::Buffer, up: &Self::Buffer);

    /// Rows become activation(rows).
    fn activate(&mut self, activation: Activation, rows: &mut Self::Buffer);

    /// The left and right halves of rows.
    fn halves(&mut self, input: &Self::Buffer, left: &mut Self::Buffer, right: &mut Self::Buffer);

    /// Columns from `from` on, `n` of them.
    fn columns(&mut self, input: &Self::Buffer, from: usize, n: usize, out: &mut Self::Buffer);

    /// Adds `more` times `scale` to `rows`.
    fn add(&mut self, more: &Self::Buffer, scale: f32, rows: &mut Self::Buffer);

    /// Multiplies rows with a number.
    fn scale(&mut self, scale: f32, rows: &mut Self::Buffer);

    /// Bends numbers to lie between plus and minus `cap`.
    fn soft_cap(&mut self, cap: f32, rows: &mut Self::Buffer);

    /// The rows with these numbers, in this order.
    fn gather(&mut self, input: &Self::Buffer, rows: &[usize], out: &mut Self::Buffer);

    /// Adds each row of `input`, times its weight, to the row of `out` with its number.
    fn scatter(&mut self, input: &Self::Buffer, rows: &[usize], weights: &[f32], out: &mut Self::Buffer);

    /// Makes it rows of zeros.
    fn zero(&mut self, n_rows: usize, n_cols: usize, out: &mut Self::Buffer);

    /// Puts the host's rows of `n_cols` numbers there.
    fn upload(&mut self, numbers: &[f32], n_cols: usize, out: &mut Self::Buffer);

    /// How many rows there are.
    fn n_rows(&self, rows: &Self::Buffer) -> usize;

    /// Appends all rows to a buffer of the host.
    fn download(&mut self, rows: &Self::Buffer, out: &mut Vec<f32>);
}
