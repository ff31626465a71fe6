//! The CPU modules that ggml can be built into, what each needs, and how ggml scores them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::feature::CpuFeature::{
    self, AmxInt8, AmxTile, Avx, Avx2, Avx512, Avx512Bf16, Avx512Vbmi, Avx512Vnni, AvxVnni, Bmi2, Dotprod,
    F16c, Fma, Fp16VectorArithmetic, MatmulInt8, Sme, Sse42, Sve, Sve2,
};
use crate::platform::Architecture;

/// One CPU module of ggml: `libggml-cpu-haswell.so` is the module `haswell`.
///
/// ```
/// let haswell = tabagent_variants::CpuModule::named("haswell").unwrap();
/// assert_eq!(haswell.full_score(), 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuModule {
    /// The name, as in the file name.
    pub name: &'static str,
    /// The architecture it is built for.
    pub architecture: Architecture,
    /// The features it is compiled for: it may execute any of their instructions.
    pub needs: &'static [CpuFeature],
}

/// Every module of `GGML_CPU_ALL_VARIANTS` for x86-64 (GCC and Clang), for aarch64 on Linux and for macOS, in build order.
///
/// Source: the `ggml_add_cpu_backend_variant` calls of `ggml/src/CMakeLists.txt` at ggml 0.25.3. MSVC builds leave out
/// `ivybridge`, `piledriver`, `cooperlake`, `zen4` and `sapphirerapids`, and their modules check and count less (`/arch:AVX2` stands
/// for AVX, FMA and F16C), so that scores differ there while the needs are the same.
pub const CPU_MODULES: [CpuModule; 25] = [
    x86("x64", &[]),
    x86("sse42", &[Sse42]),
    x86("sandybridge", &[Sse42, Avx]),
    x86("ivybridge", &[Sse42, Avx, F16c]),
    x86("piledriver", &[Sse42, Avx, F16c, Fma]),
    x86("haswell", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2]),
    x86("skylakex", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512]),
    x86("cannonlake", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vbmi]),
    x86("cascadelake", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vnni]),
    x86("icelake", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vbmi, Avx512Vnni]),
    x86("cooperlake", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vnni, Avx512Bf16]),
    x86("zen4", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16]),
    x86("alderlake", &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, AvxVnni]),
    x86(
        "sapphirerapids",
        &[Sse42, Avx, F16c, Fma, Avx2, Bmi2, Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16, AmxTile, AmxInt8],
    ),
    arm("armv8.0_1", &[]),
    arm("armv8.2_1", &[Dotprod]),
    arm("armv8.2_2", &[Dotprod, Fp16VectorArithmetic]),
    arm("armv8.2_3", &[Dotprod, Fp16VectorArithmetic, Sve]),
    arm("armv8.6_1", &[Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8]),
    arm("armv8.6_2", &[Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8, Sve2]),
    arm("armv9.2_1", &[Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8, Sme]),
    arm("armv9.2_2", &[Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8, Sve2, Sme]),
    arm("apple_m1", &[Dotprod]),
    arm("apple_m2_m3", &[Dotprod, MatmulInt8]),
    arm("apple_m4", &[Dotprod, MatmulInt8, Sme]),
];

const fn x86(name: &'static str, needs: &'static [CpuFeature]) -> CpuModule {
    CpuModule { name, architecture: Architecture::X86_64, needs }
}

const fn arm(name: &'static str, needs: &'static [CpuFeature]) -> CpuModule {
    CpuModule { name, architecture: Architecture::Aarch64, needs }
}

impl CpuModule {
    /// The module of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        static MODULES: [CpuModule; 25] = CPU_MODULES;
        MODULES.iter().find(|module| module.name == name)
    }

    /// The needed features that are not among those available.
    pub fn missing(&self, available: &BTreeSet<CpuFeature>) -> Vec<CpuFeature> {
        self.needs.iter().copied().filter(|feature| !available.contains(feature)).collect()
    }

    /// The score ggml gives the module on a processor with everything that it checks.
    pub fn full_score(&self) -> u32 {
        1 + self.needs.iter().filter_map(|feature| feature.ggml_weight()).sum::<u32>()
    }

    /// The score ggml gives the module on a processor that reports these features: 0 if a checked one is missing.
    ///
    /// This is ggml's own rule (`ggml_backend_cpu_x86_score`, `ggml_backend_cpu_aarch64_score`), with its two gaps: `AMX_TILE`
    /// is not checked, and on x86-64 the support of the operating system is not. What may really run is decided by
    /// [`Self::missing`] on [`CpuFacts::features`](crate::CpuFacts::features).
    pub fn ggml_score(&self, reported: &BTreeSet<CpuFeature>) -> u32 {
        let checked = |feature: &&CpuFeature| feature.ggml_weight().is_some();
        if self.needs.iter().filter(checked).all(|feature| reported.contains(feature)) {
            self.full_score()
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_ggml_reports() {
        // As `ggml_backend_score()` of the built modules returns them on a processor that has everything they check.
        for (name, score) in [
            ("x64", 1),
            ("sse42", 5),
            ("sandybridge", 21),
            ("ivybridge", 23),
            ("piledriver", 24),
            ("haswell", 64),
            ("alderlake", 128),
            ("skylakex", 192),
            ("cannonlake", 448),
            ("cascadelake", 1216),
            ("icelake", 1472),
            ("cooperlake", 1728),
            ("zen4", 1984),
            ("sapphirerapids", 4032),
            ("armv8.0_1", 1),
            ("armv8.2_3", 15),
            ("armv9.2_2", 127),
        ] {
            assert_eq!(CpuModule::named(name).map(CpuModule::full_score), Some(score), "{name}");
        }
    }

    #[test]
    fn no_two_modules_of_one_system_share_a_score() {
        for (architecture, apple) in
            [(Architecture::X86_64, false), (Architecture::Aarch64, false), (Architecture::Aarch64, true)]
        {
            let modules = CPU_MODULES
                .iter()
                .filter(|m| m.architecture == architecture && m.name.starts_with("apple") == apple);
            let scores: Vec<u32> = modules.map(CpuModule::full_score).collect();
            assert_eq!(scores.iter().collect::<BTreeSet<_>>().len(), scores.len(), "{scores:?}");
        }
    }

    #[test]
    fn needs_belong_to_the_module_architecture() {
        for module in &CPU_MODULES {
            assert!(module.needs.iter().all(|feature| feature.architecture() == module.architecture));
        }
    }

    #[test]
    fn ggml_overlooks_missing_tiles_and_we_do_not() {
        let module = CpuModule::named("sapphirerapids").unwrap();
        let without_tiles = module.needs.iter().copied().filter(|f| *f != AmxTile).collect();
        assert_eq!(module.ggml_score(&without_tiles), 4032);
        assert_eq!(module.missing(&without_tiles), [AmxTile]);
    }
}
