//! Properties that hold for any machine, any directories and any text.

mod common;

use std::path::{Path, PathBuf};

use common::{bundled, directory, machine};
use proptest::prelude::*;
use tabagent_variants::{
    Architecture, BITNET_VARIANTS, CPU_MODULES, CgroupLimits, CpuFeature, CpuModule, Hardware, LibraryDir,
    LibrarySource, ModuleFile, System, VariantRequest, ggml_pick, parse_cgroup_v1_quota, parse_cpu_list,
    parse_cpu_max, parse_cpuinfo, parse_meminfo, parse_memory_limit, rank, select,
};

fn features() -> impl Strategy<Value = Vec<CpuFeature>> {
    proptest::sample::subsequence(CpuFeature::ALL.to_vec(), 0..=CpuFeature::ALL.len())
}

fn hardware() -> impl Strategy<Value = Hardware> {
    let architectures = vec![Architecture::X86_64, Architecture::Aarch64, Architecture::Other];
    (proptest::sample::select(architectures), features(), features()).prop_map(|(architecture, on, off)| {
        let mut hardware = machine(architecture, on);
        hardware.cpu.reported.extend(off);
        hardware
    })
}

fn dirs() -> impl Strategy<Value = Vec<LibraryDir>> {
    let mut names: Vec<&'static str> = CPU_MODULES.iter().map(|module| module.name).collect();
    names.extend(["base", "unheard-of"]);
    let sources = [
        LibrarySource::ExplicitPath,
        LibrarySource::Environment,
        LibrarySource::Companion { name: "cuda".to_owned() },
        LibrarySource::BitnetRelease,
        LibrarySource::Bundled,
    ];
    let variants: Vec<Option<&'static str>> =
        std::iter::once(None).chain(BITNET_VARIANTS.iter().map(|v| Some(v.name))).collect();
    let dir = (
        proptest::sample::subsequence(names.clone(), 0..=names.len()),
        proptest::sample::select(sources.to_vec()),
        proptest::sample::select(variants),
        proptest::sample::select(&System::ALL[..]),
    )
        .prop_map(|(modules, source, variant, system)| LibraryDir {
            variant: variant.map(str::to_owned),
            system,
            ..directory("/lib", source, &modules)
        });
    proptest::collection::vec(dir, 0..4)
}

fn requests() -> impl Strategy<Value = VariantRequest> {
    let names: Vec<&'static str> = CPU_MODULES.iter().map(|module| module.name).collect();
    prop_oneof![
        Just(VariantRequest::Auto),
        proptest::sample::select(names).prop_map(|name| VariantRequest::Module(name.to_owned())),
        ".*".prop_map(VariantRequest::Module),
        Just(VariantRequest::Path(PathBuf::from("/lib"))),
        ".*".prop_map(|path| VariantRequest::Path(path.into())),
    ]
}

proptest! {
    #[test]
    fn no_verdict_is_usable_with_something_missing(hardware in hardware(), dirs in dirs()) {
        for verdict in rank(&hardware, &dirs) {
            prop_assert!(!verdict.usable || verdict.missing.is_empty());
            prop_assert!(verdict.usable == (verdict.score > 0));
            prop_assert!(!verdict.reason.is_empty());
            if let Some(module) = CpuModule::named(&verdict.name).filter(|_| verdict.usable) {
                prop_assert!(module.needs.iter().all(|feature| hardware.cpu.features.contains(feature)));
                prop_assert_eq!(module.architecture, hardware.cpu.architecture);
            }
        }
    }

    #[test]
    fn rank_puts_usable_ones_first(hardware in hardware(), dirs in dirs()) {
        let verdicts = rank(&hardware, &dirs);
        prop_assert!(verdicts.is_sorted_by_key(|verdict| !verdict.usable));
    }

    #[test]
    fn choice_is_usable_and_one_of_the_verdicts(hardware in hardware(), dirs in dirs(), request in requests()) {
        let verdicts = rank(&hardware, &dirs);
        match select(&request, &verdicts) {
            Ok(choice) => {
                prop_assert!(choice.verdict.usable);
                prop_assert!(verdicts.contains(&choice.verdict));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn auto_finds_something_whenever_something_is_usable(hardware in hardware(), dirs in dirs()) {
        let verdicts = rank(&hardware, &dirs);
        let usable = verdicts.iter().any(|verdict| verdict.usable);
        prop_assert_eq!(select(&VariantRequest::Auto, &verdicts).is_ok(), usable);
    }

    #[test]
    fn best_verdict_is_the_pick_of_ggml_where_the_system_saves_all(on in features(), tiles in any::<bool>()) {
        let mut hardware = machine(Architecture::X86_64, on);
        // ggml does not check for tiles, so take both AMX features or none.
        for feature in [CpuFeature::AmxTile, CpuFeature::AmxInt8] {
            if tiles { hardware.cpu.features.insert(feature) } else { hardware.cpu.features.remove(&feature) };
        }
        hardware.cpu.reported = hardware.cpu.features.clone();
        let dir = bundled(Architecture::X86_64);
        let pick = ggml_pick(&hardware.cpu, &dir.modules).map(|file| file.name.clone());
        let verdicts = rank(&hardware, &[dir]);
        prop_assert_eq!(pick.as_deref(), Some(verdicts[0].name.as_str()));
    }

    #[test]
    fn parsers_survive_any_text(text in any::<String>(), other in any::<String>()) {
        let _ = parse_cpu_list(&text);
        let _ = text.parse::<VariantRequest>();
        let _ = ModuleFile::cpu(Path::new(&text));
        let _ = ModuleFile::other_backend(Path::new(&text));
        prop_assert!(parse_cpu_max(&text).is_none_or(|cpus| cpus > 0.0));
        prop_assert!(parse_cgroup_v1_quota(&text, &other).is_none_or(|cpus| cpus > 0.0));
        prop_assert!(parse_memory_limit(&text).is_none_or(|bytes| bytes < 1 << 62));
        prop_assert!(parse_cpuinfo(&text).logical_cores >= 1);
        prop_assert!(parse_meminfo(&text).is_none_or(|memory| memory.available_bytes <= memory.total_bytes));
    }

    #[test]
    fn cpu_lists_read_back(cpus in proptest::collection::btree_set(0usize..65_536, 0..50)) {
        let text = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        prop_assert_eq!(parse_cpu_list(&text), Some(cpus));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cgroup_reader_survives_any_files(
        group in "([0-9]:(cpu|memory|):/[a-z./\\\\0-9]{0,8}\n|.{0,9}\n){0,4}",
        mounts in "([0-9] 1 0:2 [/a-z.]{0,6} [/a-z.\\\\0]{0,9} rw - cgroup2? x rw,(cpu|memory)\n|.{0,20}\n){0,4}",
        limit in ".{0,12}",
    ) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::create_dir_all(root.path().join("sys/fs/cgroup")).unwrap();
        std::fs::write(root.path().join("proc/self/cgroup"), group).unwrap();
        std::fs::write(root.path().join("proc/self/mountinfo"), mounts).unwrap();
        std::fs::write(root.path().join("sys/fs/cgroup/cpu.max"), &limit).unwrap();
        let found = CgroupLimits::read_at(root.path());
        prop_assert!(found.cpu_quota.is_none() || found.cpu_quota == parse_cpu_max(&limit));
    }
}
