//! Four-bit floating point (E2M1) with shared 8-bit scales.

use super::super::decode::DOUBLED;
use super::super::half::{e8m0_half, f32_to_ue4m3, ue4m3_half};

/// The codes of the values nearest to the weights; of equally near ones the lowest.
#[inline(always)]
fn nearest_codes<const N: usize>(values: &[f32; N], scale: f32) -> [u8; N] {
    let mut codes = [0; N];
    let mut best = values.map(|value| (f32::from(DOUBLED[0]) * scale - value).abs());
    for code in 1..16 {
        let candidate = f32::from(DOUBLED[usize::from(code)]) * scale;
        for k in 0..N {
            let off = (candidate - values[k]).abs();
            codes[k] = if off < best[k] { code } else { codes[k] };
            best[k] = if off < best[k] { off } else { best[k] };
        }
    }
    codes
}

#[inline(always)]
fn size(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, value| if max < value.abs() { value.abs() } else { max })
}

/// The scale's power of two, less two for the largest value 6 = 1.5 × 2². The logarithm is rounded to F32 first, as
/// `log2f` does: sizes just below a power of two count as that power.
fn e8m0(size: f32) -> u8 {
    if size > 0.0 { ((f64::from(size).log2() as f32).floor() as i32 + 125) as u8 } else { 0 }
}

#[inline(always)]
pub(super) fn mxfp4(values: &[f32; 32], block: &mut [u8; 17]) {
    block[0] = e8m0(size(values));
    let codes = nearest_codes(values, e8m0_half(block[0]));
    for k in 0..16 {
        block[1 + k] = codes[k] | (codes[16 + k] << 4);
    }
}

#[inline(always)]
pub(super) fn nvfp4(values: &[f32; 64], block: &mut [u8; 36]) {
    for (group, values) in values.as_chunks::<16>().0.iter().enumerate() {
        block[group] = f32_to_ue4m3(size(values) / 6.0);
        let codes = nearest_codes(values, ue4m3_half(block[group]));
        for k in 0..8 {
            block[4 + 8 * group + k] = codes[k] | (codes[8 + k] << 4);
        }
    }
}
