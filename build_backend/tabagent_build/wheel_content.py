"""What a finished wheel must hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tabagent_build.child_program import CHILD_FOLDER, child_name
from tabagent_build.elf import glibc_versions
from tabagent_build.errors import BuildError
from tabagent_build.library import BUILD_INFO, LIBRARY_FOLDER, missing_modules
from tabagent_build.platforms import Platform
from tabagent_build.shim import shim_name

__all__ = ["check_glibc", "check_libraries", "unpacked_binaries"]

FOLDER = f"tabagent/{LIBRARY_FOLDER.name}"


def check_libraries(wheel: Path, platform: Platform | None = None) -> None:
    """Refuse, and remove, a wheel whose libraries are not all there, or not those that it says they are.

    The folder that they are packed from belongs to the source tree, where another build may change it at any time.

    Raises:
        BuildError: the wheel is not complete.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        if f"{FOLDER}/{BUILD_INFO}" not in names:
            faults = [f"`{BUILD_INFO}`"]
        else:
            info = json.loads(archive.read(f"{FOLDER}/{BUILD_INFO}"))
            faults = [f"the module `{module}`" for module in missing_modules(info)]
            for name, facts in info["libraries"].items():
                path = f"{FOLDER}/{name}"
                if path not in names or hashlib.sha256(archive.read(path)).hexdigest() != facts["sha256"]:
                    faults.append(f"the `{name}` that `{BUILD_INFO}` describes")
        beside = (f"{FOLDER}/{shim_name(platform)}", f"tabagent/{CHILD_FOLDER.name}/{child_name(platform)}")
        faults += [f"`{name}`" for name in beside if name not in names]
    if faults:
        wheel.unlink()
        message = f"the wheel `{wheel.name}` lacks {', '.join(faults)}, because `{LIBRARY_FOLDER}` was changed meanwhile; build it again"
        raise BuildError(message)


def check_glibc(wheel: Path, wanted: tuple[int, ...]) -> None:
    """Refuse, and remove, a wheel one of whose binary files needs a newer glibc than the wanted one.

    Raises:
        BuildError: one does.
    """
    with unpacked_binaries(wheel) as paths:
        newest = {path.name: max(glibc_versions(path), default=(0, 0)) for path in paths}
    if too_new := [f"`{name}` needs GLIBC_{major}.{minor}" for name, (major, minor) in sorted(newest.items()) if (major, minor) > wanted[:2]]:
        wheel.unlink()
        message = f"the wheel `{wheel.name}` does not run with glibc {'.'.join(map(str, wanted))}: {', '.join(too_new)}"
        raise BuildError(message)


@contextlib.contextmanager
def unpacked_binaries(wheel: Path) -> Iterator[list[Path]]:
    """The libraries, the extension and the program of a wheel, in a folder for the block."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        programs = f"tabagent/{CHILD_FOLDER.name}/"
        yield [Path(archive.extract(name, folder)) for name in archive.namelist() if name.endswith(".so") or name.startswith(programs)]
