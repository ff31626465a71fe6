//! Finds numbers that poison a model: scales and plain values that are NaN or infinite.

use crate::threads::spread;
use rayon::prelude::*;

use super::decode;
use super::error::QuantError;
use crate::GgmlType;

/// Blocks that one task of the scan reads.
const TASK: usize = 16 * 1024;

/// Scans `bytes` of type `ty` for scales and plain values that are NaN or infinite, spread over the threads of the
/// current `rayon` pool.
///
/// The rules are those of `ggml_validate_row_data` in `ggml/src/ggml-quants.c`; the sums of `Q8_1` and the tensor scale of `I2_S` are checked, too,
/// and an F64 must be finite as F32. Integers and `NVFP4`, in which every byte is a number, always pass.
///
/// # Errors
///
/// [`QuantError::BadBlock`] names the first bad number; [`QuantError::PartialBlock`] if `bytes` are no whole blocks.
pub fn check(ty: GgmlType, bytes: &[u8]) -> Result<(), QuantError> {
    let block_bytes = ty.block_bytes() as usize;
    let blocks = if ty == GgmlType::I2_S { bytes.len().saturating_sub(32) } else { bytes.len() };
    let missing = ty == GgmlType::I2_S && bytes.len() < 32;
    if missing || !blocks.is_multiple_of(block_bytes) {
        let n_weights = (blocks as u64).saturating_mul(ty.block_size()) / ty.block_bytes();
        return Err(QuantError::PartialBlock { ty, n_weights, block_size: ty.block_size() });
    }
    if ty == GgmlType::I2_S {
        let scale = bytes[blocks..].first_chunk().is_some_and(|scale| f32::from_le_bytes(*scale).is_finite());
        return if scale {
            Ok(())
        } else {
            Err(QuantError::BadBlock { ty, block: blocks / block_bytes, offset: blocks })
        };
    }
    let task_bytes = TASK * block_bytes;
    let found = spread(|| {
        bytes.par_chunks(task_bytes).enumerate().find_map_first(|(task, blocks)| {
            let (block, within) = first_bad(ty, blocks)?;
            let block = task * TASK + block;
            Some(QuantError::BadBlock { ty, block, offset: block * block_bytes + within })
        })
    });
    found.map_or(Ok(()), Err)
}

/// The first block with a bad number, and where in the block it lies.
fn first_bad(ty: GgmlType, bytes: &[u8]) -> Option<(usize, usize)> {
    match ty {
        GgmlType::F32 => find(bytes, |value: &[u8; 4]| bad_f32(*value).then_some(0)),
        GgmlType::F64 => {
            find(bytes, |value: &[u8; 8]| (!(f64::from_le_bytes(*value) as f32).is_finite()).then_some(0))
        }
        GgmlType::F16 => find(bytes, |value: &[u8; 2]| bad_f16(*value).then_some(0)),
        GgmlType::BF16 => {
            find(bytes, |value: &[u8; 2]| (u16::from_le_bytes(*value) & 0x7f80 == 0x7f80).then_some(0))
        }
        GgmlType::Q1_0 | GgmlType::Q2_0 | GgmlType::Q4_0 | GgmlType::IQ4_NL => halves::<18>(bytes, &[0]),
        GgmlType::Q4_1 => halves::<20>(bytes, &[0, 2]),
        GgmlType::Q5_0 => halves::<22>(bytes, &[0]),
        GgmlType::Q5_1 => halves::<24>(bytes, &[0, 2]),
        GgmlType::Q8_0 => halves::<34>(bytes, &[0]),
        GgmlType::Q8_1 => halves::<36>(bytes, &[0, 2]),
        GgmlType::Q2_K => halves::<84>(bytes, &[80, 82]),
        GgmlType::Q3_K => halves::<110>(bytes, &[108]),
        GgmlType::Q4_K => halves::<144>(bytes, &[0, 2]),
        GgmlType::Q5_K => halves::<176>(bytes, &[0, 2]),
        GgmlType::Q6_K => halves::<210>(bytes, &[208]),
        GgmlType::Q8_K => {
            find(bytes, |block: &[u8; 292]| bad_f32(decode::u32_at(block, 0).to_le_bytes()).then_some(0))
        }
        GgmlType::IQ1_S => halves::<50>(bytes, &[0]),
        GgmlType::IQ1_M => {
            find(bytes, |block: &[u8; 56]| bad_f16(decode::iq1_m_scale(block).to_le_bytes()).then_some(48))
        }
        GgmlType::IQ2_XXS => halves::<66>(bytes, &[0]),
        GgmlType::IQ2_XS => halves::<74>(bytes, &[0]),
        GgmlType::IQ2_S => halves::<82>(bytes, &[0]),
        GgmlType::IQ3_XXS => halves::<98>(bytes, &[0]),
        GgmlType::IQ3_S => halves::<110>(bytes, &[0]),
        GgmlType::IQ4_XS => halves::<136>(bytes, &[0]),
        GgmlType::TQ1_0 => halves::<54>(bytes, &[52]),
        GgmlType::TQ2_0 => halves::<66>(bytes, &[64]),
        GgmlType::MXFP4 => find(bytes, |block: &[u8; 17]| (block[0] == 0xff).then_some(0)),
        GgmlType::NVFP4 | GgmlType::I2_S | GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 => {
            None
        }
    }
}

fn find<const B: usize>(bytes: &[u8], bad: impl Fn(&[u8; B]) -> Option<usize>) -> Option<(usize, usize)> {
    let blocks = bytes.as_chunks::<B>().0;
    // Sixty-four at a time without a branch in between, which the compiler can turn into vector code.
    for (run, group) in blocks.chunks(64).enumerate() {
        if group.iter().fold(false, |any, block| any | bad(block).is_some()) {
            let at = group.iter().position(|block| bad(block).is_some())?;
            return Some((64 * run + at, bad(&group[at])?));
        }
    }
    None
}

fn halves<const B: usize>(bytes: &[u8], offsets: &'static [usize]) -> Option<(usize, usize)> {
    find(bytes, |block: &[u8; B]| offsets.iter().copied().find(|&at| bad_f16([block[at], block[at + 1]])))
}

fn bad_f16(bytes: [u8; 2]) -> bool {
    u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00
}

fn bad_f32(bytes: [u8; 4]) -> bool {
    u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero blocks with `bytes` written over them.
    fn blocks(ty: GgmlType, n_blocks: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut data = vec![0; n_blocks * ty.block_bytes() as usize];
        data[at..at + bytes.len()].copy_from_slice(bytes);
        data
    }

    #[test]
    fn the_first_bad_scale_is_named() {
        let mut data = blocks(GgmlType::Q6_K, 40_000, 210 * 39_000 + 208, &[0x00, 0x7c]);
        data[210 * 39_500 + 209] = 0x7e;
        let error = check(GgmlType::Q6_K, &data).unwrap_err();
        assert_eq!(
            error,
            QuantError::BadBlock { ty: GgmlType::Q6_K, block: 39_000, offset: 210 * 39_000 + 208 }
        );
    }

    #[test]
    fn minimums_count_and_weights_do_not() {
        assert!(check(GgmlType::Q4_1, &blocks(GgmlType::Q4_1, 3, 22, &[0xff, 0xff])).is_err());
        assert!(check(GgmlType::Q4_1, &blocks(GgmlType::Q4_1, 3, 24, &[0xff; 16])).is_ok());
        assert!(check(GgmlType::MXFP4, &blocks(GgmlType::MXFP4, 2, 17, &[0xff])).is_err());
        assert!(check(GgmlType::NVFP4, &blocks(GgmlType::NVFP4, 2, 0, &[0xff; 72])).is_ok());
    }

    #[test]
    fn the_scattered_scale_of_iq1_m_is_found() {
        // 0x7c00, one nibble in the upper end of each 16-bit word.
        let words = [0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x70];
        let data = blocks(GgmlType::IQ1_M, 2, 56 + 48, &words);
        let error = check(GgmlType::IQ1_M, &data).unwrap_err();
        assert_eq!(error, QuantError::BadBlock { ty: GgmlType::IQ1_M, block: 1, offset: 56 + 48 });
    }

    #[test]
    fn a_tensor_scale_is_looked_at() {
        let mut data = vec![0; 96];
        assert!(check(GgmlType::I2_S, &data).is_ok());
        data[64..68].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(
            check(GgmlType::I2_S, &data),
            Err(QuantError::BadBlock { ty: GgmlType::I2_S, block: 2, offset: 64 })
        );
        assert!(check(GgmlType::I2_S, &data[..31]).is_err());
    }

    #[test]
    fn parts_of_blocks_are_refused() {
        let error = check(GgmlType::Q8_0, &[0; 35]).unwrap_err();
        assert!(error.to_string().contains("`Q8_0`"), "{error}");
    }
}
