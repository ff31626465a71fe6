//! The facts that are read from the file of a shared library.

use std::collections::BTreeSet;

/// The file format of a shared library; it decides which systems can load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryFormat {
    /// Linux and most other Unix systems.
    Elf,
    /// Windows.
    Pe,
    /// macOS.
    MachO,
}

impl BinaryFormat {
    /// The format of the system that this program was compiled for.
    pub const HOST: Self = if cfg!(windows) {
        Self::Pe
    } else if cfg!(target_vendor = "apple") {
        Self::MachO
    } else {
        Self::Elf
    };
}

impl std::fmt::Display for BinaryFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Elf => "ELF (Linux)",
            Self::Pe => "PE (Windows)",
            Self::MachO => "Mach-O (macOS)",
        })
    }
}

/// Facts of a shared library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryFacts {
    /// Its file format.
    pub format: BinaryFormat,
    /// The processor it was built for, as Rust names it (`x86_64`), or the format's own number for it.
    pub architecture: String,
    /// Libraries it needs, by the file names that the loader looks for.
    pub needed: Vec<String>,
    /// The newest glibc symbol version it needs, as `(2, 38)`.
    pub glibc: Option<(u32, u32)>,
    /// The symbols that it defines for others, as `dlsym` or `GetProcAddress` knows them.
    pub exported: BTreeSet<String>,
}

impl BinaryFacts {
    pub(crate) fn new(format: BinaryFormat, architecture: String) -> Self {
        Self { format, architecture, needed: Vec::new(), glibc: None, exported: BTreeSet::new() }
    }

    /// Adds an exported symbol; skips names that are not UTF-8, since this crate asks for none of them.
    pub(crate) fn export(&mut self, name: &[u8]) {
        if let Ok(name) = std::str::from_utf8(name) {
            self.exported.insert(name.to_owned());
        }
    }
}

/// A file that is not a loadable shared library.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file cannot be opened or mapped.
    #[error("{source}")]
    Io {
        /// The operating system's reason.
        #[from]
        source: std::io::Error,
    },
    /// It is something else, or it is damaged.
    #[error("it is not a shared library for this platform ({reason})")]
    NotALibrary {
        /// What the file is.
        reason: String,
    },
}
