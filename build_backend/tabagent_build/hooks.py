"""The hooks of PEP 517 and PEP 660: maturin's, with the libraries put in place before and the platform tag made honest after."""

from __future__ import annotations

import contextlib
import platform
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import maturin

from tabagent_build.child_program import CHILD_FOLDER, install_child
from tabagent_build.elf import glibc_needed
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.library import install_library
from tabagent_build.wheel_content import check_libraries
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
        install_child("release")
        name: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
        wheel = Path(wheel_directory) / name
        check_libraries(wheel)
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
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        programs = f"tabagent/{CHILD_FOLDER.name}/"
        paths = [Path(archive.extract(name, folder)) for name in archive.namelist() if name.endswith(".so") or name.startswith(programs)]
        major, minor = glibc_needed(paths)
    return f"manylinux_{major}_{minor}_{platform.machine()}"


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Ends the process with the sentence of an error: a build frontend would show a traceback around it."""
    try:
        yield
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"\ntabagent: {error}\n\n")
        sys.exit(1)
