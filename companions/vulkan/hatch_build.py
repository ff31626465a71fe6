"""Builds the module before the wheel, and gives the wheel the tag of its platform."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BACKEND = "vulkan"


class CustomBuildHook(BuildHookInterface[Any]):
    """Puts the built module into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module, or take it from the cache."""
        sys.path.insert(0, str(Path(self.root).parents[1] / "build_backend"))
        from tabagent_build.companion import install_companion  # noqa: PLC0415 (found by the line above)
        from tabagent_build.elf import glibc_needed  # noqa: PLC0415

        folder = install_companion(BACKEND)
        major, minor = glibc_needed(folder.glob("*.so"))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_{major}_{minor}_{platform.machine()}"
