//! Pages of a key-value cache.

use half::f16;

/// The shape of a layer's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// Heads of keys and values; each serves one query head or more.
    pub n_kv_heads: usize,
    /// Values in a head of the key.
    pub k_dim: usize,
    /// Values in a head of the value.
    pub v_dim: usize,
}

/// Keys and values of [`KvPage::N_TOKENS`] tokens of one layer, in F16.
///
/// A sequence's cache is a list of pages: the token at index `i` of the sequence is in page `i / N_TOKENS`, slot `i % N_TOKENS`. Pages may belong to
/// several sequences, for a prompt that they share.
#[derive(Debug, Clone)]
pub struct KvPage {
    shape: KvShape,
    /// By head, dimension, slot: so that the keys of neighbouring tokens meet in one vector.
    keys: Vec<f16>,
    /// By head, slot, dimension.
    values: Vec<f16>,
}

impl KvPage {
    /// Tokens in a page.
    pub const N_TOKENS: usize = 32;

    /// An empty page: zeros.
    pub fn new(shape: KvShape) -> Self {
        let heads = shape.n_kv_heads * Self::N_TOKENS;
        Self {
            shape,
            keys: vec![f16::ZERO; heads * shape.k_dim],
            values: vec![f16::ZERO; heads * shape.v_dim],
        }
    }

    /// The shape.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Bytes of memory that the page takes.
    pub fn n_bytes(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.values)
    }

    /// Stores a token's key (`n_kv_heads * k_dim` numbers) and value (`n_kv_heads * v_dim`) in `slot`.
    ///
    /// Numbers too large for F16 become infinite.
    ///
    /// # Panics
    ///
    /// If there is no such slot or a length is another.
    pub fn write(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        let KvShape { n_kv_heads, k_dim, v_dim } = self.shape;
        assert!(slot < Self::N_TOKENS, "a slot of the page");
        assert_eq!(key.len(), n_kv_heads * k_dim, "a key for each head");
        assert_eq!(value.len(), n_kv_heads * v_dim, "a value for each head");
        for (at, x) in key.iter().enumerate() {
            self.keys[at * Self::N_TOKENS + slot] = f16::from_f32(*x);
        }
        for (at, x) in value.iter().enumerate() {
            let (head, dim) = (at / v_dim, at % v_dim);
            self.values[(head * Self::N_TOKENS + slot) * v_dim + dim] = f16::from_f32(*x);
        }
    }

    /// The keys of a head: for each dimension, [`Self::N_TOKENS`] numbers.
    pub(crate) fn keys(&self, head: usize) -> &[[f16; Self::N_TOKENS]] {
        let len = self.shape.k_dim * Self::N_TOKENS;
        self.keys[head * len..][..len].as_chunks().0
    }

    /// The value of a head in `slot`.
    pub(crate) fn value(&self, head: usize, slot: usize) -> &[f16] {
        &self.values[(head * Self::N_TOKENS + slot) * self.shape.v_dim..][..self.shape.v_dim]
    }
}
