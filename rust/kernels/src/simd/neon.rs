//! NEON with the dot products of ARMv8.2: the rows of a tile in four vectors of four.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

use std::arch::aarch64::*;
use std::arch::asm;
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

type Ints = uint8x16_t;
type Floats = float32x4_t;

/// Vectors in which the rows of a tile lie.
const PARTS: usize = 4;
/// Tokens for which a block's digits stay in registers.
const MOST: usize = 8;
/// Numbers in a vector.
const WIDTH: usize = 4;
/// Vectors of a page's tokens that meet queries at once.
const SLOTS: usize = 2;

kernels!(#[target_feature(enable = "neon,dotprod")]);
attention_kernels!(#[target_feature(enable = "neon,dotprod")]);

/// Makes functions with this module's instructions.
macro_rules! with_features {
    ($($(#[$meta:meta])* fn $name:ident $(<$generic:ident: $bound:ident>)? ($($arg:tt)*) -> $result:ty $body:block)+) => {$(
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = "neon,dotprod")]
        fn $name $(<$generic: $bound>)? ($($arg)*) -> $result $body
    )+};
}

with_features! {
    fn sixteen(bytes: &[u8; 16]) -> uint8x16_t {
        // SAFETY: 16 bytes that may be read; this load asks for no alignment.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    }

    /// Bytes `16 * part` and further.
    fn line(line: &Line, part: usize) -> Ints {
        sixteen(&line.0.as_chunks::<16>().0[part])
    }

    /// The bytes of a side that belong to the rows of a part, each as a number of 32 bits.
    fn four(half: &Half, side: usize, part: usize) -> uint32x4_t {
        let bytes = u32::from_le_bytes(half.0.as_chunks::<4>().0[4 * side + part]);
        let bytes = vcreate_u8(u64::from(bytes));
        vmovl_u16(vget_low_u16(vmovl_u8(bytes)))
    }

    /// Four halves as floats. The instruction is part of ARMv8.0; Rust's function for it asks for a type that is not stable.
    fn widen(halves: uint16x4_t) -> Floats {
        let floats: float32x4_t;
        // SAFETY: it converts a register, and touches neither memory nor flags.
        unsafe {
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) floats, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
        }
        floats
    }

    fn half_bits(bytes: [u8; 8]) -> uint16x4_t {
        vcreate_u16(u64::from_le_bytes(bytes))
    }

    fn half(half: &Half, part: usize) -> Floats {
        widen(half_bits(half.0.as_chunks::<8>().0[part]))
    }

    fn bytes(half: &Half, side: usize, part: usize) -> Floats {
        vcvtq_f32_u32(four(half, side, part))
    }

    fn signed_bytes(half: &Half, side: usize, part: usize) -> Floats {
        let moved = vshlq_n_s32::<24>(vreinterpretq_s32_u32(four(half, side, part)));
        vcvtq_f32_s32(vshrq_n_s32::<24>(moved))
    }

    fn low_nibbles(half: &Half, side: usize, part: usize) -> Floats {
        vcvtq_f32_u32(vandq_u32(four(half, side, part), vdupq_n_u32(15)))
    }

    fn high_nibbles(half: &Half, side: usize, part: usize) -> Floats {
        vcvtq_f32_u32(vshrq_n_u32::<4>(four(half, side, part)))
    }

    fn exponents(half: &Half, side: usize, part: usize) -> Floats {
        let less = vqsubq_u32(four(half, side, part), vdupq_n_u32(1));
        vreinterpretq_f32_u32(vshlq_n_u32::<23>(less))
    }

    fn singles(weights: &Line, part: usize) -> Floats {
        vreinterpretq_f32_u8(line(weights, part))
    }

    fn halves(line: &Line, col: usize, part: usize) -> Floats {
        widen(half_bits(line.0.as_chunks::<8>().0[4 * col + part]))
    }

    fn brains(line: &Line, col: usize, part: usize) -> Floats {
        let bits = half_bits(line.0.as_chunks::<8>().0[4 * col + part]);
        vreinterpretq_f32_u32(vshll_n_u16::<16>(bits))
    }

    fn bits(ints: Ints, from: usize, mask: u8) -> Ints {
        vandq_u8(vshlq_u8(ints, vdupq_n_s8(-(from as i8))), vdupq_n_u8(mask))
    }

    fn bits_up(ints: Ints, to: usize, mask: u8) -> Ints {
        vandq_u8(vshlq_u8(ints, vdupq_n_s8(to as i8)), vdupq_n_u8(mask))
    }

    fn or(a: Ints, b: Ints) -> Ints {
        vorrq_u8(a, b)
    }

    fn look_up(table: &[u8; 16], digits: Ints) -> Ints {
        vqtbl1q_u8(sixteen(table), digits)
    }

    /// Digits of eight bits get their sign here: both factors of the dot product have one.
    fn prepare<F: Form>(digits: Ints) -> Ints {
        if F::MAX == 255 { veorq_u8(digits, vdupq_n_u8(128)) } else { digits }
    }

    /// The sum to begin with: what the digits' offset adds to it, its sign turned.
    fn start<F: Form>(less: i32) -> int32x4_t {
        match F::OFFSET {
            Some(power) if F::MAX < 255 => vdupq_n_s32(less << power),
            _ => vdupq_n_s32(0),
        }
    }

    /// Adds to each lane of `sum` the products of its four bytes. Rust's function for it is not stable.
    fn add_products(sum: int32x4_t, digits: Ints, wholes: int32x4_t) -> int32x4_t {
        let mut sum = sum;
        // SAFETY: it computes with registers, and touches neither memory nor flags; the function's features have the instruction.
        unsafe {
            asm!(
                "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sum, in(vreg) digits, in(vreg) wholes,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    fn load_halves(halves: &[u16; WIDTH]) -> Floats {
        // SAFETY: 8 bytes that may be read; this load asks for no more than the type's alignment.
        widen(unsafe { vld1_u16(halves.as_ptr()) })
    }

    fn load_floats(floats: &[f32; WIDTH]) -> Floats {
        // SAFETY: 16 bytes that may be read; this load asks for no more than the type's alignment.
        unsafe { vld1q_f32(floats.as_ptr()) }
    }

    fn store_floats(floats: Floats, to: &mut [f32; WIDTH]) -> () {
        // SAFETY: 16 bytes that may be written; this store asks for no more than the type's alignment.
        unsafe { vst1q_f32(to.as_mut_ptr(), floats) };
    }

    fn to_floats(ints: int32x4_t) -> Floats {
        vcvtq_f32_s32(ints)
    }

    fn splat(x: f32) -> Floats {
        vdupq_n_f32(x)
    }

    fn add(a: Floats, b: Floats) -> Floats {
        vaddq_f32(a, b)
    }

    fn sub(a: Floats, b: Floats) -> Floats {
        vsubq_f32(a, b)
    }

    fn mul(a: Floats, b: Floats) -> Floats {
        vmulq_f32(a, b)
    }

    fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        vfmaq_f32(c, a, b)
    }
}

/// The products of vectors `FROM` to `TO` of a block with the wholes that belong to them, and `sum`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<F: Form, const FROM: usize, const TO: usize>(
    digits: &[Ints; 8],
    wholes: &[i32; 8],
    sum: int32x4_t,
) -> int32x4_t {
    let mut sum = sum;
    for j in FROM..TO {
        sum = add_products(sum, digits[j], vdupq_n_s32(wholes[j]));
    }
    sum
}

/// Stores the results of a tile, as many of them as `out` has room for.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn store(results: [Floats; PARTS], out: &mut [f32]) {
    let mut all = [0.0f32; TILE];
    for (four, result) in all.as_chunks_mut::<WIDTH>().0.iter_mut().zip(results) {
        store_floats(result, four);
    }
    let n = out.len().min(TILE);
    out[..n].copy_from_slice(&all[..n]);
}
