"""What ELF files ask of the system that they run on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

__all__ = ["OLDEST", "glibc_needed", "glibc_text", "glibc_versions", "parse_version", "text_of_version"]

OLDEST = (2, 17)
"""The first glibc that a `manylinux_2_NN` tag of today's installers names."""


def parse_version(name: str) -> tuple[int, ...] | None:
    """The numbers of a version of glibc's symbols, such as `GLIBC_2.2.5`; None of any other."""
    match = re.fullmatch(r"GLIBC_(\d+(?:\.\d+){1,2})", name)
    return None if match is None else tuple(map(int, match[1].split(".")))


def text_of_version(version: tuple[int, ...]) -> str:
    """The name of a version whose numbers these are."""
    return f"GLIBC_{'.'.join(map(str, version))}"


def glibc_versions(path: Path) -> set[tuple[int, int]]:
    """All `GLIBC_x.y` versions that the file's symbols need."""
    found = set()
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, needed in section.iter_versions():
                    for version in needed:
                        if (numbers := parse_version(version.name)) is not None:
                            found.add((numbers[0], numbers[1]))
    return found


def glibc_needed(paths: Iterable[Path]) -> tuple[int, int]:
    """The glibc version that all the files together need, at least 2.17."""
    return max({OLDEST}.union(*(glibc_versions(path) for path in paths)))


def glibc_text(paths: Iterable[Path]) -> str:
    """The version of `glibc_needed` in words, such as `2.34`."""
    major, minor = glibc_needed(paths)
    return f"{major}.{minor}"
