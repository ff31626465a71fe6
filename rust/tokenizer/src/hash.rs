//! Hashing of short texts and of pairs of ids, keyed at random so that no file can be made to collide.

use std::hash::{BuildHasher as _, RandomState};

/// The keys of a hash function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKeys([u64; 2]);

impl HashKeys {
    /// New random ones.
    pub(crate) fn new() -> Self {
        let state = RandomState::new();
        // Odd, so that multiplying loses no bit.
        Self([state.hash_one(1) | 1, state.hash_one(2) | 1])
    }

    /// The hash of a text.
    #[inline]
    pub(crate) fn text(&self, text: &[u8]) -> u64 {
        let mut hash = self.0[0] ^ text.len() as u64;
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            hash = self.mixed(hash ^ u64::from_le_bytes(*word));
        }
        let last = match rest {
            [] => 0,
            [a, b, c, d, more @ ..] => {
                let low = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                more.iter().rev().fold(0, |high, byte| high << 8 | u64::from(*byte)) << 32 | low
            }
            few => few.iter().rev().fold(0, |low, byte| low << 8 | u64::from(*byte)),
        };
        self.mixed(hash ^ last)
    }

    /// The hash of a pair of ids.
    #[inline]
    pub(crate) fn pair(&self, left: u32, right: u32) -> u64 {
        self.mixed((u64::from(left) << 32 | u64::from(right)) ^ self.0[0])
    }

    #[inline]
    fn mixed(&self, word: u64) -> u64 {
        let product = u128::from(word) * u128::from(self.0[1]);
        (product >> 64) as u64 ^ product as u64
    }
}

/// A size for a table of `n` entries that is at most half full: a power of two.
pub(crate) fn table_size(n: usize) -> usize {
    (n * 2).next_power_of_two().max(16)
}
