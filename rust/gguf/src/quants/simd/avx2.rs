//! The formats that most files are made of, in AVX2 instructions.
//!
//! Each function does what its namesake in `decode` or `encode` does, in the same order.

use core::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_EQ_OQ, _MM_FROUND_TO_NEAREST_INT, _mm_add_epi8, _mm_and_si128,
    _mm_cmpeq_epi8, _mm_cvtph_ps, _mm_cvtps_ph, _mm_cvtsi32_si128, _mm_cvtsi128_si32, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_or_si128, _mm_set_ss, _mm_set1_epi8,
    _mm_set1_epi64x, _mm_shuffle_ps, _mm_slli_epi16, _mm_srli_epi16, _mm_srli_si128, _mm_storeu_si128,
    _mm_unpacklo_epi64, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_castps_si256,
    _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvttps_epi32, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_max_epi32,
    _mm256_max_ps, _mm256_min_epi32, _mm256_movemask_ps, _mm256_mul_ps, _mm256_or_ps, _mm256_packus_epi16,
    _mm256_packus_epi32, _mm256_permutevar8x32_epi32, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_storeu_ps, _mm256_sub_epi32, _mm256_sub_ps, _mm256_xor_ps,
};

use super::super::decode::scale_and_min;
use super::super::encode::legacy::{self, Lane};

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the load needs no alignment and reads the 16 bytes of the array.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_floats(values: &[f32; 8]) -> __m256 {
    // SAFETY: the load needs no alignment and reads the 8 floats of the array.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store(out: &mut [u8; 16], bytes: __m128i) {
    // SAFETY: the store needs no alignment and writes the 16 bytes of the array.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn store_floats(out: &mut [f32; 8], values: __m256) {
    // SAFETY: the store needs no alignment and writes the 8 floats of the array.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) };
}

/// `N` bytes of a block.
#[inline(always)]
fn part<const N: usize, const B: usize>(block: &[u8; B], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[at..at + N]);
    bytes
}

/// The F16 at byte `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half<const B: usize>(block: &[u8; B], at: usize) -> f32 {
    let bits = u16::from_le_bytes([block[at], block[at + 1]]);
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

/// Sixteen signed bytes as two vectors of floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn floats(bytes: __m128i) -> [__m256; 2] {
    [
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))),
    ]
}

/// Writes sixteen signed bytes times a scale.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn put_scaled(out: &mut [f32], bytes: __m128i, scale: __m256) {
    for (out, values) in out.as_chunks_mut::<8>().0.iter_mut().zip(floats(bytes)) {
        store_floats(out, _mm256_mul_ps(values, scale));
    }
}

/// Lower and upper nibbles of sixteen bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn nibbles(bytes: __m128i) -> [__m128i; 2] {
    let mask = _mm_set1_epi8(15);
    [_mm_and_si128(bytes, mask), _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask)]
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q8_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<34>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let scale = _mm256_set1_ps(half(block, 0));
        let (low, high) = out.split_at_mut(16);
        put_scaled(low, load(&part(block, 2)), scale);
        put_scaled(high, load(&part(block, 18)), scale);
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q4_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<18>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let scale = _mm256_set1_ps(half(block, 0));
        let numbers = nibbles(load(&part(block, 2)));
        for (out, numbers) in out.as_chunks_mut::<16>().0.iter_mut().zip(numbers) {
            put_scaled(out, _mm_add_epi8(numbers, _mm_set1_epi8(-8)), scale);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q4_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<20>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let (scale, offset) = (_mm256_set1_ps(half(block, 0)), _mm256_set1_ps(half(block, 2)));
        let numbers = nibbles(load(&part(block, 4)));
        for (out, numbers) in out.as_chunks_mut::<16>().0.iter_mut().zip(numbers) {
            for (out, values) in out.as_chunks_mut::<8>().0.iter_mut().zip(floats(numbers)) {
                store_floats(out, _mm256_add_ps(_mm256_mul_ps(values, scale), offset));
            }
        }
    }
}

/// The k-th of sixteen bits as 0 or 16 in byte k.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn fifth_bits(bits: [u8; 2]) -> __m128i {
    let [low, high] = bits.map(u8::cast_signed);
    let spread = _mm_unpacklo_epi64(_mm_set1_epi8(low), _mm_set1_epi8(high));
    let places = _mm_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let are_set = _mm_cmpeq_epi8(_mm_and_si128(spread, places), places);
    _mm_and_si128(are_set, _mm_set1_epi8(16))
}

/// The 32 five-bit numbers of a word of fifth bits at byte `at` and the nibbles behind it.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn five_bits<const B: usize>(block: &[u8; B], at: usize) -> [__m128i; 2] {
    let [low, high] = nibbles(load(&part(block, at + 4)));
    let fifth = |at| fifth_bits(part(block, at));
    [_mm_or_si128(low, fifth(at)), _mm_or_si128(high, fifth(at + 2))]
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q5_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<22>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let scale = _mm256_set1_ps(half(block, 0));
        for (out, numbers) in out.as_chunks_mut::<16>().0.iter_mut().zip(five_bits(block, 2)) {
            put_scaled(out, _mm_add_epi8(numbers, _mm_set1_epi8(-16)), scale);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q5_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<24>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let (scale, offset) = (_mm256_set1_ps(half(block, 0)), _mm256_set1_ps(half(block, 2)));
        for (out, numbers) in out.as_chunks_mut::<16>().0.iter_mut().zip(five_bits(block, 4)) {
            for (out, values) in out.as_chunks_mut::<8>().0.iter_mut().zip(floats(numbers)) {
                store_floats(out, _mm256_add_ps(_mm256_mul_ps(values, scale), offset));
            }
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q4_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.as_chunks::<144>().0.iter().zip(out.as_chunks_mut::<256>().0) {
        let (scale, min) = (half(block, 0), half(block, 2));
        let packed = part::<12, 144>(block, 4);
        for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let [low_1, high_1] = nibbles(load(&part(block, 16 + 32 * pair)));
            let [low_2, high_2] = nibbles(load(&part(block, 32 + 32 * pair)));
            let groups = [[low_1, low_2], [high_1, high_2]];
            for (group, (out, numbers)) in out.as_chunks_mut::<32>().0.iter_mut().zip(groups).enumerate() {
                let (group_scale, group_min) = scale_and_min(&packed, 2 * pair + group);
                let group_scale = _mm256_set1_ps(scale * f32::from(group_scale));
                let group_min = _mm256_set1_ps(min * f32::from(group_min));
                for (out, numbers) in out.as_chunks_mut::<16>().0.iter_mut().zip(numbers) {
                    for (out, values) in out.as_chunks_mut::<8>().0.iter_mut().zip(floats(numbers)) {
                        store_floats(out, _mm256_sub_ps(_mm256_mul_ps(group_scale, values), group_min));
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode_q6_k(bytes: &[u8], out: &mut [f32]) {
    let pair = _mm_set1_epi8(0x30);
    for (block, out) in bytes.as_chunks::<210>().0.iter().zip(out.as_chunks_mut::<256>().0) {
        let scale = half(block, 208);
        let scales: [u8; 16] = part(block, 192);
        for (piece, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            for start in [0, 16] {
                let [a, c] = nibbles(load(&part(block, 64 * piece + start)));
                let [b, d] = nibbles(load(&part(block, 64 * piece + 32 + start)));
                let high = load(&part(block, 128 + 32 * piece + start));
                let highs =
                    [_mm_slli_epi16::<4>(high), _mm_slli_epi16::<2>(high), high, _mm_srli_epi16::<2>(high)];
                for (quarter, (low, high)) in [a, b, c, d].into_iter().zip(highs).enumerate() {
                    let numbers = _mm_or_si128(low, _mm_and_si128(high, pair));
                    let group_scale = scales[8 * piece + 2 * quarter + start / 16].cast_signed();
                    put_scaled(
                        &mut out[32 * quarter + start..32 * quarter + start + 16],
                        _mm_add_epi8(numbers, _mm_set1_epi8(-32)),
                        _mm256_set1_ps(scale * f32::from(group_scale)),
                    );
                }
            }
        }
    }
}

/// Thirty-two floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_block(values: &[f32; 32]) -> [__m256; 4] {
    let [a, b, c, d] = values.as_chunks::<8>().0 else { return [_mm256_set1_ps(0.0); 4] };
    [load_floats(a), load_floats(b), load_floats(c), load_floats(d)]
}

/// The largest of thirty-two floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn max([a, b, c, d]: [__m256; 4]) -> f32 {
    let max = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
    let max = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps::<1>(max));
    let max = _mm_max_ps(max, _mm_movehl_ps(max, max));
    _mm_cvtss_f32(_mm_max_ss(max, _mm_shuffle_ps::<1>(max, max)))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn size(values: __m256) -> __m256 {
    _mm256_and_ps(values, _mm256_set1_ps(f32::from_bits(0x7fff_ffff)))
}

/// A finite number as F16.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn to_half(value: f32) -> [u8; 2] {
    let half = _mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(value));
    (_mm_cvtsi128_si32(half) as u16).to_le_bytes()
}

/// The truncated levels of a block, at most 15, in nibbles.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn pack_nibbles(levels: [__m256; 4]) -> __m128i {
    let [low, high] = narrow(levels.map(|levels| {
        let low_bytes = _mm256_and_si256(_mm256_cvttps_epi32(levels), _mm256_set1_epi32(255));
        _mm256_min_epi32(low_bytes, _mm256_set1_epi32(15))
    }));
    _mm_or_si128(low, _mm_slli_epi16::<4>(high))
}

/// The lowest bytes of thirty-two integers.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn narrow(integers: [__m256i; 4]) -> [__m128i; 2] {
    let [a, b, c, d] = integers.map(|vector| _mm256_and_si256(vector, _mm256_set1_epi32(255)));
    // The instructions pack the halves of their vectors apart: put the groups of four in order again.
    let packed = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    let packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    [_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed)]
}

#[inline]
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode_q8_0(values: &[f32], out: &mut [u8]) {
    let sign = _mm256_set1_ps(-0.0);
    // The float below a half: added to a number below it, it never reaches the next whole one.
    let almost_half = _mm256_set1_ps(0.499_999_97);
    for (values, block) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<34>().0) {
        let vectors = load_block(values);
        let scale = max(vectors.map(|vector| size(vector))) / 127.0;
        let inverse = _mm256_set1_ps(inverse(scale));
        let rounded = vectors.map(|vector| {
            let scaled = _mm256_mul_ps(vector, inverse);
            let away = _mm256_or_ps(_mm256_and_ps(scaled, sign), almost_half);
            _mm256_cvttps_epi32(_mm256_add_ps(scaled, away))
        });
        let (half, levels) = block.split_at_mut(2);
        half.copy_from_slice(&to_half(scale));
        for (out, levels) in levels.as_chunks_mut().0.iter_mut().zip(narrow(rounded)) {
            store(out, levels);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode_q4_0(values: &[f32], out: &mut [u8]) {
    for (values, block) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<18>().0) {
        let vectors = load_block(values);
        let largest = _mm256_set1_ps(max(vectors.map(|vector| size(vector))));
        let [a, b, c, d] = vectors.map(|vector| {
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(size(vector), largest)).cast_unsigned()
        });
        let first = (a | b << 8 | c << 16 | d << 24).trailing_zeros() as usize;
        // Zeros of either sign count as plus zero.
        let scale = (values.get(first).copied().unwrap_or(0.0) + 0.0) / -8.0;
        let inverse = _mm256_set1_ps(inverse(scale));
        let levels = vectors.map(|vector| _mm256_add_ps(_mm256_mul_ps(vector, inverse), _mm256_set1_ps(8.5)));
        let (half, packed) = block.split_at_mut(2);
        half.copy_from_slice(&to_half(scale));
        if let Some(packed) = packed.first_chunk_mut() {
            store(packed, pack_nibbles(levels));
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode_q4_1(values: &[f32], out: &mut [u8]) {
    let sign = _mm256_set1_ps(-0.0);
    for (values, block) in values.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<20>().0) {
        let vectors = load_block(values);
        let (low, high) = (-max(vectors.map(|vector| _mm256_xor_ps(vector, sign))), max(vectors));
        // Of zeros of both signs the first counts.
        let zero = if low == 0.0 { values.iter().copied().find(|value| *value == 0.0) } else { None };
        let offset = zero.unwrap_or(low);
        let scale = if high > low { (high - low) / 15.0 } else { 0.0 };
        let (inverse, shift) = (_mm256_set1_ps(inverse(scale)), _mm256_set1_ps(offset));
        let levels = vectors.map(|vector| {
            _mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(vector, shift), inverse), _mm256_set1_ps(0.5))
        });
        let (halves, packed) = block.split_at_mut(4);
        halves[..2].copy_from_slice(&to_half(scale));
        halves[2..].copy_from_slice(&to_half(offset));
        if let Some(packed) = packed.first_chunk_mut() {
            store(packed, pack_nibbles(levels));
        }
    }
}

/// [`explained`](super::super::encode::search::explained) for eight blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn explained(values: &[Lane; 32], weights: &[Lane; 32], half: i32, inverse: &Lane) -> (Lane, Lane) {
    let inverse = load_floats(inverse);
    let (lowest, highest) = (_mm256_set1_epi32(-half), _mm256_set1_epi32(half - 1));
    let (mut sum_lx, mut sum_l2) = (_mm256_set1_ps(0.0), _mm256_set1_ps(0.0));
    for (x, w) in values.iter().zip(weights) {
        let (x, w) = (load_floats(x), load_floats(w));
        // The nearest whole number, ties to even, ends up in the low bits.
        let shifted = _mm256_add_ps(_mm256_mul_ps(inverse, x), _mm256_set1_ps(12_582_912.0));
        let bits = _mm256_and_si256(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x007f_ffff));
        let nearest = _mm256_sub_epi32(bits, _mm256_set1_epi32(0x0040_0000));
        let level = _mm256_cvtepi32_ps(_mm256_max_epi32(_mm256_min_epi32(nearest, highest), lowest));
        sum_lx = _mm256_add_ps(sum_lx, _mm256_mul_ps(_mm256_mul_ps(w, x), level));
        sum_l2 = _mm256_add_ps(sum_l2, _mm256_mul_ps(_mm256_mul_ps(w, level), level));
    }
    let (mut lx, mut l2) = ([0.0; 8], [0.0; 8]);
    store_floats(&mut lx, sum_lx);
    store_floats(&mut l2, sum_l2);
    (lx, l2)
}

/// A row with its importances.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode_q4_0_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    let explain = |x: &_, w: &_, half, inverse: &_| explained(x, w, half, inverse);
    legacy::q4_0_weighted_with(row, imatrix, out, explain);
}

/// A row with its importances.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn encode_q5_0_weighted(row: &[f32], imatrix: &[f32], out: &mut [u8]) {
    let explain = |x: &_, w: &_, half, inverse: &_| explained(x, w, half, inverse);
    legacy::q5_0_weighted_with(row, imatrix, out, explain);
}
