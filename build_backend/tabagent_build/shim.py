"""The C++ shim between Rust and llama.cpp: a small library of its own, so that a change of it does not build llama.cpp again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from tabagent_build.build_tree import LINK_FLAGS
from tabagent_build.cache import finished_folder
from tabagent_build.fetching import fetching
from tabagent_build.toolchain import Toolchain, run

__all__ = ["SHIM", "build_shim"]

SHIM: Final = "libtabagent-shim.so"
"""Its name beside libllama."""

SOURCE: Final = Path(__file__).parent / "shim" / "tabagent_shim.cpp"
FLAGS: Final = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", *LINK_FLAGS.split())


def build_shim(toolchain: Toolchain) -> Path:
    """The shim in the cache, compiled first if it is not there.

    Raises:
        BuildError: the compilation failed.
    """
    parts = [SOURCE.read_text(encoding="utf-8"), " ".join(FLAGS), toolchain.identity]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def make(work: Path) -> None:
        run([*toolchain.cxx_compiler, *FLAGS, f"-Wl,-soname,{SHIM}", str(SOURCE), "-o", str(work / SHIM)])

    return finished_folder(fetching.cache_folder() / "shims" / key, make) / SHIM
