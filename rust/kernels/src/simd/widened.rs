//! Plain loops, compiled once for each set of vector instructions.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::Isa;
use crate::attention::online_softmax_inner;
use crate::elementwise::{inner, soft_cap_inner, softmax_inner};
use crate::kv_page::N_SLOTS;
use crate::norm::{layer_norm_inner, rms_norm_inner};
use crate::quantized::{Entry, quantize_group as quantize_group_inner};

/// Makes a function that the compiler may use AVX2 or AVX-512 in, around `$inner`, which is inlined into each copy.
macro_rules! widened {
    ($(#[$meta:meta])* $name:ident, $inner:path, ($($arg:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[$meta])*
        pub(crate) fn $name($($arg: $type),*) $(-> $result)? {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    $inner($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    $inner($($arg),*)
                }
                match Isa::best() {
                    // SAFETY: the function is safe but for its instructions, which `Isa::best` has found.
                    Isa::Avx512Vnni => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 | Isa::Vnni256 => return unsafe { avx2($($arg),*) },
                    Isa::Plain | Isa::NeonDot => {}
                }
            }
            $inner($($arg),*)
        }
    };
}

widened! {
    /// [`quantize_group_inner`].
    quantize_group, quantize_group_inner, (values: &[f32], n_cols: usize, entries: &mut [Entry])
}

widened! {
    /// [`rms_norm_inner`].
    rms_norm, rms_norm_inner, (values: &mut [f32], n_cols: usize, weight: Option<&[f32]>, eps: f32)
}

widened! {
    /// [`layer_norm_inner`].
    layer_norm, layer_norm_inner,
    (values: &mut [f32], n_cols: usize, weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f32)
}

widened! {
    /// [`soft_cap_inner`].
    soft_cap, soft_cap_inner, (values: &mut [f32], cap: f32)
}

widened! {
    /// [`softmax_inner`].
    softmax, softmax_inner, (row: &mut [f32])
}

widened! {
    /// [`online_softmax_inner`].
    online_softmax, online_softmax_inner,
    (scores: &mut [[f32; N_SLOTS]], maxima: &mut [f32], sums: &mut [f32], values: &mut [f32])
}

/// The activation functions and their gates.
macro_rules! functions {
    ($($name:ident, $gate:ident;)+) => {$(
        widened! {
            /// The function over a slice.
            $name, inner::$name, (values: &mut [f32])
        }

        widened! {
            /// The function of one slice times the other.
            $gate, inner::$gate, (gate: &mut [f32], up: &[f32])
        }
    )+};
}

functions! {
    silu, silu_mul;
    gelu, gelu_mul;
    gelu_quick, gelu_quick_mul;
    gelu_erf, gelu_erf_mul;
    relu, relu_mul;
    relu_squared, relu_squared_mul;
}
