"""Opening GGUF files."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, Final, Literal

from tabagent._arguments import as_callback, as_choice, as_path, type_name
from tabagent.gguf.metadata import GgufMetadata
from tabagent.gguf.tensor import GgufTensors

if TYPE_CHECKING:
    from tabagent import _native

__all__ = ["Check", "GgufFile", "Hashes", "Progress", "Source", "open"]

Check = Literal["format", "model", "data", "full"]
Progress = Callable[[int, int], object]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

CHECKS: Final = {"format": (False, False), "model": (True, False), "data": (False, True), "full": (True, True)}


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of what a model holds, in hexadecimal."""

    files: dict[str, str]
    """Of each file's bytes, by its name: what `sha256sum` prints."""
    weights: str
    """Of the data of all tensors in order: the same whatever the metadata says and however the model is split."""
    tensors: dict[str, str]
    """Of each tensor's data, by its name."""


class GgufFile:
    """An open GGUF file, or all parts of a model in several. Made by `tabagent.gguf.open`.

    A file is mapped, not read. It stays mapped as long as this object or anything that came from it lives; nothing has to be closed.
    """

    def __init__(self, native: _native.GgufFile) -> None:
        self._native = native

    @cached_property
    def metadata(self) -> GgufMetadata:
        """The key-value pairs: a mapping in the file's order, decoded when read."""
        return GgufMetadata(self._native)

    @cached_property
    def tensors(self) -> GgufTensors:
        """The tensors of all parts, in order: by number or by name."""
        return GgufTensors(self._native)

    @property
    def version(self) -> int:
        """The version of the format: 1, 2 or 3."""
        return self._native.version

    @property
    def byte_order(self) -> str:
        """`little` or `big`."""
        return self._native.byte_order

    @property
    def alignment(self) -> int:
        """Alignment of tensor data in bytes: each tensor starts at a multiple of it."""
        return self._native.alignment

    @property
    def size(self) -> int:
        """The size of all parts, in bytes."""
        return self._native.size

    @property
    def parts(self) -> list[str]:
        """The names of the files."""
        return self._native.part_names

    @property
    def architecture(self) -> str | None:
        """`general.architecture`, such as `llama`."""
        found = self.metadata.get("general.architecture")
        return found if isinstance(found, str) else None

    def validate(self, check: Check = "full", *, progress: Progress | None = None) -> None:
        """Check more than the format, which was checked when the file was opened.

        `model`: the rules of llama.cpp for the architecture, the vocabulary and the tensors, so that it neither refuses nor crashes. `data`:
        no weight and no scale is infinite or NaN; reads all tensors, in parallel. `full`: both. `progress` gets the bytes read and all
        bytes; returning False, or raising, ends the check.

        Raises:
            GgufError: a rule is broken; its `offset`, `key` or `tensor`, and `rule` say where and which.
            GgufCancelledError: `progress` returned False.
        """
        model, data = CHECKS[as_choice(check, "check", CHECKS)]
        self._native.check(model, data, as_callback(progress, "progress"))

    def hashes(self, *, progress: Progress | None = None) -> Hashes:
        """SHA-256 of the files, of the weights and of each tensor, in parallel.

        Raises:
            GgufCancelledError: `progress` returned False.
        """
        found = self._native.hashes(as_callback(progress, "progress"))
        return Hashes(files=found["files"], weights=found["weights"], tensors=found["tensors"])

    def __repr__(self) -> str:
        return f"<GgufFile `{self.parts[0]}`: {self.architecture}, {len(self.metadata)} keys, {len(self.tensors)} tensors>"


def open(file: Source, *, check: Check = "format", progress: Progress | None = None) -> GgufFile:  # noqa: A001 (as in `gzip.open`)
    """Open a GGUF file by its path, from bytes, or from an open binary file.

    Of a model in several files any part's path opens all of them. A file on the disk is mapped, and so is an open file; of other
    file objects everything is read, from the start where they can seek. Every count, length, offset and name of the file is checked before
    this returns; `check` asks for more, as `GgufFile.validate` does.

    It takes more than llama.cpp does: version 1, the other byte order, arrays of arrays, types of Microsoft's BitNet fork, and a last tensor
    without padding after it. `check="model"` refuses what llama.cpp would not load.

    Raises:
        GgufError: it is no intact GGUF file; its `offset`, `key` or `tensor`, and `rule` say where and which rule it breaks.
        OSError: it cannot be read.
        GgufCancelledError: `progress` returned False.
    """
    as_choice(check, "check", CHECKS)
    as_callback(progress, "progress")
    found = opened(file, "file")
    if check != "format":
        found.validate(check, progress=progress)
    return found


def opened(file: Source | GgufFile, name: str) -> GgufFile:
    """`file` itself if it is open, else opened by its path, from bytes or from an open binary file; errors call the argument `name`.

    Raises:
        GgufError, OSError: as `open`.
        TypeError: it is none of these.
    """
    from tabagent import _native  # noqa: PLC0415 (not needed for the types)

    if isinstance(file, GgufFile):
        return file
    if isinstance(file, (str, os.PathLike)):
        native = _native.GgufFile.open(as_path(file, name))
    elif isinstance(file, (bytes, bytearray, memoryview)):
        native = _native.GgufFile.from_bytes(bytes(file), "memory.gguf")
    elif hasattr(file, "read"):
        native = _from_file_object(file, name)
    else:
        message = f"`{name}` must be a path (str or os.PathLike), bytes or an open binary file, got {type_name(file)}"
        raise TypeError(message)
    return GgufFile(native)


def _from_file_object(file: IO[bytes], argument: str) -> _native.GgufFile:
    from tabagent import _native  # noqa: PLC0415 (not needed for the types)

    name = file.name if isinstance(getattr(file, "name", None), str) else "file.gguf"
    name = os.path.basename(name) or "file.gguf"  # noqa: PTH119 (the name of an open file may be anything)
    descriptor = _descriptor(file)
    if descriptor is not None:
        file.flush()
        return _native.GgufFile.from_descriptor(descriptor, name)
    if file.seekable():
        file.seek(0)
    data = file.read()
    if not isinstance(data, builtins.bytes):
        message = f'`{argument}` is a file object that gives {type_name(data)}; open it in binary mode (`"rb"`)'
        raise TypeError(message)
    return _native.GgufFile.from_bytes(data, name)


def _descriptor(file: IO[bytes]) -> int | None:
    """The descriptor of a file object that gives the bytes on the disk as they are; None if it decompresses them, or is no file on the disk."""
    if os.name == "nt":  # which has no `/dev/fd`
        return None
    inner = getattr(file, "file", file)  # `tempfile` wraps the file object in `file`
    raw = getattr(inner, "raw", inner)
    if not isinstance(inner, (io.BufferedReader, io.BufferedRandom, io.FileIO)) or not isinstance(raw, io.FileIO):
        return None
    with contextlib.suppress(OSError):
        if os.path.isfile(f"/dev/fd/{raw.fileno()}"):  # noqa: PTH113 (`pathlib` would add nothing to a path made here)
            return raw.fileno()
    return None
