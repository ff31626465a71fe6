//! Everything known about the machine.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::budget::CpuBudget;
use crate::cgroup::CgroupLimits;
use crate::cpu::CpuFacts;
use crate::cpuinfo::parse_cpuinfo;
use crate::memory::MemoryFacts;
use crate::platform::{Architecture, System};
use crate::topology::Topology;

/// The machine as this process sees it. GPUs are not part of it: a loaded library lists its own devices.
///
/// ```
/// let hardware = tabagent_variants::Hardware::probe();
/// println!("{} threads: {}", hardware.budget.usable, hardware.budget.reason);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hardware {
    /// The operating system.
    pub system: System,
    /// The processor.
    pub cpu: CpuFacts,
    /// How much of the processor may be used.
    pub budget: CpuBudget,
    /// Main memory, or `None` where the system does not tell.
    pub memory: Option<MemoryFacts>,
}

impl Hardware {
    /// Reads this machine: `CPUID` on x86-64, and on Linux `/proc`, `/sys` and the control groups. Takes about a
    /// millisecond and never fails; what cannot be found out is left unknown.
    pub fn probe() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut hardware = Self::assemble(Path::new("/"), threads, own_cpu());
        hardware.memory = hardware.memory.or_else(MemoryFacts::of_system);
        hardware
    }

    /// Reads the same files below another directory, and nothing of this machine but its operating system (and its
    /// architecture if `proc/cpuinfo` does not tell): for tests, and for looking at a machine from files that it sent.
    pub fn probe_at(root: &Path) -> Self {
        Self::assemble(root, 1, None)
    }

    fn assemble(root: &Path, threads: usize, own: Option<CpuFacts>) -> Self {
        let text = fs::read_to_string(root.join("proc/cpuinfo")).ok();
        let listed = text.as_deref().map(parse_cpuinfo);
        let topology = Topology::read_at(root);
        let limits = CgroupLimits::read_at(root);
        let known = listed.as_ref().map_or(threads, |cpu| cpu.logical_cores);
        let cpu = own.or(listed).unwrap_or_else(|| CpuFacts::unknown(Architecture::host()));
        let logical_cores = if topology.online.is_empty() { known } else { topology.online.len() };
        let physical_cores = topology.cores_among(&topology.online);
        Self {
            system: System::host(),
            cpu: CpuFacts { physical_cores, logical_cores, ..cpu },
            budget: CpuBudget::new(&topology, known, limits.cpu_quota),
            memory: MemoryFacts::read_at(root, &limits),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::unnecessary_wraps, reason = "the other architectures have no such source")]
fn own_cpu() -> Option<CpuFacts> {
    Some(crate::cpuid::probe())
}

/// On Linux `/proc/cpuinfo` has the bits that ggml asks for, and more; elsewhere the standard library asks the system. It does not detect SME.
#[cfg(all(target_arch = "aarch64", not(target_os = "linux")))]
#[expect(clippy::unnecessary_wraps, reason = "the other architectures have no such source")]
fn own_cpu() -> Option<CpuFacts> {
    use crate::feature::CpuFeature;
    use std::arch::is_aarch64_feature_detected as detected;
    let features: std::collections::BTreeSet<CpuFeature> = [
        (CpuFeature::Dotprod, detected!("dotprod")),
        (CpuFeature::Fp16VectorArithmetic, detected!("fp16")),
        (CpuFeature::Sve, detected!("sve")),
        (CpuFeature::MatmulInt8, detected!("i8mm")),
        (CpuFeature::Sve2, detected!("sve2")),
    ]
    .into_iter()
    .filter_map(|(feature, present)| present.then_some(feature))
    .collect();
    Some(CpuFacts { reported: features.clone(), features, ..CpuFacts::unknown(Architecture::Aarch64) })
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", not(target_os = "linux")))))]
fn own_cpu() -> Option<CpuFacts> {
    None
}
