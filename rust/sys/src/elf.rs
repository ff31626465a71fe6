//! ELF files: the shared libraries of Linux and most other Unix systems.

use crate::binary::{BinaryFacts, BinaryFormat};
use object::Endianness;
use object::elf;
use object::read::elf::{Dyn, FileHeader, SectionHeader as _, Sym};

pub(crate) fn read(data: &[u8]) -> object::Result<BinaryFacts> {
    type Header = elf::FileHeader64<Endianness>;
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let mut facts = BinaryFacts::new(BinaryFormat::Elf, machine_name(header.e_machine(endian)));
    let sections = header.sections(endian, data)?;

    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        if symbol.st_shndx(endian) != elf::SHN_UNDEF {
            facts.export(symbol.name(endian, symbols.strings())?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version("GLIBC_2.38") > glibc_version("GLIBC_2.4"));
        assert_eq!(glibc_version("GLIBCXX_3.4.30"), None);
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
    }
}
