//! The variants of a `BitnetRelease` tree and what their names promise.

use serde::Serialize;

use crate::cpu::CpuFacts;
use crate::family::BuildFamily;
use crate::feature::CpuFeature;
use crate::module::CpuModule;

/// A processor design that a variant of the tree is compiled for.
///
/// ```
/// assert!(tabagent_variants::Microarchitecture::Zen3 < tabagent_variants::Microarchitecture::Zen4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the makers' own")]
pub enum Microarchitecture {
    Zen1,
    Zen2,
    Zen3,
    Zen4,
    Zen5,
    Haswell,
    Broadwell,
    Skylake,
    IceLake,
    RocketLake,
    AlderLake,
}

impl Microarchitecture {
    /// Whether AMD makes it; Intel makes the others.
    pub fn is_amd(self) -> bool {
        self <= Self::Zen5
    }

    /// The design of a processor by maker, family and model number, or `None` for one that no variant is named after.
    ///
    /// Numbers: `arch/x86/include/asm/intel-family.h` and `arch/x86/kernel/cpu/amd.c` of Linux. Successors with the same core
    /// count as that design (Kaby Lake, Comet Lake and the Xeons up to Cooper Lake as Skylake; Raptor Lake as Alder Lake).
    pub fn of(cpu: &CpuFacts) -> Option<Self> {
        match (cpu.vendor.as_str(), cpu.family?, cpu.model_number?) {
            ("AuthenticAMD", 0x17, 0x00..=0x2f) => Some(Self::Zen1),
            ("AuthenticAMD", 0x17, 0x30..) => Some(Self::Zen2),
            ("AuthenticAMD", 0x19, 0x00..=0x0f | 0x20..=0x5f) => Some(Self::Zen3),
            ("AuthenticAMD", 0x19, 0x10..=0x1f | 0x60..=0xaf) => Some(Self::Zen4),
            ("AuthenticAMD", 0x1a, _) => Some(Self::Zen5),
            ("GenuineIntel", 6, 0x3c | 0x3f | 0x45 | 0x46) => Some(Self::Haswell),
            ("GenuineIntel", 6, 0x3d | 0x47 | 0x4f | 0x56) => Some(Self::Broadwell),
            ("GenuineIntel", 6, 0x4e | 0x5e | 0x55 | 0x8e | 0x9e | 0xa5 | 0xa6) => Some(Self::Skylake),
            ("GenuineIntel", 6, 0x7d | 0x7e | 0x6a | 0x6c) => Some(Self::IceLake),
            ("GenuineIntel", 6, 0xa7) => Some(Self::RocketLake),
            ("GenuineIntel", 6, 0x97 | 0x9a | 0xb7 | 0xba | 0xbf) => Some(Self::AlderLake),
            _ => None,
        }
    }
}

/// One variant of a `BitnetRelease` tree.
///
/// Its name tells the features it is compiled for; those are given as the ggml module with the same needs. `standard` is
/// llama.cpp with its portable defaults (`INS_ENB` in `ggml/CMakeLists.txt`: everything up to AVX2 and BMI2), and BitNet's
/// x86-64 kernels have no path below AVX2, so nothing in the tree needs less than `haswell`. Zen 5 has `AVX_VNNI` besides what
/// `zen4` needs, but no module joins the two.
///
/// ```
/// let zen4 = tabagent_variants::BitnetVariant::named("bitnet-amd-zen4").unwrap();
/// assert_eq!(zen4.needs_as, "zen4");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BitnetVariant {
    /// The directory's name.
    pub name: &'static str,
    /// Whether it is below `gpu/` and only pays off with a GPU.
    pub gpu: bool,
    /// The ggml module that needs the same features.
    pub needs_as: &'static str,
    /// The design it is tuned for, or `None` for a portable build.
    pub tuned_for: Option<Microarchitecture>,
    /// Which files it is meant for.
    pub family: BuildFamily,
}

/// Every variant of the tree: 13 for CPUs, 3 for GPUs.
pub const BITNET_VARIANTS: [BitnetVariant; 16] = [
    standard("standard", false),
    bitnet("bitnet-portable", "haswell", None),
    bitnet("bitnet-amd-zen1", "haswell", Some(Microarchitecture::Zen1)),
    bitnet("bitnet-amd-zen2", "haswell", Some(Microarchitecture::Zen2)),
    bitnet("bitnet-amd-zen3", "haswell", Some(Microarchitecture::Zen3)),
    bitnet("bitnet-amd-zen4", "zen4", Some(Microarchitecture::Zen4)),
    bitnet("bitnet-amd-zen5", "zen4", Some(Microarchitecture::Zen5)),
    bitnet("bitnet-intel-haswell", "haswell", Some(Microarchitecture::Haswell)),
    bitnet("bitnet-intel-broadwell", "haswell", Some(Microarchitecture::Broadwell)),
    bitnet("bitnet-intel-skylake", "haswell", Some(Microarchitecture::Skylake)),
    bitnet("bitnet-intel-icelake", "icelake", Some(Microarchitecture::IceLake)),
    bitnet("bitnet-intel-rocketlake", "icelake", Some(Microarchitecture::RocketLake)),
    bitnet("bitnet-intel-alderlake", "alderlake", Some(Microarchitecture::AlderLake)),
    standard("standard-cuda-vulkan", true),
    standard("standard-opencl", true),
    BitnetVariant { gpu: true, ..bitnet("bitnet-python-cuda", "haswell", None) },
];

const fn standard(name: &'static str, gpu: bool) -> BitnetVariant {
    BitnetVariant { name, gpu, needs_as: "haswell", tuned_for: None, family: BuildFamily::LlamaCpp }
}

const fn bitnet(
    name: &'static str,
    needs_as: &'static str,
    tuned_for: Option<Microarchitecture>,
) -> BitnetVariant {
    BitnetVariant { name, gpu: false, needs_as, tuned_for, family: BuildFamily::BitNet }
}

impl BitnetVariant {
    /// The variant of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        static VARIANTS: [BitnetVariant; 16] = BITNET_VARIANTS;
        VARIANTS.iter().find(|variant| variant.name == name)
    }

    /// The features its name promises it needs.
    pub fn needs(&self) -> &'static [CpuFeature] {
        CpuModule::named(self.needs_as).map_or(&[], |module| module.needs)
    }

    /// How well it fits a processor that has its features; comparable only within a tree.
    ///
    /// More features first; among equals the design it is tuned for, then the same maker's, then portable ones, then the
    /// other maker's. GPU builds come last, since no GPU is known here.
    pub fn score(&self, cpu: &CpuFacts) -> u32 {
        if self.gpu {
            return 1;
        }
        let features = CpuModule::named(self.needs_as).map_or(1, CpuModule::full_score);
        let fit = match self.tuned_for {
            None => 1,
            Some(design) if Microarchitecture::of(cpu) == Some(design) => 3,
            Some(design) if design.is_amd() == (cpu.vendor == "AuthenticAMD") => 2,
            Some(_) => 0,
        };
        features * 4 + fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Architecture;

    fn cpu(vendor: &str, family: u32, model: u32) -> CpuFacts {
        CpuFacts {
            vendor: vendor.to_owned(),
            family: Some(family),
            model_number: Some(model),
            ..CpuFacts::unknown(Architecture::X86_64)
        }
    }

    #[test]
    fn every_variant_names_a_known_module() {
        for variant in &BITNET_VARIANTS {
            assert!(CpuModule::named(variant.needs_as).is_some(), "{}", variant.name);
            assert!(!variant.needs().is_empty(), "{}", variant.name);
        }
    }

    #[test]
    fn designs_are_told_by_family_and_model() {
        use Microarchitecture as M;
        for (vendor, family, model, design) in [
            ("AuthenticAMD", 0x17, 0x01, Some(M::Zen1)),
            ("AuthenticAMD", 0x17, 0x71, Some(M::Zen2)),
            ("AuthenticAMD", 0x19, 0x21, Some(M::Zen3)),
            ("AuthenticAMD", 0x19, 0x11, Some(M::Zen4)),
            ("AuthenticAMD", 0x1a, 0x44, Some(M::Zen5)),
            ("GenuineIntel", 6, 0x3c, Some(M::Haswell)),
            ("GenuineIntel", 6, 0x9e, Some(M::Skylake)),
            ("GenuineIntel", 6, 0xb7, Some(M::AlderLake)),
            ("GenuineIntel", 6, 0x8f, None),
            ("Other", 6, 0x3c, None),
        ] {
            assert_eq!(
                Microarchitecture::of(&cpu(vendor, family, model)),
                design,
                "{vendor} {family} {model}"
            );
        }
    }

    #[test]
    fn tuned_build_beats_portable_and_portable_beats_other_maker() {
        let zen2 = cpu("AuthenticAMD", 0x17, 0x71);
        let score = |name: &str| BitnetVariant::named(name).unwrap().score(&zen2);
        assert!(score("bitnet-amd-zen2") > score("bitnet-amd-zen1"));
        assert!(score("bitnet-amd-zen1") > score("bitnet-portable"));
        assert!(score("bitnet-portable") > score("bitnet-intel-haswell"));
        assert!(score("bitnet-intel-haswell") > score("standard-opencl"));
    }
}
