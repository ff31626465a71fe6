//! AVX2: the rows of a tile in two vectors of eight.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::x86_64::*;
use std::ops::Range;

use super::attention_kernels::attention_kernels;
use super::kernels::kernels;
use crate::attention::runs;
use crate::kv_page::N_SLOTS;
use crate::packed::{
    Bits, FloatForm, FloatName, Floats as FloatWeights, Form, Half, Line, Quants, SUPER, Scales, TILE,
};
use crate::pool::Window;
use crate::quantized::{Entry, GROUP, Quantized};
use crate::singles;

pub(super) type Ints = __m256i;
pub(super) type Floats = __m256;

/// Vectors in which the rows of a tile lie.
pub(super) const PARTS: usize = 2;
/// Tokens for which a block's digits stay in registers.
pub(super) const MOST: usize = 4;

/// Numbers in a vector.
const WIDTH: usize = 8;
/// Vectors of a page's tokens that meet queries at once.
const SLOTS: usize = 1;

kernels!(#[target_feature(enable = "avx2,fma,f16c")]);
attention_kernels!(#[target_feature(enable = "avx2,fma,f16c")]);

/// Makes functions with this module's instructions.
macro_rules! with_features {
    ($($(#[$meta:meta])* fn $name:ident $(<$generic:ident: $bound:ident>)? ($($arg:tt)*) -> $result:ty $body:block)+) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        pub(super) fn $name $(<$generic: $bound>)? ($($arg)*) -> $result $body
    )+};
}

with_features! {
    /// Bytes `32 * part` and further.
    fn line(line: &Line, part: usize) -> Ints {
        let bytes = &line.0.as_chunks::<32>().0[part];
        // SAFETY: 32 bytes that may be read; this load asks for no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    /// 16 bytes.
    fn sixteen(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: 16 bytes that may be read; this load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    /// The 8 bytes of a side that belong to the rows of a part.
    fn eight(half: &Half, side: usize, part: usize) -> __m128i {
        let bytes = half.0.as_chunks::<8>().0[2 * side + part];
        _mm_cvtsi64_si128(i64::from_le_bytes(bytes))
    }

    fn half(half: &Half, part: usize) -> Floats {
        _mm256_cvtph_ps(sixteen(&half.0.as_chunks::<16>().0[part]))
    }

    fn bytes(half: &Half, side: usize, part: usize) -> Floats {
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight(half, side, part)))
    }

    fn signed_bytes(half: &Half, side: usize, part: usize) -> Floats {
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight(half, side, part)))
    }

    fn low_nibbles(half: &Half, side: usize, part: usize) -> Floats {
        let low = _mm_and_si128(eight(half, side, part), _mm_set1_epi8(15));
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low))
    }

    fn high_nibbles(half: &Half, side: usize, part: usize) -> Floats {
        let high = _mm_and_si128(_mm_srli_epi16::<4>(eight(half, side, part)), _mm_set1_epi8(15));
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high))
    }

    fn exponents(half: &Half, side: usize, part: usize) -> Floats {
        let less = _mm_subs_epu8(eight(half, side, part), _mm_set1_epi8(1));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_cvtepu8_epi32(less)))
    }

    fn singles(weights: &Line, part: usize) -> Floats {
        _mm256_castsi256_ps(line(weights, part))
    }

    fn halves(line: &Line, col: usize, part: usize) -> Floats {
        _mm256_cvtph_ps(sixteen(&line.0.as_chunks::<16>().0[2 * col + part]))
    }

    fn brains(line: &Line, col: usize, part: usize) -> Floats {
        let bits = _mm256_cvtepu16_epi32(sixteen(&line.0.as_chunks::<16>().0[2 * col + part]));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }

    fn bits(ints: Ints, from: usize, mask: u8) -> Ints {
        let moved = _mm256_srl_epi16(ints, _mm_cvtsi32_si128(from as i32));
        _mm256_and_si256(moved, _mm256_set1_epi8(mask.cast_signed()))
    }

    fn bits_up(ints: Ints, to: usize, mask: u8) -> Ints {
        let moved = _mm256_sll_epi16(ints, _mm_cvtsi32_si128(to as i32));
        _mm256_and_si256(moved, _mm256_set1_epi8(mask.cast_signed()))
    }

    fn or(a: Ints, b: Ints) -> Ints {
        _mm256_or_si256(a, b)
    }

    fn look_up(table: &[u8; 16], digits: Ints) -> Ints {
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen(table)), digits)
    }

    /// Digits of eight bits get their sign here: products of such pairs overflow 16 bits without.
    fn prepare<F: Form>(digits: Ints) -> Ints {
        if F::MAX == 255 { _mm256_xor_si256(digits, _mm256_set1_epi8(-128)) } else { digits }
    }

    /// The sum to begin with: what the digits' offset adds to it, its sign turned.
    fn start<F: Form>(less: i32) -> Ints {
        match F::OFFSET {
            Some(power) if F::MAX < 255 => {
                _mm256_sll_epi32(_mm256_set1_epi32(less), _mm_cvtsi32_si128(power as i32))
            }
            _ => _mm256_setzero_si256(),
        }
    }

    fn load_halves(halves: &[u16; WIDTH]) -> Floats {
        // SAFETY: 16 bytes that may be read; this load asks for no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
    }

    fn load_floats(floats: &[f32; WIDTH]) -> Floats {
        // SAFETY: 32 bytes that may be read; this load asks for no alignment.
        unsafe { _mm256_loadu_ps(floats.as_ptr()) }
    }

    fn store_floats(floats: Floats, to: &mut [f32; WIDTH]) -> () {
        // SAFETY: 32 bytes that may be written; this store asks for no alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), floats) };
    }

    fn to_floats(ints: Ints) -> Floats {
        _mm256_cvtepi32_ps(ints)
    }

    fn splat(x: f32) -> Floats {
        _mm256_set1_ps(x)
    }

    fn add(a: Floats, b: Floats) -> Floats {
        _mm256_add_ps(a, b)
    }

    fn sub(a: Floats, b: Floats) -> Floats {
        _mm256_sub_ps(a, b)
    }

    fn mul(a: Floats, b: Floats) -> Floats {
        _mm256_mul_ps(a, b)
    }

    fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        _mm256_fmadd_ps(a, b, c)
    }
}

/// The products of vectors `FROM` to `TO` of a block with the wholes that belong to them, and `sum`.
///
/// `maddubs` adds two products in 16 bits. As many such sums are added as 16 bits hold for the form's largest digit and wholes of 127.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<F: Form, const FROM: usize, const TO: usize>(
    digits: &[Ints; 8],
    wholes: &[i32; 8],
    sum: Ints,
) -> Ints {
    let ones = _mm256_set1_epi16(1);
    let mut sum = sum;
    if F::MAX == 255 {
        for j in FROM..TO {
            let turned = _mm256_sign_epi8(_mm256_set1_epi32(wholes[j]), digits[j]);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(digits[j]), turned);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        return sum;
    }
    let n_fit = (32767 / (2 * 127 * F::MAX)) as usize;
    let mut pairs = _mm256_setzero_si256();
    for j in FROM..TO {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(digits[j], _mm256_set1_epi32(wholes[j])));
        if (j + 1 - FROM).is_multiple_of(n_fit) || j + 1 == TO {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
            pairs = _mm256_setzero_si256();
        }
    }
    sum
}

/// Stores the results of a tile, as many of them as `out` has room for.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store(results: [Floats; PARTS], out: &mut [f32]) {
    let mut all = [0.0f32; TILE];
    for (eight, result) in all.as_chunks_mut::<8>().0.iter_mut().zip(results) {
        // SAFETY: 32 bytes that may be written; this store asks for no alignment.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), result) };
    }
    let n = out.len().min(TILE);
    out[..n].copy_from_slice(&all[..n]);
}
