"""The llama.cpp tree to build from: the pinned one, or a checkout of the user's."""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tabagent_build.cache import finished_folder
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.pin import Pin
from tabagent_build.progress import say

__all__ = ["Source", "find_source", "pinned_tree", "unpack_subtree"]

OVERRIDE = "TABAGENT_LLAMA_CPP_SRC"
REMEDY = f"or set `{OVERRIDE}` to the folder of a llama.cpp checkout"
DIGESTED = ("CMakeLists.txt", "cmake", "ggml", "include", "src")
"""What of a checkout goes into the libraries."""


@dataclass(frozen=True)
class Source:
    """A llama.cpp tree."""

    folder: Path
    identity: str
    """Changes when anything that goes into the libraries changes."""
    is_pinned: bool


def find_source(pin: Pin) -> Source:
    """The tree that `TABAGENT_LLAMA_CPP_SRC` names, used as it is; else the pinned one, fetched if it is not in the cache."""
    if chosen := os.environ.get(OVERRIDE):
        folder = Path(chosen).expanduser().absolute()
        if not (folder / "include" / "llama.h").is_file() or not (folder / "ggml" / "CMakeLists.txt").is_file():
            message = f"`{OVERRIDE}` is `{folder}`, which holds no `include/llama.h` and `ggml/CMakeLists.txt`; give the root of a llama.cpp checkout"
            raise BuildError(message)
        return Source(folder, _digest(folder), is_pinned=False)
    return Source(pinned_tree(pin), pin.source.sha256, is_pinned=True)


def pinned_tree(pin: Pin) -> Path:
    """The pinned tree, unpacked in the cache; fetched first if need be."""
    cache = fetching.cache_folder()

    def make(work: Path) -> None:
        archive = cache / "downloads" / pin.source.file_name
        say(f"fetching llama.cpp {pin.version} (`{pin.source.file_name}`)")
        fetching.fetch(pin.source, archive, progress=fetching.terminal_progress(pin.source.file_name), remedy=REMEDY)
        unpack_subtree(archive, pin.subtree, work)
        archive.unlink()

    return finished_folder(cache / "src" / f"llama.cpp-{pin.version}-{pin.source.sha256[:12]}", make)


def unpack_subtree(archive: Path, subtree: str, destination: Path) -> None:
    """Unpack one folder of a tar archive: plain files and folders only, nothing outside `destination`."""
    root = PurePosixPath(subtree)
    found = False
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if not path.is_relative_to(root) or path == root:
                continue
            if ".." in path.parts:
                message = f"`{archive.name}` holds the unsafe path `{member.name}`; do not use this file"
                raise BuildError(message)
            if not (member.isfile() or member.isdir()):
                continue
            found = True
            member.name = str(path.relative_to(root))
            if hasattr(tarfile, "data_filter"):
                tar.extract(member, destination, filter="data")
            else:
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                tar.extract(member, destination, set_attrs=False)
    if not found:
        message = f"`{archive.name}` holds no folder `{subtree}`; correct `llama_cpp.toml`"
        raise BuildError(message)


def _digest(folder: Path) -> str:
    """A digest of the names, sizes and times of a checkout's files that go into the libraries."""
    digest = hashlib.sha256(str(folder).encode())
    for name in DIGESTED:
        top = folder / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                facts = path.stat()
                digest.update(f"{path.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
