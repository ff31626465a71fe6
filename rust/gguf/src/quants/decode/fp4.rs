//! Four-bit floating point (E2M1) with shared 8-bit scales.

use super::super::half::{e8m0_half, ue4m3_half};

/// Twice the values of E2M1 (OCP Microscaling Formats 1.0, section 5.3.3); scales are halved to make up for it.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Numbers in nibbles, the first half of them in the lower ones.
#[inline(always)]
fn nibbles<const N: usize>(packed: &[u8], scale: f32, out: &mut [f32; N]) {
    for k in 0..N / 2 {
        out[k] = f32::from(DOUBLED[usize::from(packed[k] & 15)]) * scale;
        out[N / 2 + k] = f32::from(DOUBLED[usize::from(packed[k] >> 4)]) * scale;
    }
}

#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    nibbles(&block[1..], e8m0_half(block[0]), out);
}

#[inline(always)]
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (group, weights) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        nibbles(&block[4 + 8 * group..12 + 8 * group], ue4m3_half(block[group]), weights);
    }
}
