"""What ELF files ask of the system that they run on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

__all__ = ["glibc_needed", "glibc_text", "glibc_versions"]

OLDEST = (2, 17)
"""The first glibc that a `manylinux_2_NN` tag of today's installers names."""


def glibc_versions(path: Path) -> set[tuple[int, int]]:
    """All `GLIBC_x.y` versions that the file's symbols need."""
    found = set()
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, needed in section.iter_versions():
                    for version in needed:
                        if match := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version.name):
                            found.add((int(match[1]), int(match[2])))
    return found


def glibc_needed(paths: Iterable[Path]) -> tuple[int, int]:
    """The glibc version that all the files together need, at least 2.17."""
    return max({OLDEST}.union(*(glibc_versions(path) for path in paths)))


def glibc_text(paths: Iterable[Path]) -> str:
    """The version of `glibc_needed` in words, such as `2.34`."""
    major, minor = glibc_needed(paths)
    return f"{major}.{minor}"
