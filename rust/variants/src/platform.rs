//! Processor architectures and operating systems, as far as a choice of library depends on them.

use std::fmt;

use serde::Serialize;

/// A processor architecture.
///
/// ```
/// assert_eq!(tabagent_variants::Architecture::X86_64.to_string(), "x86-64");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86: Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// Anything else: no CPU module of ggml is known for it here.
    Other,
}

impl Architecture {
    /// The architecture this program was compiled for, and so the one of every library it can load.
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self::X86_64,
            "aarch64" => Self::Aarch64,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "aarch64",
            Self::Other => "another architecture",
        })
    }
}

/// An operating system, which decides the names of shared libraries.
///
/// ```
/// assert_eq!(tabagent_variants::System::Windows.library_file(), "llama.dll");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Linux and everything else with ELF libraries.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
}

impl System {
    /// Every system, in the order in which a directory is searched for their library names.
    pub const ALL: [Self; 3] = [Self::Linux, Self::Macos, Self::Windows];

    /// The system this program was compiled for.
    pub fn host() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_vendor = "apple") {
            Self::Macos
        } else {
            Self::Linux
        }
    }

    /// The file name of the llama.cpp library.
    pub fn library_file(self) -> &'static str {
        match self {
            Self::Linux => "libllama.so",
            Self::Macos => "libllama.dylib",
            Self::Windows => "llama.dll",
        }
    }

    /// The name of the system's directory in a `BitnetRelease` tree.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Macos => "macos",
            Self::Windows => "windows",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "Linux",
            Self::Macos => "macOS",
            Self::Windows => "Windows",
        })
    }
}
