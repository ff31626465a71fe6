//! Decodes whole tensors and rows.

use crate::threads::spread;
use rayon::prelude::*;

use super::error::QuantError;
use super::simd::{self, Instructions};
use super::watch::Watch;
use crate::GgmlType;
use crate::progress::{Progress, no_progress};

/// Weights that one task of a parallel run decodes: 64 KiB of them, which stay in a core's cache.
const TASK: usize = 16 * 1024;
/// Weights that are decoded into a core's first cache before they are written past the caches: 4 KiB of them. While one piece is on its way to
/// memory the next is decoded; with larger ones, memory would wait.
const PIECE: usize = 1024;
/// The number of weights from which that pays: 16 MiB of them, more than a core's second cache holds.
const MANY: usize = 4 << 20;

/// Decodes `bytes` of type `ty` into `out`, on this thread.
///
/// Every value has the bits that ggml's `to_float` gives (NaNs may differ in their payload). `bytes` holds any number
/// of whole blocks, such as a tensor or some of its rows; only `I2_S` must be a whole tensor, with the 32 bytes of its
/// scale at the end. Integers and F64 are rounded to the nearest F32.
///
/// ```
/// use tabagent_gguf::{GgmlType, quants};
/// let block = [0x00, 0x3c, 0x98, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 8, 8, 8, 8, 8, 8, 8, 8]; // scale 1.0
/// let mut weights = [0.0; 32];
/// quants::dequantize(GgmlType::Q4_0, &block, &mut weights)?;
/// assert_eq!((weights[0], weights[1], weights[16], weights[17]), (0.0, 0.0, 1.0, -8.0));
/// # Ok::<(), tabagent_gguf::QuantError>(())
/// ```
///
/// # Errors
///
/// [`QuantError::PartialBlock`] and [`QuantError::WrongLength`] if `bytes` are not `out.len()` weights.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    let scale = check_lengths(ty, bytes, out.len())?;
    simd::decode(Instructions::best(), ty, bytes, scale, out);
    Ok(())
}

/// As [`dequantize`], spread over the threads of the current `rayon` pool.
///
/// # Errors
///
/// As for [`dequantize`].
pub fn dequantize_parallel(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    dequantize_with(ty, bytes, out, &no_progress)
}

/// As [`dequantize_parallel`]; `progress` gets the bytes decoded and can stop the work.
///
/// # Errors
///
/// As for [`dequantize`]; [`QuantError::Cancelled`].
pub fn dequantize_with(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [f32],
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    decode_all(ty, bytes, out, progress, false)
}

/// As [`dequantize_with`], faster if a large `out` was written to before, all of it.
///
/// # Errors
///
/// As for [`dequantize_with`].
pub fn dequantize_over(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [f32],
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    decode_all(ty, bytes, out, progress, out.len() >= MANY)
}

/// Decodes into `out`. If it `streams`, it writes past the caches, which then do not fetch what is overwritten. New memory is better written to
/// directly: the system clears each page of it at the first write, so the page is already in a cache.
fn decode_all(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [f32],
    progress: Progress<'_>,
    streams: bool,
) -> Result<(), QuantError> {
    let scale = check_lengths(ty, bytes, out.len())?;
    let level = Instructions::best();
    let watch = Watch::new(bytes.len(), progress);
    let task = |weights: &mut [f32], bytes: &[u8]| {
        if streams {
            let mut piece = [0.0; PIECE];
            let mut stream = simd::Stream::new();
            for (weights, bytes) in weights.chunks_mut(PIECE).zip(bytes.chunks(stored(ty, PIECE))) {
                let piece = &mut piece[..weights.len()];
                simd::decode(level, ty, bytes, scale, piece);
                stream.write(piece, weights);
            }
        } else {
            simd::decode(level, ty, bytes, scale, weights);
        }
        watch.tell(bytes.len())
    };
    if out.len() <= TASK {
        return task(out, bytes);
    }
    spread(|| {
        let tasks = out.par_chunks_mut(TASK).zip(bytes.par_chunks(stored(ty, TASK)));
        tasks.try_for_each(|(weights, bytes)| task(weights, bytes))
    })
}

/// Decodes to IEEE binary16 (as bits), spread over the threads of the current `rayon` pool.
///
/// F16 data is copied; all else goes through F32 and is rounded to nearest, ties to even.
///
/// # Errors
///
/// As for [`dequantize`].
pub fn dequantize_f16(ty: GgmlType, bytes: &[u8], out: &mut [u16]) -> Result<(), QuantError> {
    dequantize_f16_with(ty, bytes, out, &no_progress)
}

/// As [`dequantize_f16`]; `progress` gets the bytes decoded and can stop the work.
///
/// # Errors
///
/// As for [`dequantize_f16`]; [`QuantError::Cancelled`].
pub fn dequantize_f16_with(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [u16],
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    to_halves(ty, bytes, out, GgmlType::F16, progress)
}

/// Decodes to bfloat16 (as bits), spread over the threads of the current `rayon` pool.
///
/// BF16 data is copied; all else goes through F32 and is rounded to nearest, ties to even.
///
/// # Errors
///
/// As for [`dequantize`].
pub fn dequantize_bf16(ty: GgmlType, bytes: &[u8], out: &mut [u16]) -> Result<(), QuantError> {
    dequantize_bf16_with(ty, bytes, out, &no_progress)
}

/// As [`dequantize_bf16`]; `progress` gets the bytes decoded and can stop the work.
///
/// # Errors
///
/// As for [`dequantize_bf16`]; [`QuantError::Cancelled`].
pub fn dequantize_bf16_with(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [u16],
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    to_halves(ty, bytes, out, GgmlType::BF16, progress)
}

fn to_halves(
    ty: GgmlType,
    bytes: &[u8],
    out: &mut [u16],
    half: GgmlType,
    progress: Progress<'_>,
) -> Result<(), QuantError> {
    let scale = check_lengths(ty, bytes, out.len())?;
    let level = Instructions::best();
    let watch = Watch::new(bytes.len(), progress);
    spread(|| {
        out.par_chunks_mut(TASK).zip(bytes.par_chunks(stored(ty, TASK))).try_for_each_init(
            || vec![0.0; if ty == half { 0 } else { TASK }],
            |buffer, (halves, bytes)| {
                if ty == half {
                    for (value, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
                        *value = u16::from_le_bytes(*bytes);
                    }
                } else {
                    let values = &mut buffer[..halves.len()];
                    simd::decode(level, ty, bytes, scale, values);
                    simd::to_halves(level, values, halves, half == GgmlType::F16);
                }
                watch.tell(bytes.len())
            },
        )
    })
}

/// Bytes of `weights` weights, a number that is whole blocks of every type.
fn stored(ty: GgmlType, weights: usize) -> usize {
    weights / ty.block_size() as usize * ty.block_bytes() as usize
}

/// Checks that the buffers belong together and reads the scale of an `I2_S` tensor (0 for other types).
fn check_lengths(ty: GgmlType, bytes: &[u8], n_weights: usize) -> Result<f32, QuantError> {
    let expected = ty.n_bytes(n_weights as u64).ok_or(QuantError::PartialBlock {
        ty,
        n_weights: n_weights as u64,
        block_size: ty.block_size(),
    })?;
    if bytes.len() as u64 != expected {
        return Err(QuantError::WrongLength { ty, n_weights, expected, found: bytes.len() });
    }
    let at = n_weights / 4;
    Ok(match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) if ty == GgmlType::I2_S => f32::from_le_bytes([a, b, c, d]),
        _ => 0.0,
    })
}
