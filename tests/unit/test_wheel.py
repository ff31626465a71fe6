"""The built libraries and the extension, read as ELF files: what they need, and that all of them are there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import needs
from tabagent_build.elf import glibc_needed, glibc_versions
from tabagent_build.fetching import ROOT
from tabagent_build.library import BUILD_INFO, LIBRARY_FOLDER
from tabagent_build.pin import read_pin
from tabagent_build.shim import shim_name

pytestmark = pytest.mark.wheel

SYSTEM_LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
CPU_MODULES = {
    "x64",
    "sse42",
    "sandybridge",
    "ivybridge",
    "piledriver",
    "haswell",
    "skylakex",
    "cannonlake",
    "cascadelake",
    "cooperlake",
    "icelake",
    "alderlake",
    "sapphirerapids",
    "zen4",
}


def libraries() -> list[Path]:
    found = sorted(LIBRARY_FOLDER.glob("*.so"))
    assert found, "no libraries: run `make dev`"
    return found


def extension() -> Path:
    spec = importlib.util.find_spec("tabagent._native")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def dynamic_tags(path: Path, tag: str) -> list[str]:
    attribute = {"DT_NEEDED": "needed", "DT_SONAME": "soname", "DT_RUNPATH": "runpath", "DT_RPATH": "rpath"}[tag]
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        assert isinstance(section, DynamicSection)
        return [getattr(entry, attribute) for entry in section.iter_tags(tag)]


def test_libraries_need_only_glibc_libgcc_and_each_other() -> None:
    ours = {path.name for path in libraries()}
    for path in libraries():
        assert set(dynamic_tags(path, "DT_NEEDED")) <= SYSTEM_LIBRARIES | ours, path.name


def test_extension_needs_only_glibc_and_libgcc() -> None:
    assert set(dynamic_tags(extension(), "DT_NEEDED")) <= SYSTEM_LIBRARIES


def test_extension_uses_the_stable_abi() -> None:
    assert extension().name == "_native.abi3.so"


def test_every_cpu_module_of_the_platform_is_there() -> None:
    needs.machine(platform.machine() == "x86_64", f"the list of CPU modules is for x86_64, and this is {platform.machine()}")
    names = {path.name for path in libraries()}
    found = {name for name in names if name.startswith("libggml-cpu-")}
    assert {f"libggml-cpu-{module}.so" for module in CPU_MODULES} == found, "`make every-module` builds all of them"
    assert {"libllama.so", "libggml.so", "libggml-base.so", "libggml-rpc.so"} <= names


def test_libraries_find_each_other_in_their_own_folder() -> None:
    for path in libraries():
        assert dynamic_tags(path, "DT_RPATH") == [], path.name
        # The shim is given the functions that it calls, and needs none of the others.
        assert dynamic_tags(path, "DT_RUNPATH") == ([] if path.name == shim_name() else ["$ORIGIN"]), path.name


def test_sonames_are_the_file_names_and_no_file_is_a_link() -> None:
    assert dynamic_tags(LIBRARY_FOLDER / "libllama.so", "DT_SONAME") == ["libllama.so"]
    for path in libraries():
        assert dynamic_tags(path, "DT_SONAME") in ([], [path.name])
        assert not path.is_symlink()


def test_no_file_asks_for_an_executable_stack() -> None:
    for path in [*libraries(), extension()]:
        with path.open("rb") as file:
            stacks = [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_GNU_STACK"]
            assert len(stacks) == 1, path.name
            assert stacks[0]["p_flags"] & 1 == 0, path.name


def test_libraries_are_stripped_and_hide_the_cxx_runtime() -> None:
    for path in libraries():
        with path.open("rb") as file:
            elf = ELFFile(file)
            assert elf.get_section_by_name(".symtab") is None, path.name
            assert elf.get_section_by_name(".debug_info") is None, path.name
            table = elf.get_section_by_name(".dynsym")
            assert isinstance(table, SymbolTableSection)
            exported = {symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF"}
        assert "__cxa_throw" not in exported, path.name


def test_folder_holds_each_library_once() -> None:
    info = json.loads((LIBRARY_FOLDER / BUILD_INFO).read_text(encoding="utf-8"))
    assert {path.name for path in LIBRARY_FOLDER.iterdir()} == {*info["libraries"], BUILD_INFO, shim_name(), "LICENSE.llama.cpp"}
    for name, facts in info["libraries"].items():
        content = (LIBRARY_FOLDER / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (facts["size"], facts["sha256"]), name
    assert sum(facts["size"] for facts in info["libraries"].values()) < 40_000_000


def test_build_info_states_the_glibc_that_the_files_need() -> None:
    info = json.loads((LIBRARY_FOLDER / BUILD_INFO).read_text(encoding="utf-8"))
    needed = glibc_needed(libraries())
    assert info["glibc"] == f"{needed[0]}.{needed[1]}"
    present = os.confstr("CS_GNU_LIBC_VERSION")
    assert present is not None
    assert needed <= tuple(map(int, present.split()[1].split(".")))
    assert (2, 36) not in glibc_versions(LIBRARY_FOLDER / "libllama.so")


def test_libraries_name_the_versions_of_the_pin() -> None:
    needs.machine("TABAGENT_LLAMA_CPP_SRC" not in os.environ, "the libraries are not the pinned ones: `TABAGENT_LLAMA_CPP_SRC` is set")
    pin = read_pin()
    base = (LIBRARY_FOLDER / "libggml-base.so").read_bytes()
    assert b"\0" + pin.commit.encode() + b"\0" in base
    assert b"\0" + pin.ggml_version.encode() + b"\0" in base
    assert pin.version.encode() in (LIBRARY_FOLDER / "libllama.so").read_bytes()


def test_licence_of_llama_cpp_is_carried() -> None:
    carried = (LIBRARY_FOLDER / "LICENSE.llama.cpp").read_text(encoding="utf-8")
    assert carried == (ROOT / "licenses" / "llama.cpp.txt").read_text(encoding="utf-8")
    copyright_line = next(line for line in carried.splitlines() if line.startswith("Copyright"))
    assert copyright_line in (ROOT / "NOTICE").read_text(encoding="utf-8")
