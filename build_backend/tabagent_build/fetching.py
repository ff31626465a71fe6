"""The package's own fetching code, loaded by path.

`tabagent._fetch` cannot be imported here: the package is not built yet. The file imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

__all__ = ["ROOT", "fetching"]

ROOT = Path(__file__).resolve().parents[2]
"""The root of the source tree."""

if TYPE_CHECKING:
    from tabagent import _fetch as fetching
else:
    _NAME = "_tabagent_fetch"
    _spec = importlib.util.spec_from_file_location(_NAME, ROOT / "python" / "tabagent" / "_fetch.py")
    fetching = importlib.util.module_from_spec(_spec)
    # `dataclasses` looks its module up by name.
    sys.modules[_NAME] = fetching
    _spec.loader.exec_module(fetching)
