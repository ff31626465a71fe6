//! Libraries of every system are read on every system: of those made here, byte by byte, it is known what they hold.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use tabagent_sys::{
    BinaryFacts, BinaryFormat, InspectError, LoadFailure, inspect, library_file_name, locate,
};

/// Bytes with numbers at known places.
struct Image(Vec<u8>);

impl Image {
    fn of(length: usize) -> Self {
        Self(vec![0; length])
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn u16(&mut self, at: usize, value: u16) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }
}

/// A DLL for AMD64 that exports `llama_decode` and imports from `ggml.dll`; its one section lies at the same place in file and memory.
fn dll() -> Vec<u8> {
    const PE: usize = 0x40;
    const OPTIONAL: usize = PE + 24;
    const DIRECTORIES: usize = OPTIONAL + 112;
    const SECTION: usize = OPTIONAL + 240;
    const DATA: usize = 0x200;
    let mut image = Image::of(0x400);
    image.bytes(0, b"MZ").u32(0x3c, PE as u32).bytes(PE, b"PE\0\0");
    // Machine, sections, size of the optional header, characteristics (executable, DLL).
    image.u16(PE + 4, 0x8664).u16(PE + 6, 1).u16(PE + 20, 240).u16(PE + 22, 0x2002);
    // PE32+, alignments, number of directories.
    image.u16(OPTIONAL, 0x20b).u32(OPTIONAL + 32, 0x200).u32(OPTIONAL + 36, 0x200).u32(OPTIONAL + 108, 16);
    image.u32(DIRECTORIES, DATA as u32).u32(DIRECTORIES + 4, 0x80);
    image.u32(DIRECTORIES + 8, DATA as u32 + 0x80).u32(DIRECTORIES + 12, 0x40);
    image.bytes(SECTION, b".data");
    for (offset, value) in [(8, 0x200), (12, DATA), (16, 0x200), (20, DATA)] {
        image.u32(SECTION + offset, value as u32);
    }
    // One exported function: counts, then where addresses, names and ordinals are.
    image.u32(DATA + 16, 1).u32(DATA + 20, 1).u32(DATA + 24, 1);
    image.u32(DATA + 28, DATA as u32 + 40).u32(DATA + 32, DATA as u32 + 44).u32(DATA + 36, DATA as u32 + 48);
    image.u32(DATA + 40, 0x3f0).u32(DATA + 44, DATA as u32 + 50).bytes(DATA + 50, b"llama_decode\0");
    // One import descriptor and the empty one that ends the list.
    image.u32(DATA + 0x80, DATA as u32 + 0xe0).u32(DATA + 0x8c, DATA as u32 + 0xc0);
    image.u32(DATA + 0x90, DATA as u32 + 0xe0).bytes(DATA + 0xc0, b"ggml.dll\0");
    image.0
}

/// A dylib that defines `_llama_decode` and a private symbol, uses `_malloc`, and needs `@rpath/libggml.dylib`.
fn dylib(cpu: u32) -> Vec<u8> {
    const LOAD: usize = 32;
    const SYMTAB: usize = LOAD + 48;
    const SYMBOLS: usize = SYMTAB + 24;
    const STRINGS: usize = SYMBOLS + 3 * 16;
    let strings = b"\0_llama_decode\0_hidden\0_malloc\0";
    let mut image = Image::of(STRINGS + strings.len());
    // Magic, processor, MH_DYLIB, two commands.
    image.u32(0, 0xfeed_facf).u32(4, cpu).u32(12, 6).u32(16, 2).u32(20, 48 + 24);
    image.u32(LOAD, 0xc).u32(LOAD + 4, 48).u32(LOAD + 8, 24).bytes(LOAD + 24, b"@rpath/libggml.dylib");
    image.u32(SYMTAB, 2).u32(SYMTAB + 4, 24).u32(SYMTAB + 8, SYMBOLS as u32).u32(SYMTAB + 12, 3);
    image.u32(SYMTAB + 16, STRINGS as u32).u32(SYMTAB + 20, strings.len() as u32);
    // External and defined in section 1; defined there but not external; external and undefined.
    for (index, (name, kind, section)) in [(1, 0x0f, 1), (15, 0x0e, 1), (23, 0x01, 0)].into_iter().enumerate()
    {
        image.u32(SYMBOLS + 16 * index, name).bytes(SYMBOLS + 16 * index + 4, &[kind, section]);
    }
    image.bytes(STRINGS, strings);
    image.0
}

const X86_64: u32 = 0x0100_0007;
const ARM64: u32 = 0x0100_000c;

/// One file for two processors, Intel's first.
fn fat_dylib() -> Vec<u8> {
    let parts = [(X86_64, dylib(X86_64)), (ARM64, dylib(ARM64))];
    let mut image = Image::of(0x300);
    image.bytes(0, &0xcafe_babe_u32.to_be_bytes()).bytes(4, &2_u32.to_be_bytes());
    for (index, (cpu, part)) in parts.iter().enumerate() {
        let (at, offset) = (8 + 20 * index, 0x100 * (index + 1));
        image.bytes(at, &cpu.to_be_bytes()).bytes(at + 8, &(offset as u32).to_be_bytes());
        image.bytes(at + 12, &(part.len() as u32).to_be_bytes()).bytes(offset, part);
    }
    image.0
}

fn read(bytes: &[u8]) -> Result<BinaryFacts, InspectError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    inspect(file.path())
}

fn one(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

#[test]
fn a_windows_library_tells_processor_imports_and_exports() {
    let facts = read(&dll()).unwrap();
    assert_eq!((facts.format, facts.architecture.as_str()), (BinaryFormat::Pe, "x86_64"));
    assert_eq!(facts.needed, ["ggml.dll"]);
    assert_eq!((facts.exported, facts.glibc), (one("llama_decode"), None));
    let mut other = dll();
    other[0x44..0x46].copy_from_slice(&0xaa64_u16.to_le_bytes());
    assert_eq!(read(&other).unwrap().architecture, "aarch64");
}

#[test]
fn a_macos_library_tells_processor_imports_and_exports() {
    let facts = read(&dylib(ARM64)).unwrap();
    assert_eq!((facts.format, facts.architecture.as_str()), (BinaryFormat::MachO, "aarch64"));
    assert_eq!(facts.needed, ["libggml.dylib"]);
    assert_eq!((facts.exported, facts.glibc), (one("llama_decode"), None));
}

#[test]
fn a_macos_library_for_several_processors_is_read_for_this_one() {
    let facts = read(&fat_dylib()).unwrap();
    assert_eq!(facts.architecture, std::env::consts::ARCH);
    assert_eq!(facts.exported, one("llama_decode"));
    let mut empty = fat_dylib();
    empty[4..8].fill(0);
    assert!(read(&empty).unwrap_err().to_string().contains("damaged macOS file"));
}

#[test]
fn a_cut_or_altered_file_is_an_error_or_a_result_but_never_a_panic() {
    for whole in [dll(), dylib(X86_64), fat_dylib()] {
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        for at in (0..whole.len()).filter(|at| whole[*at] != 0) {
            for value in [0, 0x7f, 0xff] {
                let mut altered = whole.clone();
                altered[at] = value;
                let _ = read(&altered);
            }
        }
    }
}

#[test]
fn a_library_of_another_system_is_refused_before_it_runs() {
    let foreign = if cfg!(windows) { dylib(X86_64) } else { dll() };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(library_file_name()), foreign).unwrap();
    let error = locate(dir.path()).unwrap_err();
    assert!(matches!(error, LoadFailure::WrongFormat { .. }), "{error}");
    let expected = BinaryFormat::HOST.to_string();
    assert!(error.to_string().ends_with(&format!("and this system loads {expected}")), "{error}");
}
