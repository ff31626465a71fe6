//! Conversions between F32 and the small floating-point formats that ggml stores.
//!
//! Integer arithmetic without branches, so that loops over them vectorize. Bits equal those of `ggml/src/ggml-impl.h`,
//! NaNs included.

/// IEEE binary16 to binary32; exact, NaNs become quiet.
#[inline(always)]
pub(super) fn f16_to_f32(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff);
    let sign = u32::from(half & 0x8000) << 16;
    let normal = (magnitude << 13) + (112 << 23);
    // Below 2^-14 the 10 bits count units of 2^-24, which is the last place of numbers in [0.5, 1).
    let tiny = (f32::from_bits(magnitude | 0x3f00_0000) - 0.5).to_bits();
    let special = ((magnitude << 13) + (224 << 23)) | (u32::from(magnitude > 0x7c00) << 22);
    let bits = if magnitude < 0x0400 { tiny } else { normal };
    let bits = if magnitude >= 0x7c00 { special } else { bits };
    f32::from_bits(bits | sign)
}

/// binary32 to IEEE binary16, to nearest, ties to even; too large becomes infinity, every NaN the quiet one.
#[inline(always)]
pub(super) fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let sign = (bits >> 16) & 0x8000;
    let normal = (magnitude.wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13).wrapping_sub(112 << 10);
    let tiny = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let half = if magnitude < 0x3880_0000 { tiny } else { normal };
    let half = if magnitude >= 0x4780_0000 { 0x7c00 } else { half };
    let half = if magnitude > 0x7f80_0000 { 0x7e00 } else { half };
    (half | sign) as u16
}

/// bfloat16 to binary32; exact.
#[inline(always)]
pub(super) fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// binary32 to bfloat16, to nearest, ties to even; NaNs become quiet and keep their upper bits.
#[inline(always)]
pub(super) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let half = if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) | 64 } else { rounded };
    half as u16
}

/// Half of the power of two that an E8M0 byte names: 2^(byte − 128). FP4 values are stored doubled to make up for it.
#[inline(always)]
pub(super) fn e8m0_half(byte: u8) -> f32 {
    let exponent = u32::from(byte);
    f32::from_bits(if byte < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 })
}

/// Half the value of an unsigned E4M3 byte (bias 7); 0x7F, its NaN, and the unused top bit count as ggml counts them.
#[inline(always)]
pub(super) fn ue4m3_half(byte: u8) -> f32 {
    if byte == 0 || byte == 0x7f {
        return 0.0;
    }
    let (exponent, mantissa) = (u32::from(byte >> 3) & 15, u32::from(byte & 7));
    if exponent == 0 {
        mantissa as f32 * (1.0 / 1024.0)
    } else {
        f32::from_bits(((exponent + 119) << 23) | (mantissa << 20))
    }
}

/// The unsigned E4M3 byte nearest to a positive value (halves up, 448 from 256 on); 0 for anything else.
pub(super) fn f32_to_ue4m3(value: f32) -> u8 {
    if !matches!(value.partial_cmp(&0.0), Some(std::cmp::Ordering::Greater)) {
        return 0;
    }
    let value = value.min(448.0);
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 120;
    if exponent <= 0 {
        return ((value * 512.0 + 0.5) as u8).min(7);
    }
    // Mantissa and exponent are neighbours, so that a carry out of the mantissa raises the exponent.
    let rounded = ((exponent as u32) << 3 | ((bits >> 20) & 7)) + ((bits >> 19) & 1);
    // From 256 on ggml saturates, although the format has values there.
    if rounded >= 0x78 { 0x7e } else { rounded as u8 }
}

/// Rounds numbers to one of the 16-bit formats.
#[inline(always)]
pub(super) fn round_to_halves(values: &[f32], halves: &mut [u16], ieee: bool) {
    if ieee {
        for (half, value) in halves.iter_mut().zip(values) {
            *half = f32_to_f16(*value);
        }
    } else {
        for (half, value) in halves.iter_mut().zip(values) {
            *half = f32_to_bf16(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_f32() {
        for half in 0..=u16::MAX {
            let value = f16_to_f32(half);
            if value.is_nan() {
                assert_eq!(f32_to_f16(value), half & 0x8000 | 0x7e00);
            } else {
                assert_eq!(f32_to_f16(value), half, "{half:#x}");
            }
            assert_eq!(f32_to_bf16(bf16_to_f32(half)) & !64, half & !64, "{half:#x}");
        }
    }

    #[test]
    fn halves_round_to_even_and_overflow_to_infinity() {
        assert_eq!(f32_to_f16(65519.996), 0x7bff);
        assert_eq!(f32_to_f16(65520.0), 0x7c00);
        assert_eq!(f32_to_f16(f32::MIN), 0xfc00);
        assert_eq!(f32_to_f16(2048.0 + 1.0), f32_to_f16(2048.0));
        assert_eq!(f32_to_f16(2.0_f32.powi(-25)), 0);
        assert_eq!(f32_to_f16(2.0_f32.powi(-25) * 1.0001), 1);
    }

    #[test]
    fn scale_bytes_have_their_values() {
        assert_eq!(e8m0_half(128).to_bits(), 1.0_f32.to_bits());
        assert_eq!(e8m0_half(0).to_bits(), 2.0_f32.powi(-128).to_bits());
        assert_eq!(ue4m3_half(0x38).to_bits(), 0.5_f32.to_bits());
        for byte in 1..0x78 {
            assert_eq!(f32_to_ue4m3(2.0 * ue4m3_half(byte)), byte);
        }
        assert_eq!(f32_to_ue4m3(256.0), 0x7e);
    }
}
