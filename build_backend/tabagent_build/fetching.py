"""The package's own fetching code, loaded by path.

`tabagent._fetch` cannot be imported here: the package is not built yet. It imports the standard library and `tabagent._cache_path`, which is loaded
under that very name, so that Python finds it without the package.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["ROOT", "fetching"]

ROOT = Path(__file__).resolve().parents[2]
"""The root of the source tree."""

if TYPE_CHECKING:
    from tabagent import _fetch as fetching
else:

    def _load(name: str, file: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "python" / "tabagent" / file)
        module = importlib.util.module_from_spec(spec)
        # `dataclasses` looks its module up by name.
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    if "tabagent" not in sys.modules:
        _load("tabagent._cache_path", "_cache_path.py")
    fetching = _load("_tabagent_fetch", "_fetch.py")
