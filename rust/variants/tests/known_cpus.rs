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

/// Where the features of a processor are from.
enum Source {
    /// LLVM 22 (`X86.td`, `AArch64Processors.td`), under this name: what `rustc --print cfg -C target-cpu=NAME` prints.
    Llvm(&'static str),
    /// `target/i386/cpu.c` of QEMU, under this name.
    Qemu(&'static str),
    /// The names that Linux prints in `/proc/cpuinfo` on it, which LLVM has no processor for.
    Cpuinfo,
}
use Source::{Cpuinfo, Llvm, Qemu};

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Llvm(name) => write!(f, "LLVM's `{name}`"),
            Qemu(name) => write!(f, "QEMU's `{name}`"),
            Cpuinfo => f.write_str("/proc/cpuinfo"),
        }
    }
}

const ZEN_4: [CpuFeature; 4] = [Avx512, Avx512Vbmi, Avx512Vnni, Avx512Bf16];
const AMX: [CpuFeature; 2] = [AmxTile, AmxInt8];

#[test]
fn x86_processors_get_their_module() {
    let with = |more: &[CpuFeature]| [&AVX2_SET, more].concat();
    let rapids = with(&[&ZEN_4[..], &[AvxVnni], &AMX].concat());
    for (cpu, source, features, module) in [
        // Intel, big cores.
        ("Core 2 (Penryn)", Llvm("penryn"), vec![], "x64"),
        ("Nehalem", Llvm("nehalem"), vec![Sse42], "sse42"),
        ("Westmere", Llvm("westmere"), vec![Sse42], "sse42"),
        ("Sandy Bridge", Llvm("sandybridge"), vec![Sse42, Avx], "sandybridge"),
        ("Ivy Bridge", Llvm("ivybridge"), vec![Sse42, Avx, F16c], "ivybridge"),
        ("Haswell", Llvm("haswell"), with(&[]), "haswell"),
        ("Haswell as Pentium, without AVX", Cpuinfo, vec![Sse42], "sse42"),
        ("Broadwell", Llvm("broadwell"), with(&[]), "haswell"),
        ("Skylake", Llvm("skylake"), with(&[]), "haswell"),
        ("Skylake as Celeron, without AVX", Cpuinfo, vec![Sse42], "sse42"),
        ("Comet Lake", Llvm("skylake"), with(&[]), "haswell"),
        // AVX512F, CD, ER and PF: not what ggml calls AVX512.
        ("Knights Landing", Llvm("knl"), with(&[]), "haswell"),
        ("Skylake-X and Skylake-SP", Llvm("skylake-avx512"), with(&[Avx512]), "skylakex"),
        ("Cascade Lake", Llvm("cascadelake"), with(&[Avx512, Avx512Vnni]), "cascadelake"),
        ("Cooper Lake", Llvm("cooperlake"), with(&[Avx512, Avx512Vnni, Avx512Bf16]), "cooperlake"),
        ("Cannon Lake", Llvm("cannonlake"), with(&[Avx512, Avx512Vbmi]), "cannonlake"),
        ("Ice Lake", Llvm("icelake-client"), with(&[Avx512, Avx512Vbmi, Avx512Vnni]), "icelake"),
        ("Ice Lake-SP", Llvm("icelake-server"), with(&[Avx512, Avx512Vbmi, Avx512Vnni]), "icelake"),
        ("Rocket Lake", Llvm("rocketlake"), with(&[Avx512, Avx512Vbmi, Avx512Vnni]), "icelake"),
        ("Tiger Lake", Llvm("tigerlake"), with(&[Avx512, Avx512Vbmi, Avx512Vnni]), "icelake"),
        // Hybrid: the big cores give up what the small ones lack.
        ("Alder Lake", Llvm("alderlake"), with(&[AvxVnni]), "alderlake"),
        (
            "Alder Lake, small cores off, early firmware",
            Cpuinfo,
            with(&[&ZEN_4[..], &[AvxVnni]].concat()),
            "zen4",
        ),
        ("Raptor Lake", Llvm("raptorlake"), with(&[AvxVnni]), "alderlake"),
        ("Meteor Lake", Llvm("meteorlake"), with(&[AvxVnni]), "alderlake"),
        ("Arrow Lake", Llvm("arrowlake"), with(&[AvxVnni]), "alderlake"),
        ("Lunar Lake", Llvm("lunarlake"), with(&[AvxVnni]), "alderlake"),
        ("Sapphire Rapids", Llvm("sapphirerapids"), rapids.clone(), "sapphirerapids"),
        ("Emerald Rapids", Llvm("emeraldrapids"), rapids.clone(), "sapphirerapids"),
        ("Granite Rapids", Llvm("graniterapids"), rapids.clone(), "sapphirerapids"),
        (
            "Sapphire Rapids, tiles kept from guests",
            Cpuinfo,
            with(&[&ZEN_4[..], &[AvxVnni]].concat()),
            "zen4",
        ),
        // Intel, small cores.
        ("Atom D510 (Bonnell)", Llvm("bonnell"), vec![], "x64"),
        ("Atom (Silvermont)", Llvm("silvermont"), vec![Sse42], "sse42"),
        ("Atom (Goldmont)", Llvm("goldmont"), vec![Sse42], "sse42"),
        ("Atom (Goldmont Plus)", Llvm("goldmont-plus"), vec![Sse42], "sse42"),
        ("Atom (Tremont)", Llvm("tremont"), vec![Sse42], "sse42"),
        ("N100 (Gracemont)", Llvm("gracemont"), with(&[AvxVnni]), "alderlake"),
        ("Sierra Forest", Llvm("sierraforest"), with(&[AvxVnni]), "alderlake"),
        // AMD.
        ("Phenom II (K10)", Llvm("amdfam10"), vec![], "x64"),
        ("Bobcat", Llvm("btver1"), vec![], "x64"),
        ("Jaguar", Llvm("btver2"), vec![Sse42, Avx, F16c], "ivybridge"),
        ("Bulldozer", Llvm("bdver1"), vec![Sse42, Avx], "sandybridge"),
        ("Piledriver", Llvm("bdver2"), vec![Sse42, Avx, F16c, Fma], "piledriver"),
        ("Steamroller", Llvm("bdver3"), vec![Sse42, Avx, F16c, Fma], "piledriver"),
        ("Excavator", Llvm("bdver4"), with(&[]), "haswell"),
        ("Zen 1", Llvm("znver1"), with(&[]), "haswell"),
        ("Zen 2", Llvm("znver2"), with(&[]), "haswell"),
        ("Zen 3", Llvm("znver3"), with(&[]), "haswell"),
        ("Zen 4", Llvm("znver4"), with(&ZEN_4), "zen4"),
        ("Zen 5", Llvm("znver5"), with(&[&ZEN_4[..], &[AvxVnni]].concat()), "zen4"),
        // Others.
        ("Hygon Dhyana", Qemu("Dhyana"), with(&[]), "haswell"),
        ("VIA Nano", Cpuinfo, vec![], "x64"),
        ("Centaur CNS", Cpuinfo, with(&[Avx512, Avx512Vbmi]), "cannonlake"),
        ("Rosetta 2 before macOS 15", Cpuinfo, vec![Sse42], "sse42"),
        // Virtual ones.
        ("qemu64", Qemu("qemu64"), vec![], "x64"),
        ("kvm64", Qemu("kvm64"), vec![], "x64"),
        ("Opteron_G5", Qemu("Opteron_G5"), vec![Sse42, Avx, F16c, Fma], "piledriver"),
        ("EPYC-Rome", Qemu("EPYC-Rome"), with(&[]), "haswell"),
    ] {
        assert_pick(Architecture::X86_64, &format!("{cpu}, {source}"), &features, module);
    }
}

#[test]
fn arm_processors_get_their_module() {
    let v8_2 = [Dotprod, Fp16VectorArithmetic];
    let with = |more: &[CpuFeature]| [&v8_2[..], more].concat();
    for (cpu, source, features, module) in [
        ("Graviton 1, Raspberry Pi 4 (Cortex-A72)", Llvm("cortex-a72"), vec![], "armv8.0_1"),
        ("Raspberry Pi 3 (Cortex-A53)", Llvm("cortex-a53"), vec![], "armv8.0_1"),
        // Half precision and scalable vectors, but no dot products.
        ("A64FX", Llvm("a64fx"), vec![Fp16VectorArithmetic, Sve], "armv8.0_1"),
        ("Raspberry Pi 5 (Cortex-A76)", Llvm("cortex-a76"), with(&[]), "armv8.2_2"),
        ("Graviton 2, Ampere Altra (Neoverse N1)", Llvm("neoverse-n1"), with(&[]), "armv8.2_2"),
        ("Kunpeng 920", Llvm("tsv110"), with(&[]), "armv8.2_2"),
        ("AmpereOne", Llvm("ampere1"), with(&[MatmulInt8]), "armv8.2_2"),
        ("Apple M1 under Linux", Llvm("apple-m1"), with(&[]), "armv8.2_2"),
        ("Apple M2 under Linux", Llvm("apple-m2"), with(&[MatmulInt8]), "armv8.2_2"),
        ("Snapdragon X Elite", Llvm("oryon-1"), with(&[MatmulInt8]), "armv8.2_2"),
        ("with scalable vectors alone", Cpuinfo, with(&[Sve]), "armv8.2_3"),
        ("Graviton 3 (Neoverse V1)", Llvm("neoverse-v1"), with(&[Sve, MatmulInt8]), "armv8.6_1"),
        ("Graviton 4, Grace (Neoverse V2)", Llvm("neoverse-v2"), with(&[Sve, MatmulInt8, Sve2]), "armv8.6_2"),
        ("Cobalt 100 (Neoverse N2)", Llvm("neoverse-n2"), with(&[Sve, MatmulInt8, Sve2]), "armv8.6_2"),
        ("with SME", Cpuinfo, with(&[Sve, MatmulInt8, Sve2, Sme]), "armv9.2_2"),
    ] {
        assert_pick(Architecture::Aarch64, &format!("{cpu}, {source}"), &features, module);
    }
}

#[test]
fn apple_processors_get_their_module() {
    for (cpu, features, module) in [
        ("M1", vec![Dotprod, Fp16VectorArithmetic], "apple_m1"),
        ("M2 and M3", vec![Dotprod, Fp16VectorArithmetic, MatmulInt8], "apple_m2_m3"),
        ("M4", vec![Dotprod, Fp16VectorArithmetic, MatmulInt8, Sme], "apple_m4"),
    ] {
        let hardware = machine(Architecture::Aarch64, features);
        let apple = ["apple_m1", "apple_m2_m3", "apple_m4"];
        let dir = common::directory("/bundled", tabagent_variants::LibrarySource::Bundled, &apple);
        assert_eq!(rank(&hardware, &[dir])[0].name, module, "{cpu}");
    }
}

#[test]
fn a_system_that_saves_no_wide_registers_leaves_sse() {
    for reported in [AVX2_SET.to_vec(), [&AVX2_SET[..], &ZEN_4].concat()] {
        let mut hardware = machine(Architecture::X86_64, [Sse42, Bmi2]);
        hardware.cpu.reported = reported.into_iter().collect();
        let verdicts = rank(&hardware, &[bundled(Architecture::X86_64)]);
        assert_eq!(verdicts[0].name, "sse42");
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
