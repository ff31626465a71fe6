//! How ggml itself chooses among CPU modules.

use crate::cpu::CpuFacts;
use crate::module::CpuModule;
use crate::module_file::{BASE_MODULE, ModuleFile};

/// The module that ggml itself loads from a directory with these modules: the one with the highest score.
///
/// Source: `ggml_backend_load_best` in `ggml/src/ggml-backend-reg.cpp`; the base module is taken only if no other one scores.
/// Compare it with the best [`rank`](crate::rank) gives: where they differ, ggml's pick would crash on this machine (see
/// [`CpuFacts::reported`]), and the module must be loaded by name. Modules of unknown name are passed over here.
pub fn ggml_pick<'a>(cpu: &CpuFacts, modules: &'a [ModuleFile]) -> Option<&'a ModuleFile> {
    let mut best: Option<(u32, &ModuleFile)> = None;
    for file in modules {
        let score = CpuModule::named(&file.name)
            .filter(|module| module.architecture == cpu.architecture)
            .map_or(0, |module| module.ggml_score(&cpu.reported));
        if score > best.map_or(0, |(score, _)| score) {
            best = Some((score, file));
        }
    }
    best.map(|(_, file)| file).or_else(|| modules.iter().find(|file| file.name == BASE_MODULE))
}
