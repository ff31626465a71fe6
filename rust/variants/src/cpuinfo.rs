//! The text of Linux's `/proc/cpuinfo`.

use std::collections::{BTreeMap, BTreeSet};

use crate::cpu::CpuFacts;
use crate::feature::CpuFeature;
use crate::platform::Architecture;

/// Reads `/proc/cpuinfo` of x86-64 or aarch64 into facts.
///
/// A feature counts when every processor listed has it (big and little cores may differ). The kernel leaves out what it
/// does not enable, so `features` and `reported` are equal. `logical_cores` is the number of processors listed, at least 1,
/// and `physical_cores` is left `None`: the topology files know better. Any text is accepted; what is missing stays empty.
/// The names are those of `arch/x86/include/asm/cpufeatures.h` and `arch/arm64/kernel/cpuinfo.c` of Linux.
///
/// ```
/// use tabagent_variants::{CpuFeature, parse_cpuinfo};
/// let facts = parse_cpuinfo("processor : 0\nvendor_id : AuthenticAMD\nflags : lm sse4_2 avx avx2\n");
/// assert!(facts.features.contains(&CpuFeature::Avx2));
/// ```
pub fn parse_cpuinfo(text: &str) -> CpuFacts {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut features: Option<BTreeSet<CpuFeature>> = None;
    let mut architecture = Architecture::host();
    let mut processors = 0;
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let (key, value) = (key.trim(), value.trim());
        first.entry(key).or_insert(value);
        let here = match key {
            "processor" if value.parse::<u32>().is_ok() => {
                processors += 1;
                continue;
            }
            "flags" => {
                architecture = Architecture::X86_64;
                x86_features(value)
            }
            "Features" => {
                architecture = Architecture::Aarch64;
                arm_features(value)
            }
            _ => continue,
        };
        features = Some(match features {
            Some(before) => &before & &here,
            None => here,
        });
    }
    let features = features.unwrap_or_default();
    let text_of = |key: &str| first.get(key).copied().unwrap_or_default();
    let vendor = match (text_of("vendor_id"), text_of("CPU implementer")) {
        ("", "") => String::new(),
        ("", implementer) => arm_vendor(implementer),
        (vendor, _) => vendor.to_owned(),
    };
    let model = match (text_of("model name"), text_of("CPU part")) {
        ("", "") => String::new(),
        ("", part) => format!("part {part}"),
        (model, _) => model.to_owned(),
    };
    CpuFacts {
        vendor,
        model,
        family: text_of("cpu family").parse().ok(),
        model_number: text_of("model").parse().ok(),
        architecture,
        reported: features.clone(),
        features,
        physical_cores: None,
        logical_cores: processors.max(1),
    }
}

fn x86_features(flags: &str) -> BTreeSet<CpuFeature> {
    const NAMES: [(CpuFeature, &[&str]); 13] = [
        (CpuFeature::Sse42, &["sse4_2"]),
        (CpuFeature::Avx, &["avx"]),
        (CpuFeature::F16c, &["f16c"]),
        (CpuFeature::Fma, &["fma"]),
        (CpuFeature::Avx2, &["avx2"]),
        (CpuFeature::Bmi2, &["bmi2"]),
        (CpuFeature::AvxVnni, &["avx_vnni"]),
        (CpuFeature::Avx512, &["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"]),
        (CpuFeature::Avx512Vbmi, &["avx512vbmi"]),
        (CpuFeature::Avx512Vnni, &["avx512_vnni"]),
        (CpuFeature::Avx512Bf16, &["avx512_bf16"]),
        (CpuFeature::AmxTile, &["amx_tile"]),
        (CpuFeature::AmxInt8, &["amx_int8"]),
    ];
    named(flags, &NAMES)
}

fn arm_features(features: &str) -> BTreeSet<CpuFeature> {
    const NAMES: [(CpuFeature, &[&str]); 6] = [
        (CpuFeature::Dotprod, &["asimddp"]),
        (CpuFeature::Fp16VectorArithmetic, &["fphp", "asimdhp"]),
        (CpuFeature::Sve, &["sve"]),
        (CpuFeature::MatmulInt8, &["i8mm"]),
        (CpuFeature::Sve2, &["sve2"]),
        (CpuFeature::Sme, &["sme"]),
    ];
    named(features, &NAMES)
}

fn named(words: &str, names: &[(CpuFeature, &[&str])]) -> BTreeSet<CpuFeature> {
    let words: BTreeSet<&str> = words.split_whitespace().collect();
    names
        .iter()
        .filter(|(_, needed)| needed.iter().all(|name| words.contains(name)))
        .map(|(feature, _)| *feature)
        .collect()
}

/// Implementer codes of the `MIDR_EL1` register (`arch/arm64/include/asm/cputype.h` of Linux).
fn arm_vendor(implementer: &str) -> String {
    match implementer {
        "0x41" => "ARM".to_owned(),
        "0x46" => "Fujitsu".to_owned(),
        "0x48" => "HiSilicon".to_owned(),
        "0x4e" => "NVIDIA".to_owned(),
        "0x51" => "Qualcomm".to_owned(),
        "0x61" => "Apple".to_owned(),
        "0x6d" => "Microsoft".to_owned(),
        "0xc0" => "Ampere".to_owned(),
        other => format!("implementer {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avx512_needs_all_five_extensions() {
        let four = parse_cpuinfo("flags : avx512f avx512cd avx512vl avx512dq");
        let five = parse_cpuinfo("flags : avx512f avx512cd avx512vl avx512dq avx512bw");
        assert!(!four.features.contains(&CpuFeature::Avx512));
        assert!(five.features.contains(&CpuFeature::Avx512));
    }

    #[test]
    fn feature_of_one_core_only_does_not_count() {
        let facts = parse_cpuinfo(
            "processor : 0\nFeatures : asimddp sve\nCPU implementer : 0x41\nCPU part : 0xd0c\n\
             processor : 1\nFeatures : asimddp\n",
        );
        assert_eq!(facts.features, BTreeSet::from([CpuFeature::Dotprod]));
        assert_eq!(facts.architecture, Architecture::Aarch64);
        assert_eq!((facts.vendor.as_str(), facts.model.as_str()), ("ARM", "part 0xd0c"));
        assert_eq!(facts.logical_cores, 2);
    }

    #[test]
    fn identity_is_read_from_first_processor() {
        let facts = parse_cpuinfo(
            "processor : 0\nvendor_id : GenuineIntel\ncpu family : 6\nmodel : 85\nmodel name : Xeon\nflags : lm\n",
        );
        assert_eq!((facts.family, facts.model_number), (Some(6), Some(85)));
        assert_eq!((facts.vendor.as_str(), facts.model.as_str()), ("GenuineIntel", "Xeon"));
    }
}
