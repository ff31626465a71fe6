"""llama.cpp's shared libraries: built once for each pin, option set and compiler, then copied beside the package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tabagent_build.cache import finished_folder, locked
from tabagent_build.elf import glibc_needed
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT, fetching
from tabagent_build.pin import Pin, read_pin
from tabagent_build.source import Source, find_source
from tabagent_build.toolchain import Toolchain, find_toolchain, job_count, run

__all__ = ["BUILD_INFO", "LIBRARY_FOLDER", "build_library", "install_library"]

LIBRARY_FOLDER = ROOT / "python" / "tabagent" / "lib"
"""Where the package looks for its bundled libraries."""

BUILD_INFO = "build-info.json"
"""Beside the libraries: what they were built from, and the hash of each."""

CMAKE_FOLDER = Path(__file__).parent / "cmake"

OPTIONS = {
    "BUILD_SHARED_LIBS": "ON",
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_BACKEND_DL": "ON",
    "GGML_CCACHE": "OFF",
    "GGML_CPU_ALL_VARIANTS": "ON",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_RPC": "ON",
    "LLAMA_BUILD_COMMON": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
}

LINK_FLAGS = "-static-libstdc++ -Wl,--exclude-libs,libstdc++.a -Wl,--gc-sections -Wl,-z,noexecstack -s"
"""The used part of the C++ runtime goes in and stays private; symbols that only a debugger reads stay out."""


def build_library(pin: Pin | None = None) -> Path:
    """The folder in the cache that holds the built libraries; builds them first if it is not there.

    Raises:
        BuildError: the platform is not supported, a tool is missing, or the compilation failed.
        FetchError: the source cannot be fetched.
    """
    if not sys.platform.startswith("linux"):
        message = f"llama.cpp can be built for Linux only so far, and this is `{sys.platform}`"
        raise BuildError(message)
    pin = pin or read_pin()
    toolchain = find_toolchain()
    source = find_source(pin)
    key = _key(source, toolchain)

    def make(work: Path) -> None:
        _compile(source, pin, toolchain, work)
        _write_build_info(work, source, pin, toolchain, key)

    return finished_folder(
        fetching.cache_folder() / "libraries" / key,
        make,
        waiting=lambda: _say("another build of the same libraries is running; waiting for it"),
    )


def install_library(folder: Path = LIBRARY_FOLDER) -> Path:
    """Make `folder` hold the built libraries, and nothing else; quick when it does already."""
    built = build_library()
    # The lock lies outside the package, or the wheel would carry it.
    with locked(ROOT / "build" / folder.name):
        ours, theirs = folder / BUILD_INFO, built / BUILD_INFO
        if ours.is_file() and ours.read_bytes() == theirs.read_bytes() and _sizes(folder) == _sizes(built):
            return folder
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            shutil.copytree(built, fresh, dirs_exist_ok=True)
            fresh.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return folder


def _key(source: Source, toolchain: Toolchain) -> str:
    """The name of the result: a hash of all that it depends on."""
    parts = [source.identity, toolchain.identity, json.dumps(OPTIONS, sort_keys=True), LINK_FLAGS]
    parts += [f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(CMAKE_FOLDER.iterdir()) if path.is_file()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _compile(source: Source, pin: Pin, toolchain: Toolchain, destination: Path) -> None:
    """Configure and build into a temporary folder, then move the libraries to `destination`."""
    start = time.monotonic()
    _say(f"building llama.cpp from `{source.folder}` (a few minutes; the result is kept in the cache)")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=destination) as build:
        configure = [toolchain.cmake, "-S", str(CMAKE_FOLDER), "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja}"]
        configure += [f"-D{name}={value}" for name, value in OPTIONS.items()]
        configure += [f"-DTABAGENT_LLAMA_CPP_SRC={source.folder}"]
        configure += [f"-DCMAKE_{kind}_LINKER_FLAGS={LINK_FLAGS}" for kind in ("SHARED", "MODULE")]
        if source.is_pinned:
            # The tree is no repository. CMake must not ask git, which would find whatever repository lies around the cache.
            configure += ["-DGIT_EXE=OFF", "-DGIT_EXECUTABLE=OFF", f"-DLLAMA_BUILD_COMMIT={pin.commit}", "-DLLAMA_BUILD_NUMBER=0"]
        env = {name: value for name, value in os.environ.items() if name not in {"GIT_DIR", "GIT_WORK_TREE"}}
        env["GIT_CEILING_DIRECTORIES"] = str(source.folder.parent)
        env["CC"], env["CXX"] = " ".join(toolchain.c_compiler), " ".join(toolchain.cxx_compiler)
        run(configure, env=env)
        run([toolchain.cmake, "--build", build, "--parallel", str(job_count()), "--target", "tabagent_libraries"], env=env)
        built = sorted(path for path in (Path(build) / "bin").iterdir() if path.is_file() and not path.is_symlink() and ".so" in path.name)
        for path in built:
            path.chmod(0o755)
            path.rename(destination / path.name)
    shutil.copyfile(source.folder / "LICENSE", destination / "LICENSE.llama.cpp")
    names = {path.name for path in built}
    if not {"libllama.so", "libggml.so", "libggml-base.so"} <= names:
        message = f"the build of `{source.folder}` ended without `libllama.so`, `libggml.so` and `libggml-base.so`: it made {sorted(names)}"
        raise BuildError(message)
    _say(f"built {len(built)} libraries in {time.monotonic() - start:.0f} s")


def _write_build_info(folder: Path, source: Source, pin: Pin, toolchain: Toolchain, key: str) -> None:
    """State what the libraries are; nothing in it names this machine's folders."""
    libraries = sorted(folder.glob("*.so"))
    major, minor = glibc_needed(libraries)
    info = {
        "key": key,
        "source": {"pinned": source.is_pinned, "file_name": pin.source.file_name if source.is_pinned else None, "identity": source.identity},
        "llama_cpp": {"version": pin.version, "commit": pin.commit, "ggml_version": pin.ggml_version} if source.is_pinned else None,
        "options": OPTIONS,
        "compiler": toolchain.identity.splitlines()[0],
        "glibc": f"{major}.{minor}",
        "libraries": {path.name: {"size": path.stat().st_size, "sha256": fetching.sha256_of(path)} for path in libraries},
    }
    (folder / BUILD_INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def _say(text: str) -> None:
    """Tell the one who waits, past the build frontend's own output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
