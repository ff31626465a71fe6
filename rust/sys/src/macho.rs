//! Mach-O files: the dylibs of macOS.

use crate::binary::{BinaryFacts, BinaryFormat};
use object::Endianness;
use object::macho;
use object::read::macho::{MachHeader, Nlist as _};

pub(crate) fn read(data: &[u8]) -> object::Result<BinaryFacts> {
    type Header = macho::MachHeader64<Endianness>;
    let header = Header::parse(data, 0)?;
    let endian = header.endian()?;
    let mut facts = BinaryFacts::new(BinaryFormat::MachO, cpu_name(header.cputype(endian)));
    let mut commands = header.load_commands(endian, data, 0)?;
    while let Some(command) = commands.next()? {
        if let Some(library) = command.dylib()? {
            // Of an install name such as `@rpath/libggml.dylib`, the loader looks for the last part in several directories.
            let name = String::from_utf8_lossy(command.string(endian, library.dylib.name)?).into_owned();
            facts.needed.push(name.rsplit('/').next().unwrap_or(&name).to_owned());
        } else if let Some(table) = command.symtab()? {
            let symbols = table.symbols::<Header, _>(endian, data)?;
            for symbol in
                symbols.iter().filter(|s| s.is_definition() && s.n_type().is_ext() && !s.n_type().is_pext())
            {
                let name = symbol.name(endian, symbols.strings())?;
                // The C compiler puts an underscore before every name, and `dlsym` takes the name without it.
                facts.export(name.strip_prefix(b"_").unwrap_or(name));
            }
        }
    }
    Ok(facts)
}

fn cpu_name(cpu: macho::CpuType) -> String {
    match cpu {
        macho::CPU_TYPE_X86_64 => "x86_64".to_owned(),
        macho::CPU_TYPE_ARM64 => "aarch64".to_owned(),
        other => format!("Mach-O processor {}", other.0),
    }
}
