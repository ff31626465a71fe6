//! What a shared library says about itself, read from its file before any of its code runs.

use object::elf;
use object::read::elf::{Dyn, FileHeader, SectionHeader as _, Sym};
use object::{Endianness, FileKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Facts of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BinaryFacts {
    /// The processor it was built for, as Rust names it (`x86_64`), or the ELF machine number.
    pub architecture: String,
    /// Libraries it needs, by soname.
    pub needed: Vec<String>,
    /// The newest glibc symbol version it needs, as `(2, 38)`.
    pub glibc: Option<(u32, u32)>,
    /// Defined dynamic symbols.
    pub exported: BTreeSet<String>,
}

/// A file that is no loadable shared library.
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

/// Reads the facts of the ELF file at `path`.
///
/// # Errors
/// [`InspectError`] when it cannot be read or is not an intact ELF shared library.
pub fn inspect(path: &Path) -> Result<BinaryFacts, InspectError> {
    // Asked before the file is opened: opening a pipe waits for somebody who writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(InspectError::NotALibrary { reason: "not a regular file".to_owned() });
    }
    let file = std::fs::File::open(path)?;
    // SAFETY: a private read-only map; somebody who truncates the file meanwhile would break the dynamic loader just as well.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    parse(&map)
}

fn parse(data: &[u8]) -> Result<BinaryFacts, InspectError> {
    if data.is_empty() {
        return Err(InspectError::NotALibrary { reason: "the file is empty".to_owned() });
    }
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => {
            return Err(InspectError::NotALibrary { reason: "it is a 32-bit ELF file".to_owned() });
        }
        Ok(kind) => {
            return Err(InspectError::NotALibrary { reason: format!("it is a {} file", kind_name(kind)) });
        }
        Err(_) => return Err(InspectError::NotALibrary { reason: "unknown file format".to_owned() }),
    }
    parse_elf(data).map_err(|e| InspectError::NotALibrary { reason: format!("damaged ELF file: {e}") })
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Archive => "static library",
        FileKind::Coff | FileKind::CoffBig | FileKind::Pe32 | FileKind::Pe64 => "Windows",
        FileKind::MachO32 | FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64 => "macOS",
        _ => "foreign",
    }
}

fn parse_elf(data: &[u8]) -> object::Result<BinaryFacts> {
    type Header = elf::FileHeader64<Endianness>;
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let mut facts =
        BinaryFacts { architecture: machine_name(header.e_machine(endian)), ..BinaryFacts::default() };
    let sections = header.sections(endian, data)?;

    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        if symbol.st_shndx(endian) != elf::SHN_UNDEF
            && let Ok(name) = std::str::from_utf8(symbol.name(endian, symbols.strings())?)
        {
            facts.exported.insert(name.to_owned());
        }
    }
    for section in sections.iter() {
        if let Some((entries, link)) = section.dynamic(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            for entry in entries {
                if entry.tag(endian) == elf::DT_NEEDED {
                    let name = entry.string(endian, strings)?;
                    facts.needed.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        if let Some((mut needs, link)) = section.gnu_verneed(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            while let Some((_, mut versions)) = needs.next()? {
                while let Some(version) = versions.next()? {
                    let name = version.name(endian, strings)?;
                    facts.glibc = facts.glibc.max(glibc_version(&String::from_utf8_lossy(name)));
                }
            }
        }
    }
    Ok(facts)
}

/// `GLIBC_2.38` → `(2, 38)`.
fn glibc_version(name: &str) -> Option<(u32, u32)> {
    let (major, rest) = name.strip_prefix("GLIBC_")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "x86".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "riscv64".to_owned(),
        elf::EM_PPC64 => "powerpc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        elf::EM_LOONGARCH => "loongarch64".to_owned(),
        other => format!("ELF machine {}", other.0),
    }
}

/// The directory-local file for a needed soname, if it exists.
pub(crate) fn beside(directory: &Path, soname: &str) -> Option<PathBuf> {
    let path = directory.join(soname);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_program_is_readable() {
        let facts = inspect(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(facts.architecture, std::env::consts::ARCH);
        assert!(facts.needed.iter().any(|n| n.starts_with("libc.so")));
        assert!(facts.glibc.is_some());
    }

    #[test]
    fn every_truncation_is_an_error_or_a_result_but_never_a_panic() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in (0..4096).step_by(7).chain((4096..whole.len()).step_by(whole.len() / 50)) {
            let _ = parse(&whole[..len]);
        }
        assert!(parse(&whole[..100]).is_err());
    }

    #[test]
    fn other_files_are_named() {
        let text = parse(b"#!/bin/sh\necho hello\n").unwrap_err().to_string();
        assert_eq!(text, "it is not a shared library for this platform (unknown file format)");
        assert!(parse(b"").unwrap_err().to_string().contains("empty"));
        assert!(parse(b"!<arch>\n        padding").unwrap_err().to_string().contains("static library"));
    }

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version("GLIBC_2.38") > glibc_version("GLIBC_2.4"));
        assert_eq!(glibc_version("GLIBCXX_3.4.30"), None);
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
    }
}
