//! PE files: the DLLs of Windows.

use crate::binary::{BinaryFacts, BinaryFormat};
use object::pe;
use object::read::pe::PeFile64;

pub(crate) fn read(data: &[u8]) -> object::Result<BinaryFacts> {
    let file = PeFile64::parse(data)?;
    let machine = file.nt_headers().file_header.machine.get(object::LittleEndian);
    let mut facts = BinaryFacts::new(BinaryFormat::Pe, machine_name(machine));
    if let Some(table) = file.export_table()? {
        for name in table.name_pointers() {
            facts.export(table.name_from_pointer(name.get(object::LittleEndian))?);
        }
    }
    if let Some(table) = file.import_table()? {
        let mut libraries = table.descriptors()?;
        while let Some(library) = libraries.next()? {
            let name = table.name(library.name.get(object::LittleEndian))?;
            facts.needed.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(facts)
}

fn machine_name(machine: pe::Machine) -> String {
    match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => "x86_64".to_owned(),
        pe::IMAGE_FILE_MACHINE_ARM64 => "aarch64".to_owned(),
        other => format!("PE machine {}", other.0),
    }
}
