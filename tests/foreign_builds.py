"""llama.cpp builds of other times, each pinned by hash, built for the CPU alone into `foreign/` of the cache folder: what `make test-variants` runs.

The trees are those inside source distributions of the package index. A build takes 2 to 6 minutes on 2 cores and is kept; prebuilt ones are
taken out of their wheels.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tabagent._fetch import FetchError, IndexFile, cache_folder, fetch, terminal_progress

PARTS: Final = ("CMakeLists.txt", "LICENSE", "cmake", "ggml", "include", "scripts", "src")
"""What of a tree goes into libllama."""

OFF: Final = (
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_TOOLS",
    "LLAMA_BUILD_SERVER",
    "LLAMA_BUILD_COMMON",
    "LLAMA_BUILD_APP",
    "LLAMA_CURL",
    "LLAMA_OPENSSL",
    "GGML_NATIVE",
    "GGML_OPENMP",
    "GGML_LLAMAFILE",
    "GGML_CCACHE",
)
ON: Final = ("BUILD_SHARED_LIBS", "GGML_AVX2", "GGML_FMA", "GGML_F16C", "CMAKE_BUILD_WITH_INSTALL_RPATH")


@dataclass(frozen=True)
class Build:
    """A build, and what the package says that it is."""

    name: str
    source: IndexFile
    folder: str
    """The folder of the archive that holds the tree, or the libraries of a wheel."""
    build: str
    """`build` of the opened library."""
    layout: str
    """The stem of its layout."""


BUILDS: Final = (
    Build(
        "november-2024",
        IndexFile("llama-cpp-python", "llama_cpp_python-0.3.2.tar.gz", "8fbf246a55a999f45015ed0d48f91b4ae04ae959827fac1cd6ac6ec65aed2e2f"),
        "llama_cpp_python-0.3.2/vendor/llama.cpp",
        "llama.cpp b3750 to b4131",
        "b3750",
    ),
    Build(
        "august-2025",
        IndexFile("llama-cpp-python", "llama_cpp_python-0.3.16.tar.gz", "34ed0f9bd9431af045bb63d9324ae620ad0536653740e9bb163a2e1fcb973be6"),
        "llama_cpp_python-0.3.16/vendor/llama.cpp",
        "llama.cpp b6049 to b6309",
        "b6049",
    ),
    Build(
        "october-2026",
        IndexFile("xllamacpp", "xllamacpp-2026.10.11549.tar.gz", "c17ee1163006f70726abb9f72137830818f3d8cb60bfc34cb232d08428eaa22b"),
        "llama.cpp",
        "llama.cpp 0.6.0",
        "b11549",
    ),
)
"""Builds whose trees are compiled."""

PREBUILT: Final = IndexFile(
    "llama-cpp-py-sync",
    "llama_cpp_py_sync-0.11739-1cpu-py3-none-manylinux2014_x86_64.whl",
    "c97dd32b41841ab779172f9d20616cc915a73045ae5dca4b81051e6cd2751714",
)
"""A wheel with a libllama of 0.7.0 that needs glibc 2.38."""

HIDDEN: Final = IndexFile(
    "xllamacpp",
    "xllamacpp-2026.10.11549-cp314-cp314t-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "b9d341c07245b246d235a7186b0df8b892a3665fd92e37e1de606eaeff1d5265",
)
"""A wheel whose extension module has llama.cpp inside."""


def folder_of(source: IndexFile, kind: str = "lib") -> Path:
    """Where what is made of a file of the index lies."""
    return cache_folder() / "foreign" / f"{source.file_name.removesuffix('.tar.gz').removesuffix('.whl')}-{source.sha256[:8]}-{kind}"


def tree_of(build: Build) -> Path:
    """The tree of a build, unpacked; fetched first if need be."""
    destination = folder_of(build.source, "tree")
    if destination.is_dir():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tree-", dir=destination.parent) as work:
        archive = fetch(build.source, Path(work) / build.source.file_name, progress=terminal_progress(build.source.file_name))
        fresh = Path(work) / "tree"
        # Not part of the sources that are kept, and added by CMakeLists.txt all the same.
        (fresh / "vendor").mkdir(parents=True)
        (fresh / "vendor" / "CMakeLists.txt").touch()
        with tarfile.open(archive) as tar:
            for member in tar:
                path = _in_tree(member.name, build.folder)
                content = tar.extractfile(member) if path is not None and path.parts[0] in PARTS else None
                if path is None or content is None:
                    continue
                if ".." in path.parts:
                    message = f"`{archive.name}` holds the unsafe path `{member.name}`"
                    raise FetchError(message)
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
        fresh.rename(destination)
    return destination


def _in_tree(name: str, folder: str) -> PurePosixPath | None:
    """The path of an archive's member in the tree; None outside."""
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(folder).parts
    places = (at for at in range(len(parts) - len(wanted)) if parts[at : at + len(wanted)] == wanted)
    at = next(places, None)
    return None if at is None else PurePosixPath(*parts[at + len(wanted) :])


def library_of(build: Build) -> Path:
    """The folder of a build's libraries; compiled first if need be."""
    destination = folder_of(build.source)
    if destination.is_dir():
        return destination
    tree = tree_of(build)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=destination.parent) as work:
        switches = [f"-D{name}=OFF" for name in OFF] + [f"-D{name}=ON" for name in ON]
        configure = ["cmake", "-S", str(tree), "-B", f"{work}/build", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_RPATH=$ORIGIN", *switches]
        for command in (configure, ["cmake", "--build", f"{work}/build", "--parallel", "2", "--target", "llama"]):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                message = f"`{' '.join(command)}` failed:\n{(done.stdout + done.stderr)[-4000:]}"
                raise FetchError(message)
        fresh = Path(work) / "lib"
        fresh.mkdir()
        for path in Path(work, "build").rglob("*.so*"):
            shutil.copy2(path, fresh / path.name, follow_symlinks=False)
        fresh.rename(destination)
    return destination


def wheel_of(source: IndexFile) -> Path:
    """The shared libraries of a wheel, in one folder."""
    destination = folder_of(source)
    if destination.is_dir():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=destination.parent) as work:
        wheel = fetch(source, Path(work) / source.file_name, progress=terminal_progress(source.file_name))
        fresh = Path(work) / "lib"
        fresh.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = PurePosixPath(member).name
                if ".so" in name:
                    (fresh / name).write_bytes(archive.read(member))
        fresh.rename(destination)
    return destination


def main() -> int:
    """Fetch and build what is not there, and print the folders."""
    try:
        folders = [*(library_of(build) for build in BUILDS), wheel_of(PREBUILT), wheel_of(HIDDEN)]
    except FetchError as error:
        sys.stderr.write(f"cannot make the builds of llama.cpp: {error}\n")
        return 1
    sys.stdout.writelines(f"{folder}\n" for folder in folders)
    return 0


if __name__ == "__main__":
    sys.exit(main())
