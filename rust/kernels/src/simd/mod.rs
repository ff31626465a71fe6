//! The kernels with vector instructions, chosen when they run. Memory is read and written through slices; `unsafe` are the loads and stores, whose
//! lengths the types give, and the calls for which the processor must have the instructions.

#[cfg(all(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")), not(miri)))]
mod attention_kernels;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
#[cfg(all(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")), not(miri)))]
mod kernels;
#[cfg(all(target_arch = "aarch64", target_endian = "little", not(miri)))]
mod neon;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod vnni256;
mod widened;

use std::ops::Range;
use std::sync::LazyLock;

pub(crate) use widened::*;

use crate::kv_page::N_SLOTS;
use crate::packed::{Floats, Quants, for_float, for_form};
use crate::pool::Window;
use crate::quantized::Quantized;
use crate::singles::Singles;
use crate::{KernelError, plain};

/// A set of vector instructions that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What every processor of the architecture has.
    Plain,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX2, FMA and F16C, with AVX-VNNI or the same instructions of AVX-512.
    Vnni256,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
    /// NEON with the dot products of ARMv8.2.
    NeonDot,
}

impl Isa {
    /// The sets that this processor has, the fastest last.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: LazyLock<Vec<Isa>> = LazyLock::new(|| {
            let all = [Isa::Plain, Isa::NeonDot, Isa::Avx2, Isa::Vnni256, Isa::Avx512Vnni];
            all.into_iter().filter(|isa| isa.is_there()).collect()
        });
        &AVAILABLE
    }

    /// The fastest set that this processor has.
    pub fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::Plain)
    }

    /// An error if this processor lacks the instructions.
    pub(crate) fn check(self) -> Result<(), KernelError> {
        if Self::available().contains(&self) {
            return Ok(());
        }
        Err(KernelError::WrongValue {
            what: "the instructions of this processor",
            found: format!("{self:?}"),
        })
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn is_there(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match self {
            Self::Plain => true,
            Self::Avx2 => avx2,
            Self::Vnni256 => avx512 || (avx2 && is_x86_feature_detected!("avxvnni")),
            Self::Avx512Vnni => avx512,
            Self::NeonDot => false,
        }
    }

    #[cfg(all(target_arch = "aarch64", target_endian = "little", not(miri)))]
    fn is_there(self) -> bool {
        match self {
            Self::Plain => true,
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            Self::Avx2 | Self::Vnni256 | Self::Avx512Vnni => false,
        }
    }

    #[cfg(not(any(
        all(target_arch = "x86_64", not(miri)),
        all(target_arch = "aarch64", target_endian = "little", not(miri))
    )))]
    fn is_there(self) -> bool {
        self == Self::Plain
    }
}

/// Runs `$function` of the instructions' module, with a type or none.
macro_rules! dispatch {
    ($isa:expr, $function:ident $(::<$form:ident>)? ($($arg:expr),*)) => {{
        assert!(Isa::available().contains(&$isa), "the processor has the instructions");
        match $isa {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: the function is safe but for its instructions, and the line above has seen that the processor has them.
            Isa::Avx512Vnni => unsafe { avx512::$function$(::<$form>)?($($arg),*) },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: as above, and the guard has seen AVX-VNNI.
            Isa::Vnni256 if is_x86_feature_detected!("avxvnni") => unsafe {
                vnni256::of_avx::$function$(::<$form>)?($($arg),*)
            },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: as above; without AVX-VNNI it is AVX-512 that makes `Isa::Vnni256` available.
            Isa::Vnni256 => unsafe { vnni256::of_avx512::$function$(::<$form>)?($($arg),*) },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2::$function$(::<$form>)?($($arg),*) },
            #[cfg(all(target_arch = "aarch64", target_endian = "little", not(miri)))]
            // SAFETY: as above.
            Isa::NeonDot => unsafe { neon::$function$(::<$form>)?($($arg),*) },
            _ => plain::$function$(::<$form>)?($($arg),*),
        }
    }};
}

/// Multiplies the tiles of a window with the tokens of a window; it begins with whole tiles and groups.
pub(crate) fn quants(isa: Isa, weights: &Quants, input: &Quantized, window: &mut Window<'_, f32>) {
    for_form!(weights.form, F => dispatch!(isa, quants::<F>(weights, input, window)));
}

/// As [`quants`], for floats.
pub(crate) fn floats(isa: Isa, weights: &Floats, input: &Singles, window: &mut Window<'_, f32>) {
    for_float!(weights.form, F => dispatch!(isa, floats::<F>(weights, input, window)));
}

/// Products of queries with all keys of a page; `queries` has them in [`crate::attention::runs`], dimension after dimension.
pub(crate) fn page_scores(
    isa: Isa,
    queries: &[f32],
    k_dim: usize,
    keys: &[[u16; N_SLOTS]],
    scores: &mut [[f32; N_SLOTS]],
) {
    dispatch!(isa, page_scores(queries, k_dim, keys, scores));
}

/// Adds the values of the page's `slots` (rows of `v_dim`, a multiple of 16), weighted, to rows of results.
pub(crate) fn page_values(
    isa: Isa,
    weights: &[[f32; N_SLOTS]],
    slots: Range<usize>,
    values: &[u16],
    v_dim: usize,
    out: &mut [f32],
) {
    dispatch!(isa, page_values(weights, slots, values, v_dim, out));
}
