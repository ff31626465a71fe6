"""The C++ shim between Rust and llama.cpp: a small library of its own, so that a change of it does not build llama.cpp again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from tabagent_build.cache import finished_folder
from tabagent_build.fetching import fetching
from tabagent_build.platforms import Platform, host_platform
from tabagent_build.toolchain import Toolchain, run

__all__ = ["build_shim", "shim_name"]

SOURCE: Final = Path(__file__).parent / "shim" / "tabagent_shim.cpp"
FLAGS: Final = ("-std=c++17", "-O2", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


def shim_name(platform: Platform | None = None) -> str:
    """Its name beside libllama, on a platform (None: this one)."""
    return (platform or host_platform()).library_name("tabagent-shim")


def build_shim(toolchain: Toolchain) -> Path:
    """The shim in the cache, compiled first if it is not there.

    Raises:
        BuildError: the compilation failed.
    """
    name = shim_name(toolchain.platform)
    flags = [*FLAGS, *toolchain.link_flags.split()]
    if toolchain.platform.system.name == "Linux":
        flags += ["-fPIC", f"-Wl,-soname,{name}"]
    parts = [*(path.read_text(encoding="utf-8") for path in sorted(SOURCE.parent.iterdir())), " ".join(flags), toolchain.identity]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def make(work: Path) -> None:
        run([*toolchain.cxx_compiler, *flags, str(SOURCE), "-o", str(work / name)])

    return finished_folder(fetching.cache_folder() / "shims" / key, make) / name
