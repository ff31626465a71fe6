//! The module that ggml picks on well-known processors.

#![allow(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use common::{bundled, machine};
use tabagent_variants::CpuFeature::{
    self, AmxInt8, AmxTile, Avx, Avx2, Avx512, Avx512Bf16, Avx512Vbmi, Avx512Vnni, AvxVnni, Bmi2, Dotprod,
    F16c, Fma, Fp16VectorArithmetic, MatmulInt8, Sme, Sse42, Sve, Sve2,
};
use tabagent_variants::{Architecture, ggml_pick, rank};

const AVX2_SET: [CpuFeature; 6] = [Sse42, Avx, F16c, Fma, Avx2, Bmi2];

fn assert_pick(architecture: Architecture, cpu: &str, features: &[CpuFeature], module: &str) {
    let hardware = machine(architecture, features.iter().copied());
    let dir = bundled(architecture);
    assert_eq!(ggml_pick(&hardware.cpu, &dir.modules).unwrap().name, module, "{cpu}");
    let verdicts = rank(&hardware, &[dir]);
    assert_eq!(verdicts[0].name, module, "{cpu}");
    assert_eq!(verdicts[0].reason, "best match for this CPU");
}

#[test]
fn x86_processors_get_their_module() {
    let with = |more: &[CpuFeature]| [&AVX2_SET, more].concat();
    for (cpu, features, module) in [
        ("baseline x86-64", vec![], "x64"),
        ("Nehalem", vec![Sse42], "sse42"),
        ("Sandy Bridge", vec![Sse42, Avx], "sandybridge"),
        ("Ivy Bridge", vec![Sse42, Avx, F16c], "ivybridge"),
        ("Piledriver", vec![Sse42, Avx, F16c, Fma], "piledriver"),
        ("Haswell", with(&[]), "haswell"),
        ("Zen 2", with(&[]), "haswell"),
        ("Zen 4", with(&[Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16]), "zen4"),
        ("Zen 5", with(&[Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16, AvxVnni]), "zen4"),
        ("Skylake-X", with(&[Avx512]), "skylakex"),
        ("Cannon Lake", with(&[Avx512, Avx512Vbmi]), "cannonlake"),
        ("Cascade Lake", with(&[Avx512, Avx512Vnni]), "cascadelake"),
        ("Cooper Lake", with(&[Avx512, Avx512Vnni, Avx512Bf16]), "cooperlake"),
        ("Ice Lake", with(&[Avx512, Avx512Vbmi, Avx512Vnni]), "icelake"),
        ("Alder Lake", with(&[AvxVnni]), "alderlake"),
        (
            "Sapphire Rapids",
            with(&[Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16, AvxVnni, AmxTile, AmxInt8]),
            "sapphirerapids",
        ),
    ] {
        assert_pick(Architecture::X86_64, cpu, &features, module);
    }
}

#[test]
fn arm_processors_get_their_module() {
    for (cpu, features, module) in [
        ("Cortex-A72", vec![], "armv8.0_1"),
        ("Neoverse N1", vec![Dotprod, Fp16VectorArithmetic], "armv8.2_2"),
        ("A64FX-like", vec![Dotprod, Fp16VectorArithmetic, Sve], "armv8.2_3"),
        ("Neoverse V1", vec![Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8], "armv8.6_1"),
        ("Neoverse V2", vec![Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8, Sve2], "armv8.6_2"),
        ("with SME", vec![Dotprod, Fp16VectorArithmetic, Sve, MatmulInt8, Sve2, Sme], "armv9.2_2"),
    ] {
        assert_pick(Architecture::Aarch64, cpu, &features, module);
    }
}

#[test]
fn registers_the_system_does_not_save_are_not_used_though_ggml_would() {
    let mut hardware = machine(Architecture::X86_64, AVX2_SET);
    hardware.cpu.reported.extend([Avx512, Avx512Vnni]);
    let dir = bundled(Architecture::X86_64);
    assert_eq!(ggml_pick(&hardware.cpu, &dir.modules).unwrap().name, "cascadelake");
    let verdicts = rank(&hardware, &[dir]);
    assert_eq!(verdicts[0].name, "haswell");
    let refused = verdicts.iter().find(|verdict| verdict.name == "skylakex").unwrap();
    assert_eq!(refused.reason, "needs AVX512; the operating system has not switched it on");
}

#[test]
fn reasons_say_what_is_missing_and_where_a_module_ranks() {
    let hardware = machine(Architecture::X86_64, [&AVX2_SET[..], &[Avx512, Avx512Vbmi, Avx512Vnni]].concat());
    let verdicts = rank(&hardware, &[bundled(Architecture::X86_64)]);
    let reason = |name: &str| verdicts.iter().find(|v| v.name == name).unwrap().reason.as_str();
    assert_eq!(reason("icelake"), "best match for this CPU");
    assert_eq!(reason("skylakex"), "supported; ranked 4th of 10");
    assert_eq!(reason("zen4"), "needs AVX512_BF16; this CPU lacks it");
    assert_eq!(reason("sapphirerapids"), "needs AVX512_BF16, AMX_TILE and AMX_INT8; this CPU lacks them");
}

#[test]
fn modules_of_another_architecture_are_refused_even_without_needs() {
    let hardware = machine(Architecture::Aarch64, [Dotprod]);
    let verdicts = rank(&hardware, &[bundled(Architecture::X86_64)]);
    assert!(verdicts.iter().all(|verdict| !verdict.usable));
    let baseline = verdicts.iter().find(|verdict| verdict.name == "x64").unwrap();
    assert_eq!(baseline.reason, "built for x86-64; this CPU is aarch64");
}
