"""The compilers, CMake and Ninja, and how many jobs the machine bears."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tabagent_build.errors import BuildError

__all__ = ["Toolchain", "find_toolchain", "run"]

BYTES_PER_JOB = 1_500_000_000
"""What one compilation of llama.cpp's largest units takes at most, rounded up."""

INSTALL_COMPILER = (
    "install one: `apt install build-essential` on Debian and Ubuntu, `dnf install gcc gcc-c++` on Fedora; "
    "or name yours in `CC` and `CXX`; or install a ready wheel of tabagent, which needs no compiler"
)


@dataclass(frozen=True)
class Toolchain:
    """Everything that a build of llama.cpp runs."""

    c_compiler: tuple[str, ...]
    cxx_compiler: tuple[str, ...]
    cmake: str
    ninja: str
    identity: str
    """The compilers' own words about their version and target, and the flags of the environment."""


def find_toolchain() -> Toolchain:
    """Find the compilers (`CC`, `CXX`, else the usual names), CMake and Ninja.

    Raises:
        BuildError: one of them is missing; the text says what to install.
    """
    c_compiler = _compiler("CC", ("cc", "gcc", "clang"), "C")
    cxx_compiler = _compiler("CXX", ("c++", "g++", "clang++"), "C++")
    facts = [_answer([*command, flag]) for command in (c_compiler, cxx_compiler) for flag in ("--version", "-dumpmachine")]
    facts += [f"{name}={os.environ.get(name, '')}" for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")]
    return Toolchain(c_compiler, cxx_compiler, _tool("cmake", "CMAKE_BIN_DIR"), _tool("ninja", "BIN_DIR"), "\n".join(facts))


def run(command: list[str], *, env: dict[str, str] | None = None) -> None:
    """Run one step of a build, its output kept back and shown, at its end, only if it fails."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-60:])
        message = f"`{shlex.join(command)}` failed with exit status {done.returncode}; its last lines:\n{tail}"
        raise BuildError(message)


def job_count() -> int:
    """Jobs to run at once: `CMAKE_BUILD_PARALLEL_LEVEL`, else the usable cores, fewer where memory is short."""
    stated = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
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


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"`{shlex.join(command)}` does not work ({error}); {INSTALL_COMPILER}"
        raise BuildError(message) from error
    return done.stdout.strip()


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
