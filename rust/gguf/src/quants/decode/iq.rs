//! IQ types: groups of 4 or 8 weights are points of a lattice, or single weights entries of a curved table.

use super::super::lattice::{
    IQ1_VALUES, IQ2_S_VALUES, IQ2_XS_VALUES, IQ2_XXS_VALUES, IQ3_S_VALUES, IQ3_XXS_VALUES, even_signs,
};
use super::{bytes_at, f16_at, u16_at, u32_at};

/// The sixteen values of `IQ4_NL` and `IQ4_XS`, denser around zero (`kvalues_iq4nl` in `ggml/src/ggml-common.h`).
pub(crate) const CURVE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// What `IQ1_S` and `IQ1_M` add to or take from a whole group of ternary values.
const SHIFT: f32 = 0.125;

/// `scale` times a point's magnitudes, with a sign bit each.
#[inline(always)]
fn signed<const N: usize>(out: &mut [f32], scale: f32, magnitudes: [u8; N], signs: u8) {
    for k in 0..N {
        let magnitude = scale * f32::from(magnitudes[k]);
        out[k] = magnitude * if (signs >> k) & 1 == 1 { -1.0 } else { 1.0 };
    }
}

/// A 4-bit scale, taken half a step above its number: `scale` × (bits + ½) ÷ 4.
#[inline(always)]
fn half_steps(scale: f32, bits: u32) -> f32 {
    scale * (0.5 + bits as f32) * 0.25
}

#[inline(always)]
pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (group, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let at = 2 + 8 * group;
        let signs = u32_at(block, at + 4);
        let group_scale = half_steps(scale, signs >> 28);
        for (k, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let point = IQ2_XXS_VALUES[usize::from(block[at + k])];
            signed(weights, group_scale, point, even_signs(signs >> (7 * k)));
        }
    }
}

#[inline(always)]
pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (k, weights) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let group_scale = half_steps(scale, u32::from(block[66 + k / 4] >> (4 * (k / 2 % 2))) & 15);
        let packed = u16_at(block, 2 + 2 * k);
        let point = IQ2_XS_VALUES[usize::from(packed & 511)];
        signed(weights, group_scale, point, even_signs(u32::from(packed >> 9)));
    }
}

#[inline(always)]
pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (k, weights) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let group_scale = half_steps(scale, u32::from(block[74 + k / 4] >> (4 * (k / 2 % 2))) & 15);
        let high = (block[66 + k / 4] >> (2 * (k % 4))) & 3;
        let point = IQ2_S_VALUES[usize::from(block[2 + k]) | usize::from(high) << 8];
        signed(weights, group_scale, point, block[34 + k]);
    }
}

#[inline(always)]
pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (group, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let signs = u32_at(block, 66 + 4 * group);
        let group_scale = scale * (0.5 + (signs >> 28) as f32) * 0.5;
        for (k, weights) in weights.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let point = IQ3_XXS_VALUES[usize::from(block[2 + 8 * group + k])];
            signed(weights, group_scale, point, even_signs(signs >> (7 * (k / 2))) >> (4 * (k % 2)));
        }
    }
}

#[inline(always)]
pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (k, weights) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bits = (block[106 + k / 16] >> (4 * (k / 8 % 2))) & 15;
        let group_scale = scale * f32::from(1 + 2 * bits);
        let high = (block[66 + k / 8] >> (k % 8)) & 1;
        let point = IQ3_S_VALUES[usize::from(block[2 + k]) | usize::from(high) << 8];
        signed(weights, group_scale, point, block[74 + k / 2] >> (4 * (k % 2)));
    }
}

/// Eight ternary values, all shifted a little to one side.
#[inline(always)]
fn shifted(out: &mut [f32; 8], scale: f32, point: usize, minus: bool) {
    let shift = if minus { -SHIFT } else { SHIFT };
    for (weight, value) in out.iter_mut().zip(IQ1_VALUES[point]) {
        *weight = scale * (f32::from(value.cast_signed()) + shift);
    }
}

#[inline(always)]
pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    for (k, weights) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = u16_at(block, 34 + 2 * (k / 4));
        let group_scale = scale * f32::from(2 * ((packed >> 12) & 7) + 1);
        let high = usize::from((packed >> (3 * (k % 4))) & 7);
        shifted(weights, group_scale, usize::from(block[2 + k]) | high << 8, packed & 0x8000 != 0);
    }
}

/// The F16 scale of an `IQ1_M` block, spread over the upper nibbles of its four 16-bit words of scales.
#[inline(always)]
pub(crate) fn iq1_m_scale(block: &[u8; 56]) -> u16 {
    (0..4).fold(0, |scale, word| scale | (u16_at(block, 48 + 2 * word) >> 12) << (4 * word))
}

#[inline(always)]
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scale = super::f16_to_f32(iq1_m_scale(block));
    for (k, weights) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let group = k / 2;
        let bits = (u16_at(block, 48 + 2 * (group / 4)) >> (3 * (group % 4))) & 7;
        let high = block[32 + group] >> (4 * (k % 2));
        let point = usize::from(block[k]) | usize::from(high & 7) << 8;
        shifted(weights, scale * f32::from(2 * bits + 1), point, high & 8 != 0);
    }
}

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    curved(out, scale, bytes_at(block, 2));
}

#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    let high = u16_at(block, 2);
    for (group, weights) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = (block[4 + group / 2] >> (4 * (group % 2))) & 15;
        let bits = low | (((high >> (2 * group)) & 3) << 4) as u8;
        curved(weights, scale * f32::from(bits.cast_signed() - 32), bytes_at(block, 8 + 16 * group));
    }
}

#[inline(always)]
fn curved(out: &mut [f32; 32], scale: f32, packed: [u8; 16]) {
    for k in 0..16 {
        out[k] = scale * f32::from(CURVE[usize::from(packed[k] & 15)]);
        out[16 + k] = scale * f32::from(CURVE[usize::from(packed[k] >> 4)]);
    }
}
