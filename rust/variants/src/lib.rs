//! Facts about the machine, a catalogue of llama.cpp library directories, and a ranking with a reason for every verdict.
//!
//! ```
//! use tabagent_variants::{Hardware, VariantRequest, discover, rank, select};
//!
//! let hardware = Hardware::probe();
//! let found: Vec<_> = discover(None, None, &[], None).into_iter().filter_map(Result::ok).collect();
//! let verdicts = rank(&hardware, &found);
//! // No directory was given, so there is nothing to choose from, and the error says so.
//! assert!(select(&VariantRequest::Auto, &verdicts).is_err());
//! ```
//!
//! Three steps, each usable alone: [`Hardware::probe`] reads the machine, [`discover`] lists the library directories and
//! their CPU modules, and [`rank`], a pure function, says which of them run here and why. [`select`] picks one by request.
//! GPU devices are not probed here: only a loaded library knows its devices.

#![forbid(unsafe_code)]

mod added_modules;
mod bitnet;
mod budget;
mod catalogue;
mod cgroup;
mod cpu;
mod cpu_list;
#[cfg(target_arch = "x86_64")]
mod cpuid;
mod cpuinfo;
mod family;
mod feature;
mod gpu;
mod hardware;
mod library_dir;
mod memory;
mod module;
mod module_file;
mod pick;
mod platform;
mod rank;
mod request;
mod select;
mod select_error;
mod text;
mod threads;
mod topology;
mod verdict;

pub use added_modules::AddedModules;
pub use bitnet::{BITNET_VARIANTS, BitnetVariant, Microarchitecture};
pub use budget::CpuBudget;
pub use catalogue::{CatalogueError, discover, discover_packages};
pub use cgroup::{CgroupLimits, parse_cgroup_v1_quota, parse_cpu_max, parse_memory_limit};
pub use cpu::CpuFacts;
pub use cpu_list::parse_cpu_list;
pub use cpuinfo::parse_cpuinfo;
pub use family::BuildFamily;
pub use feature::CpuFeature;
pub use gpu::{GpuFacts, GpuKind, GpuReport};
pub use hardware::Hardware;
pub use library_dir::{LibraryDir, LibrarySource};
pub use memory::{MemoryFacts, parse_meminfo};
pub use module::{CPU_MODULES, CpuModule};
pub use module_file::{BASE_MODULE, ModuleFile};
pub use pick::ggml_pick;
pub use platform::{Architecture, System};
pub use rank::rank;
pub use request::VariantRequest;
pub use select::{VariantChoice, select};
pub use select_error::SelectError;
pub use threads::default_threads;
pub use topology::Topology;
pub use verdict::{LibraryBuild, Verdict};
