//! Machines and directories that several tests use.

use std::path::PathBuf;

use tabagent_variants::{
    Architecture, CPU_MODULES, CpuFeature, Hardware, LibraryDir, LibrarySource, ModuleFile, System,
};

/// A machine with these features, saved and reported alike.
pub(crate) fn machine(
    architecture: Architecture,
    features: impl IntoIterator<Item = CpuFeature>,
) -> Hardware {
    let mut hardware = Hardware::probe_at("/nonexistent".as_ref());
    hardware.system = System::Linux;
    hardware.cpu.architecture = architecture;
    hardware.cpu.features = features.into_iter().collect();
    hardware.cpu.reported = hardware.cpu.features.clone();
    hardware
}

/// A directory with these CPU modules.
pub(crate) fn directory(path: &str, source: LibrarySource, modules: &[&str]) -> LibraryDir {
    let path = PathBuf::from(path);
    LibraryDir {
        library: path.join("libllama.so"),
        source,
        system: System::Linux,
        variant: None,
        modules: modules
            .iter()
            .map(|name| ModuleFile {
                name: (*name).to_owned(),
                path: path.join(format!("libggml-cpu-{name}.so")),
            })
            .collect(),
        backends: Vec::new(),
        added: None,
        path,
    }
}

/// The bundled directory with every Linux module of an architecture.
pub(crate) fn bundled(architecture: Architecture) -> LibraryDir {
    let names: Vec<&str> = CPU_MODULES
        .iter()
        .filter(|module| module.architecture == architecture && !module.name.starts_with("apple"))
        .map(|module| module.name)
        .collect();
    directory("/bundled", LibrarySource::Bundled, &names)
}
