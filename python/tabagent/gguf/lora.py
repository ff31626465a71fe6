"""Low-rank adapters (LoRA): merging them into models, and converting them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tabagent import _native
from tabagent._arguments import as_callback, as_float, as_path, as_text, is_iterable, type_name
from tabagent.gguf.imatrix import Imatrix
from tabagent.gguf.numbers import as_threads

if TYPE_CHECKING:
    from tabagent.gguf.file import Progress

__all__ = ["MERGE_TYPES", "ConvertedLora", "MergedLora", "convert_lora", "merge_lora"]

PathLike = str | os.PathLike[str]

MERGE_TYPES: Final = tuple(_native.gguf_out_types()[1])
"""Types that the changed tensors of a merged model can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedLora:
    """What was merged: how many tensors the model has, how many changed, and which of the adapters' tensors were passed over.

    Passed over are norms and parts of the model that llama.cpp does not use, as llama.cpp itself does.
    """

    tensors: int
    changed: int
    ignored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedLora:
    """What was converted: llama.cpp's name of the architecture, how many tensors and parameters there are, and what was passed over."""

    architecture: str
    tensors: int
    parameters: int
    ignored: tuple[str, ...]


def merge_lora(
    base: PathLike,
    adapters: PathLike | Iterable[PathLike] | Mapping[PathLike, float],
    destination: PathLike,
    *,
    scales: Iterable[float] | None = None,
    out_type: str = "keep",
    imatrix: Imatrix | PathLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> MergedLora:
    """Merge LoRA adapters into a model, and write the result as a GGUF file, which appears whole or not at all.

        from tabagent import gguf

        gguf.merge_lora("model.gguf", {"style.gguf": 1.0, "peft/facts": 0.5}, "merged.gguf")

    An adapter is a GGUF file, or a folder that the `peft` library wrote. `scales` has one for each adapter, in order; without them, and
    where `adapters` is no mapping, all are 1. `base` may be any part of a split model.

    Each changed tensor becomes `W + sum of scale * alpha / rank * B @ A`, and then has the type that `out_type` says: `keep`, that of the
    model's tensor; `f32`; or `f16`, `bf16` and `q8_0`, which leave tensors of F32 as they are. `imatrix` makes better blocks where
    tensors are packed again, and some types need one. All else stays as it is; `tabagent.lora.names` and `tabagent.lora.scales` in the
    metadata say what was merged. Without `threads` all cores compute. `progress` gets the bytes of tensors written and all bytes; returning
    False, or raising, stops the work.

    Raises:
        GgufError: an adapter breaks a rule, is for another model, or holds what cannot be merged, such as DoRA; or a tensor cannot be packed
            as asked. The message names the adapter or the tensor, and what to do.
        TypeError: `threads` is no int.
        ValueError: there is no adapter, no such type, `threads` is out of range, or a scale is not finite.
        OSError: the system refuses.
        GgufCancelledError: `progress` returned False.
    """
    threads = as_threads(threads)
    model, output = as_path(base, "base"), as_path(destination, "destination")
    scaled, kind = _scaled(adapters, scales), as_text(out_type, "out_type")
    as_callback(progress, "progress")
    matrix = imatrix if imatrix is None or isinstance(imatrix, Imatrix) else Imatrix(as_path(imatrix, "imatrix"))
    native = None if matrix is None else matrix._native  # noqa: SLF001 (the two are one package's)
    found = _native.gguf_merge_lora(model, scaled, output, kind, native, threads, progress)
    tensors, changed, ignored = found
    return MergedLora(tensors=tensors, changed=changed, ignored=tuple(ignored))


def convert_lora(
    source: PathLike,
    output: PathLike,
    *,
    base: PathLike | None = None,
    out_type: str = "F32",
    progress: Progress | None = None,
) -> ConvertedLora:
    """Convert an adapter that the `peft` library wrote to a GGUF file, as llama.cpp loads it beside the model.

    `source` is the adapter's folder, `base` that of its Hugging Face model, of which only `config.json` is read; without it the folder is
    looked for where the adapter says that its model is. `out_type` is `F32`, `F16` or `BF16`. Nothing in the folders is executed.

    Raises:
        GgufError: the adapter breaks a rule or holds what GGUF cannot express, or there is no `config.json` of its model.
        ValueError: there is no such type.
        OSError: the system refuses.
        GgufCancelledError: `progress` returned False.
    """
    found = _native.gguf_convert_lora(
        as_path(source, "source"),
        as_path(output, "output"),
        None if base is None else as_path(base, "base"),
        as_text(out_type, "out_type"),
        as_callback(progress, "progress"),
    )
    architecture, tensors, parameters, ignored = found
    return ConvertedLora(architecture=architecture, tensors=tensors, parameters=parameters, ignored=tuple(ignored))


def _scaled(adapters: object, scales: object) -> list[tuple[str, float]]:
    """The adapters with their scales."""
    if isinstance(adapters, Mapping):
        if scales is not None:
            message = "`adapters` is a mapping with scales, so `scales` must not be given"
            raise ValueError(message)
        return [(as_path(path, "adapters key"), as_float(scale, f"adapters[{path!r:.80}]")) for path, scale in adapters.items()]
    paths = [as_path(adapters, "adapters")] if isinstance(adapters, (str, os.PathLike)) else _paths(adapters)
    if scales is None:
        return [(path, 1.0) for path in paths]
    if isinstance(scales, (str, bytes, bytearray, Mapping)) or not is_iterable(scales):
        message = f"`scales` must be a sequence of numbers, got {type_name(scales)}"
        raise TypeError(message)
    items: Iterable[object] = scales  # type: ignore[assignment] # it is one
    numbers = [as_float(scale, f"scales[{index}]") for index, scale in enumerate(items)]
    if len(numbers) != len(paths):
        message = f"`scales` has `{len(numbers)}` items, but `adapters` has `{len(paths)}`; give a scale for each"
        raise ValueError(message)
    return list(zip(paths, numbers, strict=True))


def _paths(adapters: object) -> list[str]:
    if isinstance(adapters, (bytes, bytearray)) or not is_iterable(adapters):
        message = f"`adapters` must be a path, a sequence of paths, or a mapping from paths to scales, got {type_name(adapters)}"
        raise TypeError(message)
    items: Iterable[object] = adapters  # type: ignore[assignment] # it is one
    return [as_path(path, f"adapters[{index}]") for index, path in enumerate(items)]
