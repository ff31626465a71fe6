//! AVX-512 with VNNI: the 16 rows of a tile in one vector.

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

type Ints = __m512i;
type Floats = __m512;

/// Vectors in which the rows of a tile lie.
const PARTS: usize = 1;
/// Tokens for which a block's digits stay in registers.
const MOST: usize = 8;

/// Numbers in a vector.
const WIDTH: usize = 16;
/// Vectors of a page's tokens that meet queries at once.
const SLOTS: usize = 2;

kernels!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);
attention_kernels!(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]);

/// Makes a function with this module's instructions.
macro_rules! with_features {
    ($($(#[$meta:meta])* fn $name:ident $(<$generic:ident: $bound:ident>)? ($($arg:tt)*) -> $result:ty $body:block)+) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn $name $(<$generic: $bound>)? ($($arg)*) -> $result $body
    )+};
}

with_features! {
    fn line(line: &Line, _part: usize) -> Ints {
        // SAFETY: a `Line` is 64 bytes that may be read, aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    /// The 16 bytes of a side.
    fn side(half: &Half, side: usize) -> __m128i {
        let bytes = &half.0.as_chunks::<16>().0[side];
        // SAFETY: 16 bytes that may be read; this load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    fn sixteen(half: &Half) -> __m256i {
        // SAFETY: a `Half` is 32 bytes that may be read, aligned to 32.
        unsafe { _mm256_load_si256(half.0.as_ptr().cast()) }
    }

    fn half(half: &Half, _part: usize) -> Floats {
        _mm512_cvtph_ps(sixteen(half))
    }

    fn bytes(half: &Half, at: usize, _part: usize) -> Floats {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(side(half, at)))
    }

    fn signed_bytes(half: &Half, at: usize, _part: usize) -> Floats {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(side(half, at)))
    }

    fn low_nibbles(half: &Half, at: usize, _part: usize) -> Floats {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(side(half, at), _mm_set1_epi8(15))))
    }

    fn high_nibbles(half: &Half, at: usize, _part: usize) -> Floats {
        let high = _mm_and_si128(_mm_srli_epi16::<4>(side(half, at)), _mm_set1_epi8(15));
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(high))
    }

    fn exponents(half: &Half, at: usize, _part: usize) -> Floats {
        let less = _mm_subs_epu8(side(half, at), _mm_set1_epi8(1));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_cvtepu8_epi32(less)))
    }

    fn singles(line: &Line, _part: usize) -> Floats {
        // SAFETY: a `Line` is 64 bytes that may be read, aligned to 64.
        unsafe { _mm512_load_ps(line.0.as_ptr().cast()) }
    }

    /// A column of a line that has two.
    fn column_bits(line: &Line, col: usize) -> __m256i {
        let bytes = &line.0.as_chunks::<32>().0[col];
        // SAFETY: 32 bytes that may be read; this load asks for no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    fn halves(line: &Line, col: usize, _part: usize) -> Floats {
        _mm512_cvtph_ps(column_bits(line, col))
    }

    fn brains(line: &Line, col: usize, _part: usize) -> Floats {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(column_bits(line, col))))
    }

    fn bits(ints: Ints, from: usize, mask: u8) -> Ints {
        let moved = _mm512_srl_epi16(ints, _mm_cvtsi32_si128(from as i32));
        _mm512_and_si512(moved, _mm512_set1_epi8(mask.cast_signed()))
    }

    fn bits_up(ints: Ints, to: usize, mask: u8) -> Ints {
        let moved = _mm512_sll_epi16(ints, _mm_cvtsi32_si128(to as i32));
        _mm512_and_si512(moved, _mm512_set1_epi8(mask.cast_signed()))
    }

    fn or(a: Ints, b: Ints) -> Ints {
        _mm512_or_si512(a, b)
    }

    fn look_up(table: &[u8; 16], digits: Ints) -> Ints {
        // SAFETY: 16 bytes that may be read; this load asks for no alignment.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), digits)
    }

    fn prepare<F: Form>(digits: Ints) -> Ints {
        digits
    }

    /// The sum to begin with: what the digits' offset adds to it, its sign turned.
    fn start<F: Form>(less: i32) -> Ints {
        match F::OFFSET {
            Some(power) => _mm512_sll_epi32(_mm512_set1_epi32(less), _mm_cvtsi32_si128(power as i32)),
            None => _mm512_setzero_si512(),
        }
    }

    fn load_halves(halves: &[u16; WIDTH]) -> Floats {
        // SAFETY: 32 bytes that may be read; this load asks for no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) })
    }

    fn load_floats(floats: &[f32; WIDTH]) -> Floats {
        // SAFETY: 64 bytes that may be read; this load asks for no alignment.
        unsafe { _mm512_loadu_ps(floats.as_ptr()) }
    }

    fn store_floats(floats: Floats, to: &mut [f32; WIDTH]) -> () {
        // SAFETY: 64 bytes that may be written; this store asks for no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), floats) };
    }

    fn to_floats(ints: Ints) -> Floats {
        _mm512_cvtepi32_ps(ints)
    }

    fn splat(x: f32) -> Floats {
        _mm512_set1_ps(x)
    }

    fn add(a: Floats, b: Floats) -> Floats {
        _mm512_add_ps(a, b)
    }

    fn sub(a: Floats, b: Floats) -> Floats {
        _mm512_sub_ps(a, b)
    }

    fn mul(a: Floats, b: Floats) -> Floats {
        _mm512_mul_ps(a, b)
    }

    fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        _mm512_fmadd_ps(a, b, c)
    }
}

/// The products of vectors `FROM` to `TO` of a block with the wholes that belong to them, and `sum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn dot<F: Form, const FROM: usize, const TO: usize>(
    digits: &[Ints; 8],
    wholes: &[i32; 8],
    sum: Ints,
) -> Ints {
    let mut sum = sum;
    for j in FROM..TO {
        sum = _mm512_dpbusd_epi32(sum, digits[j], _mm512_set1_epi32(wholes[j]));
    }
    sum
}

/// Stores the results of a tile, as many of them as `out` has room for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn store(results: [Floats; PARTS], out: &mut [f32]) {
    let mask = if out.len() < TILE { (1u16 << out.len()) - 1 } else { u16::MAX };
    // SAFETY: the mask lets no more numbers be written than `out` has.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, results[0]) };
}
