"""NVIDIA's compiler and libraries: those of the packages on the index, or of a CUDA toolkit on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tabagent_build.errors import BuildError
from tabagent_build.toolchain import Toolchain, run

__all__ = ["CudaToolkit", "find_cuda_toolkit"]

PACKAGES: Final = "nvidia.cu13"
"""Where the packages `nvidia-cuda-nvcc` and its like of CUDA 13 put their files."""

INSTALL: Final = (
    "install `nvidia-cuda-nvcc`, `nvidia-nvvm`, `nvidia-cuda-crt`, `nvidia-cuda-cccl`, `nvidia-cuda-runtime` and `nvidia-cublas`, all of CUDA 13.0, "
    "or name the folder of a CUDA toolkit in `CUDA_PATH`"
)


@dataclass(frozen=True)
class CudaToolkit:
    """A folder with `bin/nvcc` and what belongs to it."""

    folder: Path
    version: str
    is_whole: bool
    """Whether it is laid out as linkers and CMake expect; packages of the index are not."""

    @contextmanager
    def laid_out(self, source: Path, toolchain: Toolchain) -> Iterator[Path]:
        """A folder laid out as CMake expects. `source` is the tree of the CUDA backend, whose calls of the driver a stub of it has."""
        if self.is_whole:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(prefix="tabagent-cuda-") as name:
            view = Path(name)
            for part in ("bin", "lib"):
                (view / part).mkdir()
                for path in (self.folder / part).iterdir():
                    (view / part / path.name).symlink_to(path)
            for part in ("include", "nvvm"):
                (view / part).symlink_to(self.folder / part)
            (view / "lib64").symlink_to("lib")
            # Linkers look for names without a version.
            for path in (view / "lib").glob("lib*.so.*"):
                (view / "lib" / f"{path.name.partition('.so')[0]}.so").symlink_to(path.name)
            _make_driver_stub(view / "lib" / "stubs", source, toolchain)
            yield view


def find_cuda_toolkit() -> CudaToolkit:
    """Find a CUDA toolkit: `CUDA_PATH`, else the packages of the index, else the one of the `nvcc` on the PATH.

    Raises:
        BuildError: there is none.
    """
    stated = os.environ.get("CUDA_PATH", "").strip()
    nvcc = shutil.which("nvcc")
    places = [Path(stated)] if stated else [*_of_packages(), *([Path(nvcc).resolve().parent.parent] if nvcc else [])]
    for folder in places:
        if (folder / "bin" / "nvcc").is_file():
            is_whole = any((folder / lib / "libcublas.so").exists() for lib in ("lib64", "lib"))
            return CudaToolkit(folder, _version(folder / "bin" / "nvcc"), is_whole)
    message = f"there is no CUDA toolkit{f' in `{stated}`' if stated else ''}; {INSTALL}"
    raise BuildError(message)


def _of_packages() -> list[Path]:
    try:
        spec = importlib.util.find_spec(PACKAGES)
    except ImportError:
        return []
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _version(nvcc: Path) -> str:
    done = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"release [\d.]+, V([\d.]+)", done.stdout)
    if match is None:
        message = f"`{nvcc} --version` does not tell a version: `{(done.stdout + done.stderr).strip()[-200:]}`; {INSTALL}"
        raise BuildError(message)
    return match[1]


def _make_driver_stub(folder: Path, source: Path, toolchain: Toolchain) -> None:
    """A library that stands for the driver's while the module is linked: it has the names of the functions, and is never loaded."""
    calls = {name for path in source.glob("*.cu*") for name in re.findall(r"\b(cu(?:Ctx|Device|Get|Mem)[A-Z]\w+)\(", path.read_text("utf-8"))}
    folder.mkdir()
    stub = folder / "stub.c"
    stub.write_text("".join(f"void {name}(void) {{}}\n" for name in sorted(calls)), encoding="utf-8")
    run([*toolchain.c_compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", str(stub), "-o", str(folder / "libcuda.so")])
