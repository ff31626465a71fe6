//! Oversized parameter structs.

/// Size limit in bytes of a parameter struct, for every supported build.
pub(crate) const BLOCK_BYTES: usize = 512;

/// A parameter struct passed by value, larger than any real one.
///
/// On x86-64 (System V and Windows) and on AArch64 a plain struct of more than 16 bytes travels in memory, so a callee that
/// expects fewer bytes reads its own fields from the front of ours. The fields are written through a
/// [`StructLayout`](crate::StructLayout), never by hand.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct ParamBlock(pub(crate) [u64; BLOCK_BYTES / 8]);

impl ParamBlock {
    /// A block with every byte `value`.
    pub fn filled(value: u8) -> Self {
        Self([u64::from_ne_bytes([value; 8]); BLOCK_BYTES / 8])
    }

    /// A block that starts with `bytes`, the rest zero; bytes past its end are dropped.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = [0_u64; BLOCK_BYTES / 8];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut raw = [0_u8; 8];
            raw[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(raw);
        }
        Self(words)
    }

    /// `N` bytes at `offset`; `None` past the end.
    pub fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut out = [0_u8; N];
        for (i, byte) in out.iter_mut().enumerate() {
            let at = offset.checked_add(i)?;
            *byte = self.0.get(at / 8)?.to_ne_bytes()[at % 8];
        }
        Some(out)
    }

    /// Writes `bytes` at `offset`; returns false, writing nothing, when they do not fit.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > BLOCK_BYTES) {
            return false;
        }
        for (i, byte) in bytes.iter().enumerate() {
            let at = offset + i;
            let word = &mut self.0[at / 8];
            let mut raw = word.to_ne_bytes();
            raw[at % 8] = *byte;
            *word = u64::from_ne_bytes(raw);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_then_get_returns_the_bytes() {
        let mut block = ParamBlock::filled(0);
        assert!(block.put(13, &[1, 2, 3, 4, 5]));
        assert_eq!(block.get::<5>(13), Some([1, 2, 3, 4, 5]));
        assert_eq!(block.get::<1>(12), Some([0]));
    }

    #[test]
    fn put_past_the_end_writes_nothing() {
        let mut block = ParamBlock::filled(7);
        assert!(!block.put(BLOCK_BYTES - 2, &[1, 2, 3]));
        assert_eq!(block.get::<2>(BLOCK_BYTES - 2), Some([7, 7]));
        assert_eq!(block.get::<4>(BLOCK_BYTES - 2), None);
    }
}
