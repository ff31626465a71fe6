"""Quantizes whole models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tabagent import _native
from tabagent._arguments import as_bool, as_callback, as_float, as_int, as_overrides, as_path, as_text, as_texts, is_iterable, type_name
from tabagent.gguf.numbers import as_threads

if TYPE_CHECKING:
    from tabagent.gguf.file import Progress

__all__ = ["FILE_TYPES", "FileType", "QuantizedModel", "QuantizedTensor", "quantize_model"]


@dataclass(frozen=True, slots=True)
class FileType:
    """What a model can be quantized to, such as `Q4_K_M`: a type for most tensors, and finer ones for those that matter most."""

    name: str
    id: int | None
    """llama.cpp's number for it, as in `general.file_type`; None for `COPY`."""
    bits_per_weight: float
    """Of most tensors; the file as a whole takes some more."""
    note: str

    def __str__(self) -> str:
        return self.name


FILE_TYPES: Final[Mapping[str, FileType]] = {name: FileType(name, number, bits, note) for name, number, bits, note in _native.gguf_file_types()}
"""All types by name, with their aliases (`Q4_K` for `Q4_K_M`) and `COPY`."""


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """What a tensor became, or with `dry_run` would become."""

    name: str
    shape: tuple[int, ...]
    """Rows first."""
    type_before: str
    type: str
    reason: str
    """Why that type: `default`, `mixture: attn_v`, `kept: one dimension`, …"""
    bytes_before: int
    bytes: int
    is_misfit: bool = False
    """Whether the type replaces another one whose blocks do not divide the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedModel:
    """What a model became, or with `dry_run` would become."""

    paths: tuple[Path, ...]
    """The files written; none with `dry_run`."""
    file_type: int
    """llama.cpp's number, as in `general.file_type`."""
    tensors: tuple[QuantizedTensor, ...]
    problem: str | None
    """With `dry_run`: why the model would be refused; None if it would not be."""

    @property
    def bytes_before(self) -> int:
        """Bytes of all tensors before."""
        return sum(tensor.bytes_before for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors after."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def weights(self) -> int:
        """Numbers in all tensors."""
        return sum(_product(tensor.shape) for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes after, on average over all tensors."""
        return self.bytes * 8 / max(1, self.weights)

    @property
    def bits_per_weight_before(self) -> float:
        """Bits that a weight took before."""
        return self.bytes_before * 8 / max(1, self.weights)


def quantize_model(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str] | None,
    type: str | None = None,  # noqa: A002 (what everybody calls it)
    *,
    target_size: str | int | None = None,
    target_bits_per_weight: float | None = None,
    imatrix: str | os.PathLike[str] | None = None,
    include_weights: Iterable[str] = (),
    exclude_weights: Iterable[str] = (),
    pure: bool = False,
    leave_output_tensor: bool = False,
    output_tensor_type: str | None = None,
    token_embedding_type: str | None = None,
    tensor_types: Mapping[str, str] | None = None,
    allow_requantize: bool = False,
    keep_split: bool = False,
    metadata_overrides: Mapping[str, float | bool | str] | None = None,
    prune_layers: Iterable[int] = (),
    threads: int | None = None,
    max_buffer_bytes: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize a model as llama.cpp's `llama-quantize` does: the same type for every tensor, and the same bytes.

        from tabagent import gguf

        done = gguf.quantize_model("model-f16.gguf", "model-q4_k_m.gguf", "Q4_K_M")
        print(done.bytes, done.bits_per_weight)
        gguf.quantize_model("model-f16.gguf", "model-90mb.gguf", target_size="90MB")

    The file appears whole or not at all. Memory is taken for the metadata and some rows of one tensor. `source` may be any part of a split
    model; the result is one file, or with `keep_split` the same parts, whose names begin with `destination`. `FILE_TYPES` lists the types.

    Args:
        source: a GGUF file.
        destination: the file to write; not used with `dry_run`.
        type: one of `FILE_TYPES`, in any case, or its number as text.
        target_size: in place of a type: the most bytes that the file may have, as a number or as `90MB` or `1.5GiB`. What each tensor would
            lose is measured, and the types that lose least in that size are chosen.
        target_bits_per_weight: the same by the bits that a weight may take, on average over all tensors.
        imatrix: an importance matrix (GGUF or the older `.dat`), which the types below 2.5 bits need and others profit from.
        include_weights: use it only for tensors with one of these in their names.
        exclude_weights: do not use it for tensors with one of these in their names.
        pure: no mixture: every tensor that can be gets the type's default.
        leave_output_tensor: keep the type of `output.weight`.
        output_tensor_type: the type of `output.weight`, and of token embeddings that are the output too, such as `q8_0`.
        token_embedding_type: the type of the token embeddings.
        tensor_types: types by regular expressions that are searched for in tensors' names; the first that is found counts.
        allow_requantize: take tensors that are quantized already, which loses quality.
        keep_split: write the same parts as the source has.
        metadata_overrides: values to store in place of the file's, which also count for the choice of types.
        prune_layers: layers to leave out; those after them move up.
        threads: as many as the process may use if not given.
        max_buffer_bytes: hold at most so much of a tensor in memory at a time (but a row for each thread).
        dry_run: write nothing, only say what would become of each tensor.
        progress: gets the bytes of tensors written and all bytes; returning False, or raising, stops the work.

    Raises:
        GgufError: the model cannot be loaded, is quantized already, needs an importance matrix, or holds numbers that are not finite.
        ValueError: an argument is wrong; the message says what to give instead.
        OSError: the system refuses.
        GgufCancelledError: `progress` returned False.
    """
    if destination is None and not dry_run:
        message = "`destination` is missing; give the path of the file to write, or `dry_run=True`"
        raise ValueError(message)
    written = None if dry_run or destination is None else as_path(destination, "destination")
    as_bool(dry_run, "dry_run")
    if sum(wanted is not None for wanted in (type, target_size, target_bits_per_weight)) != 1:
        message = "give one of `type`, `target_size` and `target_bits_per_weight`"
        raise ValueError(message)
    options: dict[str, Any] = {
        "imatrix": None if imatrix is None else as_path(imatrix, "imatrix"),
        "include_weights": as_texts(include_weights, "include_weights"),
        "exclude_weights": as_texts(exclude_weights, "exclude_weights"),
        "pure": as_bool(pure, "pure"),
        "leave_output_tensor": as_bool(leave_output_tensor, "leave_output_tensor"),
        "output_tensor_type": None if output_tensor_type is None else as_text(output_tensor_type, "output_tensor_type"),
        "token_embedding_type": None if token_embedding_type is None else as_text(token_embedding_type, "token_embedding_type"),
        "tensor_types": _tensor_types(tensor_types),
        "allow_requantize": as_bool(allow_requantize, "allow_requantize"),
        "keep_split": as_bool(keep_split, "keep_split"),
        "metadata_overrides": as_overrides(metadata_overrides),
        "prune_layers": _layers(prune_layers),
        "threads": as_threads(threads),
        "target_size": None if target_size is None else _size(target_size),
        "target_bits_per_weight": None if target_bits_per_weight is None else as_float(target_bits_per_weight, "target_bits_per_weight"),
        "max_buffer_bytes": None if max_buffer_bytes is None else as_int(max_buffer_bytes, "max_buffer_bytes", 1, 2**63 - 1),
    }
    found = _native.gguf_quantize_model(
        as_path(source, "source"), written, None if type is None else as_text(type, "type"), options, as_callback(progress, "progress")
    )
    paths, file_type, rows, problem = found
    tensors = (
        QuantizedTensor(name, tuple(reversed(shape)), before, after, reason, bytes_before, size, is_misfit)
        for name, shape, before, after, reason, is_misfit, bytes_before, size in rows
    )
    return QuantizedModel(paths=tuple(Path(path) for path in paths), file_type=file_type, tensors=tuple(tensors), problem=problem)


def _size(size: object) -> str:
    return as_text(size, "target_size") if isinstance(size, str) else str(as_int(size, "target_size", 1, 2**63 - 1))


def _tensor_types(types: object) -> list[tuple[str, str]]:
    if types is None:
        return []
    if not isinstance(types, Mapping):
        message = f"`tensor_types` must be a mapping from patterns to types, got {type_name(types)}"
        raise TypeError(message)
    return [(as_text(pattern, "tensor_types key"), as_text(kind, f"tensor_types[{pattern!r:.80}]")) for pattern, kind in types.items()]


def _layers(layers: object) -> list[int]:
    if isinstance(layers, (str, bytes, bytearray, Mapping)) or not is_iterable(layers):
        message = f"`prune_layers` must be a sequence of ints, got {type_name(layers)}"
        raise TypeError(message)
    items: Iterable[object] = layers  # type: ignore[assignment] # it is one
    return [as_int(layer, f"prune_layers[{index}]", 0, 2**32 - 1) for index, layer in enumerate(items)]


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
