"""llama.cpp's CUDA module for tabagent, which finds it by the entry point `cuda` of the group `tabagent.variants`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

__all__ = ["companion"]

CUBLAS = ("libcublasLt.so.13", "libcublas.so.13")
"""In the order in which to load them: the second needs the first."""


def companion() -> dict[str, Any]:
    """Where the module lies, and where the libraries of the package `nvidia-cublas` lie that it needs."""
    try:
        spec = importlib.util.find_spec("nvidia.cu13")
    except ImportError:
        spec = None
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        files = [Path(place) / "lib" / name for name in CUBLAS]
        if all(file.is_file() for file in files):
            return {"path": Path(__file__).parent / "lib", "needed": files}
    # The system's own, if there are some; else the error of loading the module names what is missing.
    return {"path": Path(__file__).parent / "lib", "needed": []}
