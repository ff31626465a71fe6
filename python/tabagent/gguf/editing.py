"""Changing, splitting, merging and comparing files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent import _native
from tabagent._arguments import as_callback, as_choice, as_path, as_text, as_texts, type_name
from tabagent.gguf.file import GgufFile, opened
from tabagent.gguf.types import metadata_type
from tabagent.gguf.writer import GgufWriter

if TYPE_CHECKING:
    from tabagent.gguf.file import Progress

__all__ = ["convert_byte_order", "diff", "edit_metadata", "merge", "split"]

PathLike = str | os.PathLike[str]
PART_NAME: Final = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def edit_metadata(
    path: PathLike,
    values: Mapping[str, Any] | None = None,
    *,
    remove: Iterable[str] = (),
    types: Mapping[str, str] | None = None,
    output: PathLike | None = None,
    progress: Progress | None = None,
) -> Literal["unchanged", "in place", "rewritten"]:
    """Set and remove metadata of a file, and say how it was done.

    A key keeps its type; `types` gives another. A new key's type is that of `GgufWriter.set`. If the tensors need not move, only the bytes
    that differ are overwritten (`in place`), however large the file. Otherwise, and for a symbolic link or a file with several names, a new
    file takes the old one's place. With `output` the file stays as it is, and the changed copy is written there.

    A change cannot make the file worse. It is refused if the file would not open afterwards, if it would fail `validate("model")` but passes
    it now, or if a key that all readers know would get another type.

    Of a model in several files the first part has the metadata; another one is a `ValueError`. A copy of that part needs a part's name.

    Raises:
        GgufError: the file is damaged, or a change breaks a rule.
        TypeError, ValueError: a value does not fit its type, or `output` leads to the file or another part of the model.
        OSError: the system refuses.
        GgufCancelledError: `progress` returned False.
    """
    place = as_path(path, "path")
    copy = None if output is None else as_path(output, "output")
    as_callback(progress, "progress")
    changes: list[tuple[str, tuple[str, Any] | None]] = [(key, None) for key in as_texts(remove, "remove")]
    new, kinds = _by_key(values, "values"), _by_key(types, "types")
    file = first_part(place)
    for key, value in new.items():
        given = as_text(kinds[key], f"types[{key!r:.80}]") if key in kinds else None
        changes.append((key, _typed(file, key, value, given)))
    # Windows replaces no file that is mapped.
    del file
    done: Literal["unchanged", "in place", "rewritten"] = _native.gguf_edit(place, changes, copy, progress)
    return done


def first_part(path: PathLike) -> GgufFile:
    """Open the file at `path` alone, a whole model or the first part of one, even if it wrongly says that there are other parts.

    Raises:
        ValueError: it is a later part, which has no metadata.
    """
    native = _native.GgufFile.open_part(as_path(path, "path"))
    match = PART_NAME.fullmatch(Path(path).name)
    if match is not None and native.split is not None and native.split[0] > 0:
        first = f"{match['stem']}-00001-of-{match['count']}.gguf"
        message = f"the metadata of a model in several files is in the first, `{first}`; change that one"
        raise ValueError(message)
    return GgufFile(native)


def split(
    source: GgufFile | PathLike,
    prefix: PathLike,
    *,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    first_without_tensors: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a model as several files; see `GgufWriter.write_parts`."""
    writer = GgufWriter.of(opened(source, "source"))
    return writer.write_parts(prefix, max_bytes=max_bytes, max_tensors=max_tensors, first_without_tensors=first_without_tensors, progress=progress)


def merge(source: GgufFile | PathLike, output: PathLike, *, progress: Progress | None = None) -> None:
    """Write a model in several files, opened by any of them, as one; raises as `GgufWriter.write`."""
    GgufWriter.of(opened(source, "source")).write(as_path(output, "output"), progress=progress)


def convert_byte_order(
    source: GgufFile | PathLike, output: PathLike, byte_order: Literal["little", "big", "native"] = "native", *, progress: Progress | None = None
) -> None:
    """Write a model with all numbers in another byte order, as one file: metadata, plain numbers, and the scales in blocks.

    llama.cpp loads only files of its machine's own order, which is `native`. What a big-endian file holds is what ggml reads on a big-endian
    machine. The file's own order is an error. Raises as `GgufWriter.write`, and:

    Raises:
        ValueError: the file has that byte order, or there is none of that name.
    """
    as_choice(byte_order, "byte_order", ("little", "big", "native"))
    place = as_path(output, "output")
    wanted = sys.byteorder if byte_order == "native" else byte_order
    file = opened(source, "source")
    if file.byte_order == wanted:
        message = f"`{file.parts[0]}` is {wanted}-endian already"
        raise ValueError(message)
    GgufWriter.of(file, byte_order=wanted).write(place, progress=progress)


def diff(first: GgufFile | PathLike, second: GgufFile | PathLike) -> list[str]:
    """The differences between two models in words, one a line: format, metadata, tensors. None if they hold the same.

    How the models are split is one line; only what they hold is compared.

    Raises:
        GgufError, OSError: a file cannot be opened.
    """
    return opened(first, "first")._native.differences(opened(second, "second")._native)  # noqa: SLF001 (the two are one package's)


def _by_key(values: object, name: str) -> Mapping[str, Any]:
    """The mapping itself, its keys checked; an empty one for None.

    Raises:
        TypeError: it is no mapping, or a key is no text.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        message = f"`{name}` must be a mapping from keys to values, got {type_name(values)}"
        raise TypeError(message)
    return {as_text(key, f"{name} key"): value for key, value in values.items()}


def _typed(file: GgufFile, key: str, value: Any, given: str | None) -> tuple[str, Any]:
    """The type that a value gets, and the value in the form that the compiled module takes."""
    kind = given if given is not None else file.metadata.type(key) if key in file.metadata else None
    if kind is None:
        return metadata_type(value)
    tolist = getattr(value, "tolist", None)
    return kind, value if tolist is None else tolist()
