"""The compilers, CMake and Ninja, and how many jobs the machine bears."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tabagent_build.commands import INSTALL_COMPILER, answer, run
from tabagent_build.errors import BuildError
from tabagent_build.old_glibc import glibc_stubs, stub_flags, wanted_glibc
from tabagent_build.platforms import Platform, host_platform

__all__ = ["Toolchain", "find_toolchain", "run"]

BYTES_PER_JOB = 1_500_000_000
"""What one compilation of llama.cpp's largest units takes at most, rounded up."""


@dataclass(frozen=True)
class Toolchain:
    """Everything that a build of llama.cpp runs."""

    c_compiler: tuple[str, ...]
    cxx_compiler: tuple[str, ...]
    cmake: str
    ninja: str
    identity: str
    """The compilers' own words about their version and target, and the flags of the environment."""
    platform: Platform
    """What they compile for."""
    runtime: tuple[Path, ...] = ()
    """Libraries of the compiler that every library needs beside it, as the compiler has them: some with all their symbols."""
    stubs: Path | None = None
    """The folder with stubs of an older glibc, where `TABAGENT_GLIBC` names one."""

    @property
    def link_flags(self) -> str:
        """What the linker is told for every library."""
        return " ".join([self.platform.system.link_flags, *(stub_flags(self.stubs) if self.stubs else ())])

    def strip(self, library: Path, out: Path) -> None:
        """Write a copy of a library without what only a debugger reads: that is nine tenths of Debian's `libstdc++-6.dll`.

        Raises:
            BuildError: the compiler has no `strip`, or it fails.
        """
        run([answer([*self.cxx_compiler, "-print-prog-name=strip"]), "--strip-all", "-o", str(out), str(library)])


WINDOWS_RUNTIME = ("libgcc_s_seh-1.dll", "libstdc++-6.dll", "libwinpthread-1.dll")


def find_toolchain(platform: Platform | None = None) -> Toolchain:
    """Find the compilers (`CC`, `CXX`, else the usual names; those of the platform for another one), CMake and Ninja.

    Raises:
        BuildError: one of them is missing; the text says what to install.
    """
    platform = platform or host_platform()
    if platform.cross is None:
        c_compiler = _compiler("CC", ("cc", "gcc", "clang"), "C")
        cxx_compiler = _compiler("CXX", ("c++", "g++", "clang++"), "C++")
    else:
        c_compiler, cxx_compiler = [(_cross_compiler(name),) for name in platform.cross.compilers]
    facts = [answer([*command, flag]) for command in (c_compiler, cxx_compiler) for flag in ("--version", "-dumpmachine")]
    facts += [f"{name}={os.environ.get(name, '')}" for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")]
    runtime = [_runtime(cxx_compiler, name) for name in WINDOWS_RUNTIME if platform.system.name == "Windows"]
    wanted = wanted_glibc() if platform.cross is None and platform.system.name == "Linux" else None
    stubs = None if wanted is None else glibc_stubs(wanted, c_compiler)
    if stubs is not None:
        facts.append(f"glibc {stubs.name}")
    tools = _tool("cmake", "CMAKE_BIN_DIR"), _tool("ninja", "BIN_DIR")
    return Toolchain(c_compiler, cxx_compiler, *tools, "\n".join(facts), platform, tuple(runtime), stubs)


def job_count() -> int:
    """Jobs to run at once: `CMAKE_BUILD_PARALLEL_LEVEL`, else the usable cores, fewer where memory is short."""
    stated = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    if not sys.platform.startswith("linux"):
        return os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0))
    # Not `SC_AVPHYS_PAGES`: it leaves out what the page cache would give back.
    match = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return cores if match is None else max(1, min(cores, int(match[1]) * 1024 // BYTES_PER_JOB))


def _compiler(variable: str, names: tuple[str, ...], language: str) -> tuple[str, ...]:
    if stated := os.environ.get(variable, "").strip():
        command = tuple(shlex.split(stated))
        if shutil.which(command[0]) is None:
            message = f"the {language} compiler `{command[0]}` that `{variable}` names does not exist; {INSTALL_COMPILER}"
            raise BuildError(message)
        return command
    for name in names:
        if found := shutil.which(name):
            return (found,)
    message = f"no {language} compiler found (tried `{'`, `'.join(names)}`); {INSTALL_COMPILER}"
    raise BuildError(message)


def _cross_compiler(name: str) -> str:
    if found := shutil.which(name):
        return found
    message = f"the compiler `{name}` is missing; on Debian: `apt install g++-mingw-w64-x86-64-posix g++-aarch64-linux-gnu`"
    raise BuildError(message)


def _runtime(compiler: tuple[str, ...], name: str) -> Path:
    """A library of the compiler's own, which tells only the bare name where it has none."""
    path = Path(answer([*compiler, f"-print-file-name={name}"]))
    beside = Path(shutil.which(compiler[0]) or compiler[0]).parent / name
    for candidate in (path, beside):
        if candidate.is_absolute() and candidate.is_file():
            return candidate
    message = f"`{shlex.join(compiler)}` has no `{name}`; on Windows llama.cpp is built by mingw-w64's GCC with POSIX threads and SEH"
    raise BuildError(message)


def _tool(name: str, folder_attribute: str) -> str:
    """CMake or Ninja: from its package on the index if installed here, else from the PATH."""
    try:
        module = importlib.import_module(name)
        candidate = Path(getattr(module, folder_attribute)) / name
        if candidate.is_file():
            return str(candidate)
    except (ImportError, AttributeError):
        pass
    if found := shutil.which(name):
        return found
    message = f"`{name}` is missing; run `pip install {name}`"
    raise BuildError(message)
