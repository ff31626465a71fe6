//! Swaps the byte order of blocks.

use super::error::QuantError;
use crate::GgmlType;
use crate::byte_swap::swap_tensor;
use crate::progress::{Progress, no_progress};

use super::watch::Watch;

/// Bytes between two reports of progress; several of the largest blocks.
const PIECE_BYTES: usize = 1 << 20;

/// Swaps the bytes of every number in `bytes` of type `ty`: blocks of a big-endian file become those that the other functions here take, and back. A
/// number is a plain one, a scale, or bits that ggml reads as one number of 16 or 32 bits; packed weights of less than a byte stay where they are.
///
/// `bytes` holds any number of whole blocks; only `I2_S` must be a whole tensor.
///
/// ```
/// use tabagent_gguf::{GgmlType, quants};
/// let mut block = [0x3c, 0x00, 0x98, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]; // scale 1.0 in big-endian order
/// quants::swap_bytes(GgmlType::Q4_0, &mut block)?;
/// let mut weights = [0.0; 32];
/// quants::dequantize(GgmlType::Q4_0, &block, &mut weights)?;
/// assert_eq!((weights[0], weights[16]), (0.0, 1.0));
/// # Ok::<(), tabagent_gguf::QuantError>(())
/// ```
///
/// # Errors
///
/// [`QuantError::PartialBlock`] if `bytes` are no whole blocks.
pub fn swap_bytes(ty: GgmlType, bytes: &mut [u8]) -> Result<(), QuantError> {
    swap_bytes_with(ty, bytes, &no_progress)
}

/// As [`swap_bytes`]; `progress` gets the bytes swapped and can stop the work.
///
/// # Errors
///
/// As for [`swap_bytes`]; [`QuantError::Cancelled`].
pub fn swap_bytes_with(ty: GgmlType, bytes: &mut [u8], progress: Progress<'_>) -> Result<(), QuantError> {
    let block_bytes = ty.block_bytes() as usize;
    let trailer = if ty == GgmlType::I2_S { block_bytes } else { 0 };
    if bytes.len() < trailer || !bytes.len().is_multiple_of(block_bytes) {
        let n_weights = (bytes.len() as u64).saturating_mul(ty.block_size()) / ty.block_bytes();
        return Err(QuantError::PartialBlock { ty, n_weights, block_size: ty.block_size() });
    }
    let watch = Watch::new(bytes.len(), progress);
    if ty == GgmlType::I2_S {
        // The blocks have no numbers to swap, only the scale behind them has.
        swap_tensor(ty, bytes);
        return watch.tell(bytes.len());
    }
    bytes.chunks_mut(PIECE_BYTES / block_bytes * block_bytes).try_for_each(|piece| {
        swap_tensor(ty, piece);
        watch.tell(piece.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_blocks_are_refused() {
        for ty in [GgmlType::Q4_K, GgmlType::F32, GgmlType::I2_S] {
            let mut bytes = vec![0; ty.block_bytes() as usize + 1];
            assert!(matches!(swap_bytes(ty, &mut bytes), Err(QuantError::PartialBlock { .. })), "{ty}");
        }
        assert!(swap_bytes(GgmlType::I2_S, &mut []).is_err());
        assert!(swap_bytes(GgmlType::Q4_K, &mut []).is_ok());
    }
}
