"""What a finished wheel must hold."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from tabagent_build.child_program import CHILD_FOLDER, child_name
from tabagent_build.errors import BuildError
from tabagent_build.library import BUILD_INFO, LIBRARY_FOLDER, missing_modules
from tabagent_build.platforms import Platform
from tabagent_build.shim import shim_name

__all__ = ["check_libraries"]

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
