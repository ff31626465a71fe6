//! GPUs, as the backend modules of ggml see them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuKind {
    /// One with memory of its own.
    Discrete,
    /// One that uses the memory of the machine.
    Integrated,
    /// No GPU but a program that pretends to be one, such as Mesa's llvmpipe: slower than the CPU modules.
    Software,
}

impl fmt::Display for GpuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Software => "software",
        })
    }
}

/// One GPU, as a child process saw it through one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuFacts {
    /// Its name, as users write it: `cuda:0`.
    pub name: String,
    /// Its product name.
    pub description: String,
    /// What it is.
    pub kind: GpuKind,
    /// Who made it, as far as its name tells: `nvidia`, `amd`, `intel`, `apple` or `qualcomm`.
    pub vendor: Option<String>,
    /// Bytes of its memory; 0 where unknown.
    pub memory_total: u64,
    /// The version of its driver, where it can be read.
    pub driver: Option<String>,
    /// NVIDIA's number for what it can do, such as `9.0`.
    pub compute_capability: Option<String>,
    /// Why it must not be used: it computed something else than the CPU. `None` for one that was proven, and for software.
    pub fault: Option<String>,
}

impl GpuFacts {
    /// Who made a device of this name.
    pub fn vendor_of(description: &str) -> Option<String> {
        const SIGNS: [(&str, &str); 12] = [
            ("nvidia", "nvidia"),
            ("geforce", "nvidia"),
            ("quadro", "nvidia"),
            ("tesla", "nvidia"),
            ("amd", "amd"),
            ("radeon", "amd"),
            ("intel", "intel"),
            ("apple", "apple"),
            ("adreno", "qualcomm"),
            ("qualcomm", "qualcomm"),
            ("mali", "arm"),
            ("immortalis", "arm"),
        ];
        let words = description.to_lowercase();
        SIGNS.iter().find(|(sign, _)| words.contains(sign)).map(|(_, vendor)| (*vendor).to_owned())
    }
}

/// What a child process said of the GPUs that a backend module finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuReport {
    /// These.
    Found(Vec<GpuFacts>),
    /// It could not be asked, or its child ended: in words that follow on the module's name.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_are_told_by_names() {
        for (name, vendor) in [
            ("NVIDIA H100 80GB HBM3", Some("nvidia")),
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", Some("amd")),
            ("Intel(R) Arc(tm) A770 Graphics (DG2)", Some("intel")),
            ("llvmpipe (LLVM 15.0.6, 256 bits)", None),
        ] {
            assert_eq!(GpuFacts::vendor_of(name).as_deref(), vendor, "{name}");
        }
    }
}
