"""The hooks of PEP 517 and PEP 660: maturin's, with the libraries put in place before and the platform tag made honest after."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import maturin

from tabagent_build.child_program import install_child
from tabagent_build.elf import OLDEST, glibc_needed
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.library import install_library
from tabagent_build.old_glibc import stub_flags, wanted_glibc
from tabagent_build.toolchain import find_toolchain
from tabagent_build.wheel_content import check_glibc, check_libraries, unpacked_binaries
from tabagent_build.wheel_tag import retag

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any] | None

# CMake, Ninja and the rest are in `build-system.requires`; maturin adds a Rust installer where cargo is missing.
build_sdist = maturin.build_sdist
get_requires_for_build_editable = maturin.get_requires_for_build_editable
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the libraries, with every CPU module, and the wheel that holds them."""
    with _one_sentence():
        install_library(modules="all")
        with _linked_alike():
            install_child("release")
            name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
        wheel = Path(wheel_directory) / name
        check_libraries(wheel)
        if (wanted := wanted_glibc()) is not None and sys.platform.startswith("linux"):
            check_glibc(wheel, wanted)
        return retag(wheel, platform_tag(wheel)).name


def build_editable(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the libraries, with this machine's CPU modules, and the extension in place, and a wheel that points to the source tree."""
    with _one_sentence():
        install_library(modules="own")
        install_child("editable")
        name: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
        return name


def platform_tag(wheel: Path) -> str:
    """The tag of the platform: on Linux the `manylinux_2_NN` that all ELF files of the wheel together deserve, else maturin's own.

    maturin looks at the extension alone; the libraries beside it may need a newer glibc.
    """
    if not sys.platform.startswith("linux"):
        return wheel.stem.rsplit("-", 1)[1]
    with unpacked_binaries(wheel) as paths:
        major, minor = max(glibc_needed(paths), (wanted_glibc() or OLDEST)[:2])
    return f"manylinux_{major}_{minor}_{platform.machine()}"


@contextlib.contextmanager
def _linked_alike() -> Iterator[None]:
    """Rust's programs are linked for the same glibc as the libraries."""
    stubs = find_toolchain().stubs
    if stubs is None:
        yield
        return
    before = os.environ.get("RUSTFLAGS")
    os.environ["RUSTFLAGS"] = " ".join([*([before] if before else ()), *(f"-C link-arg={flag}" for flag in stub_flags(stubs))])
    try:
        yield
    finally:
        if before is None:
            del os.environ["RUSTFLAGS"]
        else:
            os.environ["RUSTFLAGS"] = before


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Ends the process with the sentence of an error: a build frontend would show a traceback around it."""
    try:
        yield
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"\ntabagent: {error}\n\n")
        sys.exit(1)
