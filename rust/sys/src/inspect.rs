//! What a shared library says about itself, read from its file before any of its code runs.

use crate::binary::{BinaryFacts, InspectError};
use crate::{elf, macho, pe};
use object::FileKind;
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use std::path::{Path, PathBuf};

/// Reads the facts of the shared library at `path`, whichever system it is built for. From a universal macOS file it reads the part for this processor.
///
/// # Errors
/// [`InspectError`] when it cannot be read or is not an intact 64-bit shared library.
pub fn inspect(path: &Path) -> Result<BinaryFacts, InspectError> {
    // Asked before the file is opened: opening a pipe blocks until somebody writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(InspectError::NotALibrary { reason: "not a regular file".to_owned() });
    }
    let file = std::fs::File::open(path)?;
    // SAFETY: a private read-only map; somebody who truncates the file meanwhile would break the dynamic loader just as well.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    parse(&map)
}

fn parse(data: &[u8]) -> Result<BinaryFacts, InspectError> {
    let not = |reason: String| InspectError::NotALibrary { reason };
    if data.is_empty() {
        return Err(not("the file is empty".to_owned()));
    }
    let (name, facts) = match FileKind::parse(data) {
        Ok(FileKind::Elf64) => ("ELF", elf::read(data)),
        Ok(FileKind::Pe64) => ("Windows", pe::read(data)),
        Ok(FileKind::MachO64) => ("macOS", macho::read(data)),
        Ok(FileKind::MachOFat32) => {
            ("macOS", MachOFatFile32::parse(data).and_then(|fat| part_for_host(data, fat.arches())))
        }
        Ok(FileKind::MachOFat64) => {
            ("macOS", MachOFatFile64::parse(data).and_then(|fat| part_for_host(data, fat.arches())))
        }
        Ok(kind) => return Err(not(format!("it is a {} file", kind_name(kind)))),
        Err(_) => return Err(not("unknown file format".to_owned())),
    };
    facts.map_err(|e| not(format!("damaged {name} file: {e}")))
}

/// The part of a universal macOS file for this processor, or its first part if there is none.
fn part_for_host<A: FatArch>(data: &[u8], parts: &[A]) -> object::Result<BinaryFacts> {
    let mut first = None;
    for part in parts {
        let facts = macho::read(part.data(data)?)?;
        if facts.architecture == std::env::consts::ARCH {
            return Ok(facts);
        }
        first = first.or(Some(facts));
    }
    // A universal file without parts gets the same error as an empty file.
    first.map_or_else(|| macho::read(&[]), Ok)
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Archive => "static library",
        FileKind::Elf32 => "32-bit ELF",
        FileKind::Pe32 => "32-bit Windows",
        FileKind::MachO32 => "32-bit macOS",
        FileKind::Coff | FileKind::CoffBig => "Windows object",
        _ => "foreign",
    }
}

/// The file in `directory` for a needed library, if it exists.
pub(crate) fn beside(directory: &Path, name: &str) -> Option<PathBuf> {
    let path = directory.join(name);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::BinaryFormat;

    #[test]
    fn this_very_test_program_is_readable() {
        let facts = inspect(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(facts.format, BinaryFormat::HOST);
        assert_eq!(facts.architecture, std::env::consts::ARCH);
        let system = match BinaryFormat::HOST {
            BinaryFormat::Elf => "libc.so",
            BinaryFormat::Pe => "KERNEL32.dll",
            BinaryFormat::MachO => "libSystem",
        };
        assert!(facts.needed.iter().any(|name| name.starts_with(system)), "{:?}", facts.needed);
        assert_eq!(facts.glibc.is_some(), cfg!(target_env = "gnu") && cfg!(target_os = "linux"));
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
}
