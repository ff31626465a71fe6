"""llama.cpp's own benchmark, quantizer and server, built from the pinned tree against the very libraries that the package carries."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from tabagent_build.cache import finished_folder
from tabagent_build.fetching import fetching
from tabagent_build.library import build_library
from tabagent_build.ninja import run_ninja
from tabagent_build.pin import read_pin
from tabagent_build.progress import say
from tabagent_build.source import find_source
from tabagent_build.toolchain import find_toolchain, job_count, run

__all__ = ["build_bench_tools"]

CMAKE_FOLDER = Path(__file__).parent / "cmake" / "bench"
TOOLS = ("llama-bench", "llama-quantize", "llama-server")


def build_bench_tools() -> Path:
    """The folder in the cache with the tools and links to the libraries; builds it first if it is not there."""
    pin = read_pin()
    library = build_library(pin, modules="own")
    source = find_source(pin)
    toolchain = find_toolchain()
    recipe = (CMAKE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    key = hashlib.sha256(f"{library.name}\0{recipe}".encode()).hexdigest()[:20]

    def make(work: Path) -> None:
        say(f"building {', '.join(f'`{tool}`' for tool in TOOLS)} (about ten minutes on two cores; the result is kept in the cache)")
        with tempfile.TemporaryDirectory(prefix=".build-", dir=work) as build:
            configure = [toolchain.cmake, "-S", str(CMAKE_FOLDER), "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja}"]
            configure += ["-DCMAKE_BUILD_TYPE=Release", f"-DTABAGENT_LLAMA_CPP_SRC={source.folder}", f"-DTABAGENT_LIBRARY={library}"]
            configure += [f"-DTABAGENT_VERSION={pin.version}", f"-DTABAGENT_COMMIT={pin.commit}"]
            env = {**os.environ, "CC": " ".join(toolchain.c_compiler), "CXX": " ".join(toolchain.cxx_compiler)}
            run(configure, env=env)
            run_ninja(toolchain.ninja, Path(build), TOOLS, job_count(), env)
            for tool in TOOLS:
                (Path(build) / "bin" / tool).rename(work / tool)
        # ggml looks for its CPU modules beside the programs.
        for path in library.glob("*.so"):
            (work / path.name).symlink_to(path)

    return finished_folder(fetching.cache_folder() / "tools" / key, make)
