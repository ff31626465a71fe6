//! Which variants run on the machine, best first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::added_modules::AddedModules;
use crate::bitnet::BitnetVariant;
use crate::cpu::CpuFacts;
use crate::family::BuildFamily;
use crate::feature::CpuFeature;
use crate::gpu::{GpuFacts, GpuKind, GpuReport};
use crate::hardware::Hardware;
use crate::library_dir::{LibraryDir, LibrarySource};
use crate::module::CpuModule;
use crate::module_file::{BASE_MODULE, ModuleFile};
use crate::platform::Architecture;
use crate::text::{listed, ordinal};
use crate::verdict::Verdict;

/// The name of a variant whose CPU part is inside the ggml library.
const BUILT_IN: &str = "built-in";
const NO_MODULE: &str = "none of its CPU modules runs on this CPU";

/// Judges every variant of every directory and sorts them, best first. A pure function of its arguments.
///
/// The order: usable before unusable, and those that only a name stands for last of the usable; then by source (explicit path, environment, companion packages, `BitnetRelease` tree,
/// bundled, other packages); then llama.cpp builds before BitNet builds, which are for BitNet's own files; then by score; then as given. So
/// the best module of the most preferred usable source comes first. Of companions, those that find a discrete GPU come before those that find an
/// integrated one; one that finds only programs that pretend to be GPUs is for those who name it.
///
/// ```
/// # use tabagent_variants::{Hardware, rank};
/// assert!(rank(&Hardware::probe(), &[]).is_empty());
/// ```
pub fn rank(hardware: &Hardware, dirs: &[LibraryDir]) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = dirs.iter().flat_map(|dir| judge(hardware, dir)).collect();
    verdicts.sort_by_key(|v| (!v.usable, v.only_named, v.source.preference(), v.family, Reverse(v.score)));
    let usable = verdicts.iter().filter(|verdict| verdict.usable).count();
    for (index, verdict) in verdicts.iter_mut().take(usable).enumerate() {
        let place = if index == 0 {
            if verdict.gpus.is_empty() { "best match for this CPU" } else { "best match for this machine" }
                .to_owned()
        } else {
            format!("supported; ranked {} of {usable}", ordinal(index + 1))
        };
        verdict.reason =
            if verdict.reason.is_empty() { place } else { format!("{place}; {}", verdict.reason) };
    }
    verdicts
}

/// The verdicts on one directory. Usable ones carry only a remark as their reason: their rank is not known yet.
fn judge(hardware: &Hardware, dir: &LibraryDir) -> Vec<Verdict> {
    if let Some(added) = &dir.added {
        return vec![judge_added(hardware, dir, added)];
    }
    if let LibrarySource::Package { name } = &dir.source {
        return vec![judge_package(hardware, dir, name)];
    }
    let judgements = match &dir.variant {
        Some(name) => vec![judge_bitnet(hardware, dir, name)],
        None if dir.modules.is_empty() => vec![(
            BUILT_IN.to_owned(),
            None,
            BuildFamily::LlamaCpp,
            Judgement::unknown_needs("its CPU features are not told by file names"),
        )],
        None => dir
            .modules
            .iter()
            .map(|file| {
                let judgement = judge_module(&hardware.cpu, file);
                (file.name.clone(), Some(file.path.clone()), BuildFamily::LlamaCpp, judgement)
            })
            .collect(),
    };
    judgements
        .into_iter()
        .map(|(name, module, family, judgement)| {
            let judgement = if dir.system == hardware.system {
                judgement
            } else {
                let text = format!("built for {}; this system is {}", dir.system, hardware.system);
                Judgement { missing: judgement.missing, ..Judgement::refused(text) }
            };
            Verdict {
                name,
                source: dir.source.clone(),
                path: dir.path.clone(),
                library: dir.library.clone(),
                module,
                backends: Vec::new(),
                needed: Vec::new(),
                gpus: Vec::new(),
                only_named: false,
                family,
                usable: judgement.usable,
                reason: judgement.reason,
                score: judgement.score,
                missing: judgement.missing,
                build: None,
            }
        })
        .collect()
}

/// The library of another package is for those who name it: its build may be any, and `auto` never takes it.
fn judge_package(hardware: &Hardware, dir: &LibraryDir, name: &str) -> Verdict {
    let usable = dir.system == hardware.system;
    let reason = if usable {
        format!("the llama.cpp of the installed package `{name}`, for those who name it")
    } else {
        format!("built for {}; this system is {}", dir.system, hardware.system)
    };
    Verdict {
        name: name.to_owned(),
        source: dir.source.clone(),
        path: dir.path.clone(),
        library: dir.library.clone(),
        module: None,
        backends: Vec::new(),
        needed: Vec::new(),
        gpus: Vec::new(),
        only_named: true,
        family: BuildFamily::LlamaCpp,
        usable,
        reason,
        score: u32::from(usable),
        missing: Vec::new(),
        build: None,
    }
}

#[derive(Debug, Clone)]
struct Judgement {
    usable: bool,
    reason: String,
    score: u32,
    missing: Vec<CpuFeature>,
}

impl Judgement {
    fn refused(reason: String) -> Self {
        Self { usable: false, reason, score: 0, missing: Vec::new() }
    }

    /// A build of unknown needs: allowed but ranked last, since only a trial run can tell.
    fn unknown_needs(why: &str) -> Self {
        Self {
            usable: true,
            reason: format!("{why}, so only a trial run can tell"),
            score: 1,
            missing: Vec::new(),
        }
    }

    fn of_needs(cpu: &CpuFacts, architecture: Architecture, needs: &[CpuFeature], score: u32) -> Self {
        let missing: Vec<CpuFeature> =
            needs.iter().copied().filter(|feature| !cpu.features.contains(feature)).collect();
        if architecture != cpu.architecture {
            let reason = format!("built for {architecture}; this CPU is {}", cpu.architecture);
            Self { missing, ..Self::refused(reason) }
        } else if missing.is_empty() {
            Self { usable: true, reason: String::new(), score, missing }
        } else {
            Self { reason: lacking(&missing, &cpu.reported), ..Self::refused(String::new()) }.with(missing)
        }
    }

    fn with(self, missing: Vec<CpuFeature>) -> Self {
        Self { missing, ..self }
    }
}

fn judge_module(cpu: &CpuFacts, file: &ModuleFile) -> Judgement {
    if file.name == BASE_MODULE {
        return Judgement::unknown_needs("its CPU features are not told by its file name");
    }
    match CpuModule::named(&file.name) {
        Some(module) => Judgement::of_needs(cpu, module.architecture, module.needs, module.full_score()),
        None => Judgement::refused(format!("the needs of a CPU module named `{}` are not known", file.name)),
    }
}

fn judge_bitnet(
    hardware: &Hardware,
    dir: &LibraryDir,
    name: &str,
) -> (String, Option<PathBuf>, BuildFamily, Judgement) {
    let cpu = &hardware.cpu;
    let Some(variant) = BitnetVariant::named(name) else {
        let judgement = Judgement::refused(format!("the needs of a variant named `{name}` are not known"));
        return (name.to_owned(), None, BuildFamily::BitNet, judgement);
    };
    let mut judgement = Judgement::of_needs(cpu, Architecture::X86_64, variant.needs(), variant.score(cpu));
    if judgement.usable && variant.gpu {
        "its GPU devices are known only once it is loaded".clone_into(&mut judgement.reason);
    }
    let mut module = None;
    if judgement.usable && !dir.modules.is_empty() {
        module = best_module(cpu, dir);
        if module.is_none() {
            judgement = Judgement::refused(NO_MODULE.to_owned());
        }
    }
    (name.to_owned(), module, variant.family, judgement)
}

/// The best CPU module of a directory that runs here.
fn best_module(cpu: &CpuFacts, dir: &LibraryDir) -> Option<PathBuf> {
    let judged = dir.modules.iter().map(|file| (judge_module(cpu, file), file));
    let usable = judged.filter(|(judgement, _)| judgement.usable);
    usable.max_by_key(|(judgement, _)| judgement.score).map(|(_, file)| file.path.clone())
}

/// The verdict on the bundled library with a companion's modules. It is named after the companion.
fn judge_added(hardware: &Hardware, dir: &LibraryDir, added: &AddedModules) -> Verdict {
    let name = match &dir.source {
        LibrarySource::Companion { name } => name.clone(),
        other => other.to_string(),
    };
    let module = best_module(&hardware.cpu, dir);
    let gpus = match &added.report {
        Some(GpuReport::Found(gpus)) => gpus.clone(),
        Some(GpuReport::Failed(_)) | None => Vec::new(),
    };
    let works = |gpu: &&GpuFacts| gpu.fault.is_none();
    let best = gpus.iter().filter(works).min_by_key(|gpu| gpu.kind);
    let judgement = if dir.system != hardware.system {
        Judgement::refused(format!("built for {}; this system is {}", dir.system, hardware.system))
    } else if let Some(mismatch) = &added.mismatch {
        Judgement::refused(mismatch.clone())
    } else if module.is_none() && !dir.modules.is_empty() {
        Judgement::refused(NO_MODULE.to_owned())
    } else {
        match (&added.report, best) {
            (None, _) => Judgement::refused("its GPUs were not asked for".to_owned()),
            (Some(GpuReport::Failed(words)), _) => Judgement::refused(words.clone()),
            (Some(GpuReport::Found(_)), Some(best)) => Judgement {
                usable: true,
                reason: described(best, &gpus),
                score: gpu_score(best, added),
                missing: Vec::new(),
            },
            (Some(GpuReport::Found(_)), None) => Judgement::refused(match gpus.first() {
                Some(GpuFacts { name, fault: Some(fault), .. }) => format!("`{name}` {fault}"),
                _ => "finds no GPU".to_owned(),
            }),
        }
    };
    Verdict {
        name,
        source: dir.source.clone(),
        path: dir.path.clone(),
        library: dir.library.clone(),
        module,
        backends: added.modules.iter().map(|module| module.path.clone()).collect(),
        needed: added.needed.clone(),
        only_named: judgement.usable && best.is_some_and(|best| best.kind == GpuKind::Software),
        gpus,
        family: BuildFamily::LlamaCpp,
        usable: judgement.usable,
        reason: judgement.reason,
        score: judgement.score,
        missing: judgement.missing,
        build: None,
    }
}

/// `finds NVIDIA H100 (discrete, 80 GiB)`, and what is wrong with others.
fn described(best: &GpuFacts, gpus: &[GpuFacts]) -> String {
    let memory = best.memory_total as f64 / f64::from(1 << 30);
    let mut text = format!("finds {} ({}, {memory:.0} GiB)", best.description, best.kind);
    if gpus.len() > 1 {
        text += " and ";
        text += &(gpus.len() - 1).to_string();
        text += " more";
    }
    if best.kind == GpuKind::Software {
        text.push_str(", no GPU but a program, which is taken only when it is named");
    }
    for GpuFacts { name, fault, .. } in gpus {
        if let Some(fault) = fault {
            text += &["; `", name, "` ", fault].concat();
        }
    }
    text
}

/// The kind of the best GPU counts most, and then whose kernels are faster where several backends find the same GPU.
fn gpu_score(best: &GpuFacts, added: &AddedModules) -> u32 {
    let kind = match best.kind {
        GpuKind::Discrete => 3,
        GpuKind::Integrated => 2,
        GpuKind::Software => 1,
    };
    let speed = |module: &ModuleFile| match module.name.as_str() {
        "cuda" | "metal" => 9,
        "hip" | "musa" | "cann" => 8,
        "sycl" => 7,
        "vulkan" => 6,
        _ => 5,
    };
    kind * 10 + added.modules.iter().map(speed).max().unwrap_or(0)
}

/// `needs AVX512_BF16; this CPU lacks it`, with a different end where only the operating system is in the way.
fn lacking(missing: &[CpuFeature], reported: &BTreeSet<CpuFeature>) -> String {
    let (off, absent): (Vec<CpuFeature>, Vec<CpuFeature>) =
        missing.iter().partition(|feature| reported.contains(feature));
    let it = |features: &[CpuFeature]| if features.len() == 1 { "it" } else { "them" };
    if off.is_empty() {
        format!("needs {}; this CPU lacks {}", listed(&absent), it(&absent))
    } else if absent.is_empty() {
        format!("needs {}; the operating system has not switched {} on", listed(&off), it(&off))
    } else {
        format!(
            "needs {}, which this CPU lacks, and {}, which the operating system has not switched on",
            listed(&absent),
            listed(&off)
        )
    }
}
