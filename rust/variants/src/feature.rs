//! The instruction set extensions that ggml's CPU modules are built for.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::platform::Architecture;

/// One instruction set extension, displayed by ggml's name for it.
///
/// The names are those of `ggml_add_cpu_backend_variant` in `ggml/src/CMakeLists.txt`.
///
/// ```
/// assert_eq!(tabagent_variants::CpuFeature::Avx512Bf16.to_string(), "AVX512_BF16");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuFeature {
    /// SSE 4.2.
    Sse42,
    /// 256-bit floating point vectors.
    Avx,
    /// Conversion between 16-bit and 32-bit floats.
    F16c,
    /// Fused multiply-add on vectors.
    Fma,
    /// 256-bit integer vectors.
    Avx2,
    /// Bit manipulation, second set.
    Bmi2,
    /// Dot products of bytes on 256-bit vectors.
    AvxVnni,
    /// What ggml calls AVX512: the five extensions F, CD, VL, DQ and BW together.
    Avx512,
    /// Byte permutations on 512-bit vectors.
    Avx512Vbmi,
    /// Dot products of bytes on 512-bit vectors.
    Avx512Vnni,
    /// Dot products of bfloat16 on 512-bit vectors.
    Avx512Bf16,
    /// Tile registers of AMX.
    AmxTile,
    /// Products of byte tiles of AMX.
    AmxInt8,
    /// Dot products of bytes on ARM vectors (`FEAT_DotProd`, `asimddp`).
    Dotprod,
    /// Half precision arithmetic on ARM, scalar and vector (`FEAT_FP16`, `fphp` and `asimdhp`).
    Fp16VectorArithmetic,
    /// Scalable vectors of ARM.
    Sve,
    /// Products of byte matrices on ARM vectors (`FEAT_I8MM`).
    MatmulInt8,
    /// Scalable vectors of ARM, second version.
    Sve2,
    /// Scalable matrices of ARM.
    Sme,
}

impl CpuFeature {
    /// Every feature.
    pub const ALL: [Self; 19] = [
        Self::Sse42,
        Self::Avx,
        Self::F16c,
        Self::Fma,
        Self::Avx2,
        Self::Bmi2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vbmi,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::AmxTile,
        Self::AmxInt8,
        Self::Dotprod,
        Self::Fp16VectorArithmetic,
        Self::Sve,
        Self::MatmulInt8,
        Self::Sve2,
        Self::Sme,
    ];

    /// ggml's name for the feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse42 => "SSE42",
            Self::Avx => "AVX",
            Self::F16c => "F16C",
            Self::Fma => "FMA",
            Self::Avx2 => "AVX2",
            Self::Bmi2 => "BMI2",
            Self::AvxVnni => "AVX_VNNI",
            Self::Avx512 => "AVX512",
            Self::Avx512Vbmi => "AVX512_VBMI",
            Self::Avx512Vnni => "AVX512_VNNI",
            Self::Avx512Bf16 => "AVX512_BF16",
            Self::AmxTile => "AMX_TILE",
            Self::AmxInt8 => "AMX_INT8",
            Self::Dotprod => "DOTPROD",
            Self::Fp16VectorArithmetic => "FP16_VECTOR_ARITHMETIC",
            Self::Sve => "SVE",
            Self::MatmulInt8 => "MATMUL_INT8",
            Self::Sve2 => "SVE2",
            Self::Sme => "SME",
        }
    }

    /// The architecture that has the feature.
    pub fn architecture(self) -> Architecture {
        if self < Self::Dotprod { Architecture::X86_64 } else { Architecture::Aarch64 }
    }

    /// What a module built for this feature adds to ggml's score, or `None` where ggml neither checks nor counts it.
    ///
    /// Source: `ggml_backend_cpu_x86_score` in `ggml/src/ggml-cpu/arch/x86/cpu-feats.cpp` and
    /// `ggml_backend_cpu_aarch64_score` in `ggml/src/ggml-cpu/arch/arm/cpu-feats.cpp`. `AMX_TILE` is the one feature that
    /// modules are built for and nothing checks.
    pub fn ggml_weight(self) -> Option<u32> {
        Some(match self {
            Self::Fma => 1,
            Self::F16c | Self::Dotprod => 1 << 1,
            Self::Sse42 | Self::Fp16VectorArithmetic => 1 << 2,
            Self::Bmi2 | Self::Sve => 1 << 3,
            Self::Avx | Self::MatmulInt8 => 1 << 4,
            Self::Avx2 | Self::Sve2 => 1 << 5,
            Self::AvxVnni | Self::Sme => 1 << 6,
            Self::Avx512 => 1 << 7,
            Self::Avx512Vbmi => 1 << 8,
            Self::Avx512Bf16 => 1 << 9,
            Self::Avx512Vnni => 1 << 10,
            Self::AmxInt8 => 1 << 11,
            Self::AmxTile => return None,
        })
    }
}

impl fmt::Display for CpuFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for CpuFeature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
