//! The dot products of VNNI in AVX2's vectors: AVX-VNNI's instructions, or those of AVX-512 where only it is there.

#![allow(clippy::wildcard_imports, reason = "the names of the instructions are long and many")]

/// Makes a module of kernels with `$features`, whose dot product is `$products`.
macro_rules! vnni_256 {
    ($(#[$meta:meta])* $name:ident, $features:literal, $products:ident) => {
        $(#[$meta])*
        pub(in crate::simd) mod $name {
            use std::arch::x86_64::*;

            use super::super::avx2::*;
            use super::super::kernels::kernels;
            use crate::packed::{
                Bits, FloatForm, FloatName, Floats as FloatWeights, Form, Half, Line, Quants, SUPER, Scales, TILE,
            };
            use crate::pool::Window;
            use crate::quantized::{Entry, GROUP, Quantized};
            use crate::singles;

            pub(in crate::simd) use super::super::avx2::{page_scores, page_values};

            kernels!(#[target_feature(enable = $features)]);

            /// Digits of eight bits stay without a sign: these instructions add up in 32 bits.
            #[inline]
            #[target_feature(enable = $features)]
            fn prepare<F: Form>(digits: Ints) -> Ints {
                digits
            }

            /// The sum to begin with: what the digits' offset adds to it, its sign turned.
            #[inline]
            #[target_feature(enable = $features)]
            fn start<F: Form>(less: i32) -> Ints {
                match F::OFFSET {
                    Some(power) => _mm256_sll_epi32(_mm256_set1_epi32(less), _mm_cvtsi32_si128(power as i32)),
                    None => _mm256_setzero_si256(),
                }
            }

            /// The products of vectors `FROM` to `TO` of a block with the wholes that belong to them, and `sum`.
            #[inline]
            #[target_feature(enable = $features)]
            fn dot<F: Form, const FROM: usize, const TO: usize>(
                digits: &[Ints; 8],
                wholes: &[i32; 8],
                sum: Ints,
            ) -> Ints {
                let mut sum = sum;
                for j in FROM..TO {
                    sum = $products(sum, digits[j], _mm256_set1_epi32(wholes[j]));
                }
                sum
            }
        }
    };
}

vnni_256! {
    /// With AVX-VNNI.
    of_avx, "avx2,fma,f16c,avxvnni", _mm256_dpbusd_avx_epi32
}

vnni_256! {
    /// With AVX-512 VL and VNNI.
    of_avx512, "avx2,fma,f16c,avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32
}
