"""Linking for systems with an older glibc than the one of the machine that builds.

A program needs the versions of symbols that it was linked with, not those that it could do with. glibc keeps old versions of its symbols for ever,
so its own files tell what an older one had. `glibc_stubs` writes libraries that have the names and versions of that one and no code, and the linker
takes them in place of the machine's. What compilers, headers and libstdc++ of a newer system take for granted comes from `glibc_compat`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from tabagent_build.cache import finished_folder
from tabagent_build.commands import answer, run
from tabagent_build.elf import parse_version, text_of_version
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching

__all__ = ["GLIBC_VARIABLE", "glibc_stubs", "stub_flags", "wanted_glibc"]

GLIBC_VARIABLE: Final = "TABAGENT_GLIBC"
"""Names the glibc that the libraries and programs must do with, such as `2.28`; without it, it is the machine's."""

COMPAT: Final = Path(__file__).parent / "glibc_compat"

MOVED: Final = {
    "libpthread.so.0": re.compile(r"_{0,2}pthread_|sem_|mtx_|cnd_|thrd_|tss_|call_once$"),
    "libdl.so.2": re.compile(r"dl"),
    "librt.so.1": re.compile(r"aio_|mq_|__mq_|timer_|shm_|lio_"),
}
"""Where functions were before glibc 2.34 took them into libc.so.6, which shows by a version of theirs that is as new."""

STAYED: Final = {"__libc_start_main"}
"""What got a newer version where it was."""

SCRIPT: Final = """GROUP ( {libc} libtabagent-compat.a libc_nonshared.a AS_NEEDED ( {others} {loader} ) )
"""
LOADERS: Final = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}


@dataclass(frozen=True)
class Symbol:
    """A symbol as a stub has it."""

    name: str
    version: tuple[int, ...]
    is_data: bool
    size: int

    def assembly(self) -> str:
        """What defines it."""
        version = text_of_version(self.version)
        if self.is_data:
            place, kind, body = ".data", "@object" if platform.machine() == "x86_64" else "%object", f".space {max(self.size, 1)}"
        else:
            place, kind, body = ".text", "@function" if platform.machine() == "x86_64" else "%function", ".space 1"
        label = f"stub_{self.name}"
        head = f"{place}\n.globl {label}\n.type {label}, {kind}\n.size {label}, {max(self.size, 1)}\n"
        return f"{head}{label}: {body}\n.symver {label}, {self.name}@@@{version}\n"


def wanted_glibc() -> tuple[int, ...] | None:
    """The glibc that `TABAGENT_GLIBC` names; None where nothing is said.

    Raises:
        BuildError: it names none.
    """
    stated = os.environ.get(GLIBC_VARIABLE, "").strip()
    if not stated:
        return None
    version = parse_version(f"GLIBC_{stated}")
    if version is None or version < (2, 17):
        message = f"`{GLIBC_VARIABLE}={stated}` names no glibc; give a version from 2.17 on, such as `2.28`"
        raise BuildError(message)
    return version


def glibc_stubs(wanted: tuple[int, ...], compiler: tuple[str, ...]) -> Path:
    """The folder, in the cache, for `stub_flags`: with stubs of glibc's libraries as they were in a version.

    Raises:
        BuildError: this machine has no glibc, or the compiler fails.
    """
    loader = LOADERS.get(platform.machine())
    if loader is None:
        message = f"`{GLIBC_VARIABLE}` is known on {' and '.join(LOADERS)} only, and this is `{platform.machine()}`; leave it away"
        raise BuildError(message)
    libraries = {name: _library(name, compiler) for name in ("libc.so.6", "libm.so.6")}
    sources = sorted(COMPAT.glob("*.c"))
    parts = [Path(__file__).read_text(encoding="utf-8"), *(path.read_text(encoding="utf-8") for path in sources), str(wanted)]
    parts += [*(fetching.sha256_of(path) for path in libraries.values()), answer([*compiler, "--version"])]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def make(work: Path) -> None:
        stubs: dict[str, list[Symbol]] = {name: [] for name in (*libraries, *MOVED)}
        for name, path in libraries.items():
            for stub, symbol in _symbols_of(name, path, wanted):
                stubs[stub].append(symbol)
        for name, symbols in stubs.items():
            _write_stub(work, name, symbols, compiler)
            if name != "libc.so.6":
                shutil.copy2(work / name, work / f"{name.partition('.so')[0]}.so")
        objects = [work / f"{path.stem}.o" for path in sources]
        for source, compiled in zip(sources, objects, strict=True):
            run([*compiler, "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull-compare", "-c", str(source), "-o", str(compiled)])
        run(["ar", "rcs", str(work / "libtabagent-compat.a"), *map(str, objects)])
        others = " ".join(name for name in MOVED)
        (work / "libc.so").write_text(SCRIPT.format(libc="libc.so.6", others=others, loader=loader), encoding="ascii")

    return finished_folder(fetching.cache_folder() / "glibc" / key, make)


def stub_flags(stubs: Path) -> list[str]:
    """What the compiler is told to link with stubs.

    This system's own libgcc_s may need what they lack; that of the system on which the program runs does not.
    """
    return [f"-L{stubs}", "-Wl,--allow-shlib-undefined"]


def _library(name: str, compiler: tuple[str, ...]) -> Path:
    path = Path(answer([*compiler, f"-print-file-name={name}"]))
    if not path.is_absolute() or not path.is_file():
        message = f"this machine's compiler knows no `{name}` of glibc, so `{GLIBC_VARIABLE}` cannot be used here"
        raise BuildError(message)
    return path


def _symbols_of(library: str, path: Path, wanted: tuple[int, ...]) -> Iterable[tuple[str, Symbol]]:
    """The symbols that the library had in a version of glibc, each with the stub that it belongs into."""
    for name, found in _versions(path).items():
        old = [version for version in found if version[:2] <= wanted[:2]]
        if not old:
            continue
        stub = library
        if library == "libc.so.6" and max(found)[:2] > wanted[:2] and name not in STAYED:
            moved = [each for each, names in MOVED.items() if names.match(name)]
            if not moved:
                # Where it was is not known; whoever needs it gets an error of the linker.
                continue
            stub = moved[0]
        is_data, size = found[max(old)]
        yield stub, Symbol(name, max(old), is_data, size)


def _versions(path: Path) -> Mapping[str, dict[tuple[int, ...], tuple[bool, int]]]:
    """Each symbol of a library, with its versions, and for each whether it is data, and its size."""
    found: dict[str, dict[tuple[int, ...], tuple[bool, int]]] = {}
    with path.open("rb") as file:
        elf = ELFFile(file)
        definitions, indices, symbols = (elf.get_section_by_name(name) for name in (".gnu.version_d", ".gnu.version", ".dynsym"))
        if not (isinstance(definitions, GNUVerDefSection) and isinstance(indices, GNUVerSymSection) and isinstance(symbols, SymbolTableSection)):
            message = f"the symbols of `{path}` have no versions, so it is not glibc's; leave `{GLIBC_VARIABLE}` away"
            raise BuildError(message)
        names = {entry["vd_ndx"]: next(texts).name for entry, texts in definitions.iter_versions()}
        for index, symbol in enumerate(symbols.iter_symbols()):
            number = indices.get_symbol(index)["ndx"]
            # The names of the versions themselves are absolute symbols.
            if symbol["st_shndx"] in {"SHN_UNDEF", "SHN_ABS"} or not isinstance(number, int):
                continue
            if (version := parse_version(names[number & 0x7FFF])) is not None:
                is_data = symbol["st_info"]["type"] == "STT_OBJECT"
                found.setdefault(symbol.name, {})[version] = is_data, symbol["st_size"]
    return found


def _write_stub(work: Path, name: str, symbols: list[Symbol], compiler: tuple[str, ...]) -> None:
    """Assemble and link one stub."""
    source, script = work / f"{name}.s", work / f"{name}.map"
    source.write_text("".join(symbol.assembly() for symbol in symbols) + '.section .note.GNU-stack,""\n', encoding="ascii")
    versions = sorted({symbol.version for symbol in symbols})
    script.write_text("".join(f"{text_of_version(version)} {{ }};\n" for version in versions), encoding="ascii")
    flags = ["-shared", "-nostdlib", f"-Wl,-soname,{name}", f"-Wl,--version-script={script}"]
    run([*compiler, *flags, str(source), "-o", str(work / name)])
    source.unlink()
    script.unlink()
