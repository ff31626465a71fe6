//! Pages of a key-value cache.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

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

/// Tokens in a page.
pub(crate) const N_SLOTS: usize = 32;

impl KvShape {
    /// Values in a head of the value as pages keep them: whole vectors.
    pub(crate) fn padded_v_dim(&self) -> usize {
        self.v_dim.next_multiple_of(16)
    }
}

/// Keys and values of [`KvPage::N_TOKENS`] tokens of one layer, in F16.
///
/// A sequence's cache is a list of pages: the token at index `i` of the sequence is in page `i / N_TOKENS`, slot `i % N_TOKENS`. Pages may belong to
/// several sequences, for a prompt that they share.
#[derive(Debug, Clone)]
pub struct KvPage {
    shape: KvShape,
    /// Bits of F16 by head, dimension, slot: so that the keys of neighbouring tokens meet in one vector.
    keys: Vec<u16>,
    /// Bits of F16 by head, slot, dimension; dimensions that fill up a vector are zeros.
    values: Vec<u16>,
}

impl KvPage {
    /// Tokens in a page.
    pub const N_TOKENS: usize = N_SLOTS;

    /// An empty page: zeros.
    pub fn new(shape: KvShape) -> Self {
        let heads = shape.n_kv_heads * Self::N_TOKENS;
        Self { shape, keys: vec![0; heads * shape.k_dim], values: vec![0; heads * shape.padded_v_dim()] }
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
        let dims = self.keys.as_chunks_mut::<N_SLOTS>().0;
        for (dims, key) in dims.chunks_mut(64).zip(key.chunks(64)) {
            let mut halves = [f16::ZERO; 64];
            halves[..key.len()].convert_from_f32_slice(key);
            for (slots, half) in dims.iter_mut().zip(halves) {
                slots[slot] = half.to_bits();
            }
        }
        if v_dim == 0 {
            return;
        }
        let padded = self.shape.padded_v_dim();
        let heads = self.values.chunks_exact_mut(N_SLOTS * padded).zip(value.chunks_exact(v_dim));
        for (head, value) in heads {
            head[slot * padded..][..v_dim].reinterpret_cast_mut::<f16>().convert_from_f32_slice(value);
        }
    }

    /// Reads a token's key and value from `slot`, in the order of [`Self::write`].
    ///
    /// # Panics
    ///
    /// As [`Self::write`].
    pub fn read(&self, slot: usize, key: &mut [f32], value: &mut [f32]) {
        let KvShape { n_kv_heads, k_dim, v_dim } = self.shape;
        assert!(slot < Self::N_TOKENS, "a slot of the page");
        assert_eq!(key.len(), n_kv_heads * k_dim, "a key for each head");
        assert_eq!(value.len(), n_kv_heads * v_dim, "a value for each head");
        for (slots, x) in self.keys.as_chunks::<N_SLOTS>().0.iter().zip(key) {
            *x = f16::from_bits(slots[slot]).to_f32();
        }
        if v_dim == 0 {
            return;
        }
        let padded = self.shape.padded_v_dim();
        let heads = self.values.chunks_exact(N_SLOTS * padded).zip(value.chunks_exact_mut(v_dim));
        for (head, value) in heads {
            head[slot * padded..][..v_dim].reinterpret_cast::<f16>().convert_to_f32_slice(value);
        }
    }

    /// The keys of a head: for each dimension, [`Self::N_TOKENS`] numbers.
    pub(crate) fn keys(&self, head: usize) -> &[[u16; N_SLOTS]] {
        let len = self.shape.k_dim * N_SLOTS;
        self.keys[head * len..][..len].as_chunks().0
    }

    /// The values of a head: for each slot, [`KvShape::padded_v_dim`] numbers.
    pub(crate) fn values(&self, head: usize) -> &[u16] {
        let len = self.shape.padded_v_dim() * N_SLOTS;
        &self.values[head * len..][..len]
    }
}
