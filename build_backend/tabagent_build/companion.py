"""The backend modules of companion packages: built once for each library, toolkit and option set, then copied into the package's folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tabagent_build.cache import finished_folder, locked
from tabagent_build.cuda_toolkit import find_cuda_toolkit
from tabagent_build.elf import glibc_needed
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT, fetching
from tabagent_build.library import BUILD_INFO, LICENSE, build_library, read_info
from tabagent_build.ninja import run_ninja
from tabagent_build.pin import read_pin
from tabagent_build.progress import say
from tabagent_build.source import Source, find_source
from tabagent_build.toolchain import Toolchain, find_toolchain, job_count, run

__all__ = ["CUDA_ARCHITECTURES", "Backend", "build_companion", "install_companion"]

Backend = Literal["cuda", "vulkan"]

CMAKE_FOLDER: Final = Path(__file__).parent / "cmake" / "companion"

CUDA_ARCHITECTURES: Final = "75-real;80-real;86-real;89-real;90-real;120a-real;90-virtual"
"""The GPUs whose code the CUDA module has, from Turing to Blackwell; later ones translate the last entry when they first run it.
`TABAGENT_CUDA_ARCHITECTURES` names others, in CMake's words."""

CUDA_RPATH: Final = "$ORIGIN/../../nvidia/cu13/lib"
"""Where cuBLAS lies, seen from the module, when both are installed into one folder."""


def build_companion(backend: Backend) -> Path:
    """The folder in the cache that holds the module of a backend; builds it first if it is not there.

    Raises:
        BuildError: a tool or a header is missing, or the compilation failed.
        FetchError: the source cannot be fetched.
    """
    if backend not in get_args(Backend):
        message = f"there is no companion `{backend}`; there are {', '.join(f'`{known}`' for known in get_args(Backend))}"
        raise BuildError(message)
    pin = read_pin()
    library = build_library(pin, modules="own")
    source, toolchain = find_source(pin), find_toolchain()
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "TABAGENT_BACKEND": backend,
        "TABAGENT_COMMIT": pin.commit,
        "TABAGENT_GGML_VERSION": pin.ggml_version,
        **_options(backend),
    }
    recipe = (CMAKE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    parts = [library.name, recipe, json.dumps(options, sort_keys=True), toolchain.platform.system.link_flags, _toolkit(backend)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def make(work: Path) -> None:
        say(f"building ggml's module `{backend}` ({_duration(backend)}; the result is kept in the cache)")
        with tempfile.TemporaryDirectory(prefix=".build-", dir=work) as build, _tools(backend, source, toolchain) as tools:
            configure = [toolchain.cmake, "-S", str(CMAKE_FOLDER), "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja}"]
            configure += [f"-D{name}={value}" for name, value in {**options, **tools}.items()]
            configure += [
                f"-DTABAGENT_LLAMA_CPP_SRC={source.folder}",
                f"-DTABAGENT_LIBRARY={library}",
                f"-DCMAKE_MODULE_LINKER_FLAGS={toolchain.link_flags}",
            ]
            # The generator of shaders is a project of its own, whose CMake looks for Ninja on the PATH.
            path = os.pathsep.join([str(Path(toolchain.ninja).parent), os.environ.get("PATH", "")])
            env = {**os.environ, "PATH": path, "CC": " ".join(toolchain.c_compiler), "CXX": " ".join(toolchain.cxx_compiler)}
            run(configure, env=env)
            target = f"ggml-{backend}"
            run_ninja(toolchain.ninja, Path(build), [target], job_count(), env)
            built = Path(build) / "bin" / toolchain.platform.module_name(target)
            built.chmod(0o755)
            shutil.copy2(built, work / built.name)
        shutil.copy2(source.folder / "LICENSE", work / LICENSE)
        info = _info(work, read_info(library) or {}, options, toolchain, key)
        (work / BUILD_INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")

    return finished_folder(fetching.cache_folder() / "companions" / key, make)


def install_companion(backend: Backend) -> Path:
    """Make the companion's package hold the built module, and nothing else beside its code."""
    built = build_companion(backend)
    folder = ROOT / "companions" / backend / f"tabagent_{backend}" / "lib"
    with locked(ROOT / "build" / f"companion-{backend}"):
        fresh = Path(tempfile.mkdtemp(prefix=".lib-", dir=folder.parent))
        try:
            for path in built.iterdir():
                shutil.copy2(path, fresh / path.name)
            fresh.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return folder


def _options(backend: Backend) -> dict[str, str]:
    """CMake's options that the result depends on."""
    if backend == "cuda":
        architectures = os.environ.get("TABAGENT_CUDA_ARCHITECTURES", "").strip() or CUDA_ARCHITECTURES
        return {"CMAKE_CUDA_ARCHITECTURES": architectures, "GGML_CUDA_NCCL": "OFF", "TABAGENT_RPATH": CUDA_RPATH}
    return {"TABAGENT_RPATH": ""}


def _toolkit(backend: Backend) -> str:
    """The compiler of the backend's kernels, in words that change with it."""
    if backend == "cuda":
        return find_cuda_toolkit().version
    glslc = shutil.which("glslc")
    if glslc is None:
        message = "the compiler of shaders `glslc` is missing; `apt install glslc libvulkan-dev spirv-headers` on Debian and Ubuntu"
        raise BuildError(message)
    return f"{Path(glslc).stat().st_size} {os.environ.get('TABAGENT_VULKAN_HEADERS', '')}"


@contextlib.contextmanager
def _tools(backend: Backend, source: Source, toolchain: Toolchain) -> Iterator[Mapping[str, str]]:
    """CMake's options that say where this machine has the compiler and the headers."""
    if backend == "cuda":
        with find_cuda_toolkit().laid_out(source.folder / "ggml" / "src" / "ggml-cuda", toolchain) as folder:
            yield {"CUDAToolkit_ROOT": str(folder), "CMAKE_CUDA_COMPILER": str(folder / "bin" / "nvcc")}
    elif headers := os.environ.get("TABAGENT_VULKAN_HEADERS", "").strip():
        yield {"Vulkan_INCLUDE_DIR": headers}
    else:
        yield {}


def _duration(backend: Backend) -> str:
    if backend == "cuda":
        return "about an hour of one core for each architecture"
    return "about ten minutes on two cores"


def _info(folder: Path, library: Mapping[str, Any], options: Mapping[str, str], toolchain: Toolchain, key: str) -> dict[str, Any]:
    """State what the module is; `source` must be that of the library which it is added to."""
    files = sorted(folder.glob("*.so"))
    major, minor = glibc_needed(files)
    return {
        "key": key,
        "backend": options["TABAGENT_BACKEND"],
        "source": library["source"],
        "llama_cpp": library["llama_cpp"],
        "options": dict(options),
        "compiler": toolchain.identity.splitlines()[0],
        "glibc": f"{major}.{minor}",
        "libraries": {path.name: {"size": path.stat().st_size, "sha256": fetching.sha256_of(path)} for path in files},
    }
