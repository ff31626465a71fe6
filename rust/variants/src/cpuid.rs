//! The `CPUID` instruction of x86-64.

use std::collections::BTreeSet;

use raw_cpuid::{CpuId, CpuIdReader};

use crate::cpu::CpuFacts;
use crate::feature::CpuFeature;
use crate::platform::Architecture;

/// Asks the processor itself. Core counts are left unknown: the operating system knows them better.
pub(crate) fn probe() -> CpuFacts {
    let cpu = CpuId::new();
    let registers = SavedRegisters {
        ymm: std::is_x86_feature_detected!("avx"),
        zmm: std::is_x86_feature_detected!("avx512f"),
        tiles: tiles_saved(&cpu),
    };
    let reported = reported(&cpu);
    let (family, model_number) = cpu
        .get_feature_info()
        .map_or((None, None), |info| (Some(u32::from(info.family_id())), Some(u32::from(info.model_id()))));
    CpuFacts {
        vendor: cpu.get_vendor_info().map(|vendor| vendor.as_str().to_owned()).unwrap_or_default(),
        model: cpu
            .get_processor_brand_string()
            .map(|brand| brand.as_str().trim().to_owned())
            .unwrap_or_default(),
        family,
        model_number,
        features: usable(&reported, registers),
        reported,
        ..CpuFacts::unknown(Architecture::X86_64)
    }
}

/// Which register files the operating system saves when it switches threads.
#[derive(Debug, Clone, Copy)]
struct SavedRegisters {
    ymm: bool,
    zmm: bool,
    tiles: bool,
}

fn reported<R: CpuIdReader>(cpu: &CpuId<R>) -> BTreeSet<CpuFeature> {
    let basic = cpu.get_feature_info();
    let basic = |test: fn(&raw_cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(test);
    let extended = cpu.get_extended_feature_info();
    let extended = |test: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(test);
    [
        (CpuFeature::Sse42, basic(raw_cpuid::FeatureInfo::has_sse42)),
        (CpuFeature::Avx, basic(raw_cpuid::FeatureInfo::has_avx)),
        (CpuFeature::F16c, basic(raw_cpuid::FeatureInfo::has_f16c)),
        (CpuFeature::Fma, basic(raw_cpuid::FeatureInfo::has_fma)),
        (CpuFeature::Avx2, extended(raw_cpuid::ExtendedFeatures::has_avx2)),
        (CpuFeature::Bmi2, extended(raw_cpuid::ExtendedFeatures::has_bmi2)),
        (CpuFeature::AvxVnni, extended(raw_cpuid::ExtendedFeatures::has_avx_vnni)),
        (
            CpuFeature::Avx512,
            extended(|e| {
                e.has_avx512f()
                    && e.has_avx512cd()
                    && e.has_avx512vl()
                    && e.has_avx512dq()
                    && e.has_avx512bw()
            }),
        ),
        (CpuFeature::Avx512Vbmi, extended(raw_cpuid::ExtendedFeatures::has_avx512vbmi)),
        (CpuFeature::Avx512Vnni, extended(raw_cpuid::ExtendedFeatures::has_avx512vnni)),
        (CpuFeature::Avx512Bf16, extended(raw_cpuid::ExtendedFeatures::has_avx512_bf16)),
        (CpuFeature::AmxTile, extended(raw_cpuid::ExtendedFeatures::has_amx_tile)),
        (CpuFeature::AmxInt8, extended(raw_cpuid::ExtendedFeatures::has_amx_int8)),
    ]
    .into_iter()
    .filter_map(|(feature, present)| present.then_some(feature))
    .collect()
}

/// Keeps the features that work with the registers saved. BMI2 and SSE4.2 need nothing beyond what x86-64 always has.
fn usable(reported: &BTreeSet<CpuFeature>, saved: SavedRegisters) -> BTreeSet<CpuFeature> {
    let works = |feature: CpuFeature| match feature {
        CpuFeature::Avx | CpuFeature::F16c | CpuFeature::Fma | CpuFeature::Avx2 | CpuFeature::AvxVnni => {
            saved.ymm
        }
        CpuFeature::Avx512 | CpuFeature::Avx512Vbmi | CpuFeature::Avx512Vnni | CpuFeature::Avx512Bf16 => {
            saved.zmm
        }
        CpuFeature::AmxTile | CpuFeature::AmxInt8 => saved.tiles,
        _ => true,
    };
    reported.iter().copied().filter(|feature| works(*feature)).collect()
}

/// Whether the tile data of AMX (component 18 of `XCR0`) is enabled.
///
/// `XGETBV` would say so directly but is an unsafe intrinsic. Leaf 0xD gives the size of the save area for what is enabled
/// now, and subleaf 18 the place of the tile data in it; tile data comes last, so it is enabled when the area reaches its
/// end (Intel SDM volume 1, 13.2 and 13.5).
fn tiles_saved<R: CpuIdReader + Clone>(cpu: &CpuId<R>) -> bool {
    const TILE_DATA: u32 = 18;
    let Some(state) = cpu.get_extended_state_info() else { return false };
    let area = state.xsave_area_size_enabled_features();
    state
        .iter()
        .find(|component| component.subleaf == TILE_DATA)
        .is_some_and(|tile| tile.size() > 0 && area >= tile.offset().saturating_add(tile.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of_x86() -> BTreeSet<CpuFeature> {
        CpuFeature::ALL.into_iter().filter(|f| f.architecture() == Architecture::X86_64).collect()
    }

    #[test]
    fn unsaved_registers_take_their_features_away() {
        let none = usable(&all_of_x86(), SavedRegisters { ymm: false, zmm: false, tiles: false });
        assert_eq!(none, BTreeSet::from([CpuFeature::Sse42, CpuFeature::Bmi2]));
        let ymm = usable(&all_of_x86(), SavedRegisters { ymm: true, zmm: false, tiles: false });
        assert!(ymm.contains(&CpuFeature::AvxVnni) && !ymm.contains(&CpuFeature::Avx512));
        let zmm = usable(&all_of_x86(), SavedRegisters { ymm: true, zmm: true, tiles: false });
        assert!(zmm.contains(&CpuFeature::Avx512Bf16) && !zmm.contains(&CpuFeature::AmxTile));
        let all = usable(&all_of_x86(), SavedRegisters { ymm: true, zmm: true, tiles: true });
        assert_eq!(all, all_of_x86());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn kernel_and_processor_agree() {
        let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let kernel = crate::cpuinfo::parse_cpuinfo(&text);
        let own = probe();
        // An old kernel may not know a new name, so the processor may know more, never less.
        assert!(kernel.features.is_subset(&own.features), "{kernel:?} {own:?}");
        assert_eq!((kernel.family, kernel.model_number), (own.family, own.model_number));
        assert_eq!(kernel.vendor, own.vendor);
    }
}
