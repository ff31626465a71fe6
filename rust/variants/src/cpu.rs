//! What a processor is and can do.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::feature::CpuFeature;
use crate::platform::Architecture;

/// The processor: its identity, its instruction set extensions and its cores.
///
/// ```
/// let cpu = tabagent_variants::Hardware::probe().cpu;
/// assert!(cpu.features.is_subset(&cpu.reported));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuFacts {
    /// The maker as the processor reports it (`GenuineIntel`, `AuthenticAMD`, `ARM`), empty where unknown.
    pub vendor: String,
    /// The marketing name, empty where unknown.
    pub model: String,
    /// The family number with its extension added (x86), or `None`.
    pub family: Option<u32>,
    /// The model number with its extension added (x86), or `None`.
    pub model_number: Option<u32>,
    /// The architecture.
    pub architecture: Architecture,
    /// Features that programs may use: the processor has them and the operating system saves their registers.
    pub features: BTreeSet<CpuFeature>,
    /// Features the processor reports, whatever the operating system does with them. ggml checks only these (its source
    /// says so in a comment), so on a system that does not save AVX-512 registers it would pick a module that crashes.
    pub reported: BTreeSet<CpuFeature>,
    /// Physical cores of the machine, or `None` where the topology is unknown.
    pub physical_cores: Option<usize>,
    /// Processors the operating system schedules on (hardware threads), at least 1.
    pub logical_cores: usize,
}

impl CpuFacts {
    /// A processor of which only the architecture is known: no features, one core.
    pub fn unknown(architecture: Architecture) -> Self {
        Self {
            vendor: String::new(),
            model: String::new(),
            family: None,
            model_number: None,
            architecture,
            features: BTreeSet::new(),
            reported: BTreeSet::new(),
            physical_cores: None,
            logical_cores: 1,
        }
    }
}
