"""The pin of llama.cpp, as `llama_cpp.toml` states it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tabagent_build.fetching import ROOT, fetching

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Pin", "read_pin"]


@dataclass(frozen=True)
class Pin:
    """Which source distribution holds the llama.cpp tree, and what that tree is."""

    source: fetching.IndexFile
    subtree: str
    version: str
    commit: str
    ggml_version: str


def read_pin(path: Path = ROOT / "llama_cpp.toml") -> Pin:
    """Read the pin file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    source, llama_cpp = table["source"], table["llama_cpp"]
    return Pin(
        source=fetching.IndexFile(source["project"], source["file_name"], source["sha256"]),
        subtree=source["subtree"],
        version=llama_cpp["version"],
        commit=llama_cpp["commit"],
        ggml_version=llama_cpp["ggml_version"],
    )
