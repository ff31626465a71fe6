"""The options of models and contexts, checked and in the form that the core reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tabagent._arguments import INT32_MAX, INT64_MAX, as_bool, as_int, as_overrides, as_path, as_text, check_encodable, type_name
from tabagent._cache_path import in_cache
from tabagent._isolation import isolation_option
from tabagent._trial import trial_option

__all__ = ["cache_options", "gpu_layers_of", "load_options", "optional_int"]


def load_options(
    *,
    engine: object = "auto",
    gpu_layers: object,
    placement: Mapping[str, Any],
    context_size: int | None,
    sequence_size: int | None = None,
    max_sequences: int | None,
    max_queue: int | None,
    deterministic: bool,
    cache_bytes: int | None,
    cache_disk: str | os.PathLike[str] | None = None,
    cache_disk_bytes: int | None = None,
    threads: int | None,
    prompt_threads: int | None = None,
    batch_size: int | None,
    micro_batch_size: int | None,
    use_mmap: bool,
    mlock: bool,
    vocab_only: bool,
    check_tensors: bool,
    metadata_overrides: Mapping[str, float | bool | str] | None,
    trial: object = False,
    isolation: object = None,
    on_crash: object = "error",
    on_gpu_failure: object = None,
    **cache: Any,
) -> dict[str, Any]:
    """The options of `Model.load` that the core reads; `cache` are those of `cache_options`.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    apart = isolation_option(isolation, on_crash, on_gpu_failure)
    tried = trial_option(trial)
    if apart is not None and trial is not True:
        # What the load does not survive ends the model's process, which is an error already.
        tried = None
    return {
        "engine": as_text(engine, "engine"),
        "gpu_layers": gpu_layers_of(gpu_layers),
        **placement,
        "context_size": optional_int(context_size, "context_size", 1),
        "sequence_size": optional_int(sequence_size, "sequence_size", 1),
        "max_sequences": optional_int(max_sequences, "max_sequences", 1),
        "max_queue": optional_int(max_queue, "max_queue", 1),
        "deterministic": as_bool(deterministic, "deterministic"),
        "cache_bytes": None if cache_bytes is None else as_int(cache_bytes, "cache_bytes", 0, INT64_MAX),
        "cache_disk": None if cache_disk is None else as_path(cache_disk, "cache_disk"),
        "cache_disk_bytes": None if cache_disk_bytes is None else as_int(cache_disk_bytes, "cache_disk_bytes", 0, INT64_MAX),
        "threads": optional_int(threads, "threads", 1),
        "prompt_threads": optional_int(prompt_threads, "prompt_threads", 1),
        "batch_size": optional_int(batch_size, "batch_size", 1),
        "micro_batch_size": optional_int(micro_batch_size, "micro_batch_size", 1),
        "use_mmap": as_bool(use_mmap, "use_mmap"),
        "mlock": as_bool(mlock, "mlock"),
        "vocab_only": as_bool(vocab_only, "vocab_only"),
        "check_tensors": as_bool(check_tensors, "check_tensors"),
        "metadata_overrides": as_overrides(metadata_overrides),
        "trial": tried,
        "isolation": apart,
        "rewrites": in_cache("rewritten"),
        **cache_options(**cache),
    }


def cache_options(
    *, kv_type: object, flash_attention: object, full_sliding_window: object, kv_unified: object, offload_kv: object, offload_ops: object
) -> dict[str, Any]:
    """The options of a context's memory and attention."""
    return {
        "kv_type": _kv_type(kv_type),
        "flash_attention": as_text(flash_attention, "flash_attention"),
        "full_sliding_window": as_bool(full_sliding_window, "full_sliding_window"),
        "kv_unified": as_bool(kv_unified, "kv_unified"),
        "offload_kv": as_bool(offload_kv, "offload_kv"),
        "offload_ops": as_bool(offload_ops, "offload_ops"),
    }


def gpu_layers_of(value: object) -> int | None:
    """The number of layers; None for `auto`."""
    if isinstance(value, str):
        if value == "auto":
            return None
        message = f'`gpu_layers` must be "auto" or an int, got {value!r:.80}'
        raise TypeError(message)
    return as_int(value, "gpu_layers", 0, INT32_MAX)


def optional_int(value: int | None, name: str, low: int) -> int | None:
    """An int of 32 bits from `low` on, or None."""
    return None if value is None else as_int(value, name, low, INT32_MAX)


def _kv_type(value: object) -> str | list[str]:
    if isinstance(value, str):
        return check_encodable(value, "kv_type")
    if not isinstance(value, (list, tuple)):
        message = f"`kv_type` must be a str, or a pair of them for keys and values, got {type_name(value)}"
        raise TypeError(message)
    if len(value) != 2:
        message = f"`kv_type` must be one type, or a pair: that of keys and that of values, got {len(value)} types"
        raise ValueError(message)
    return [check_encodable(as_text(item, f"kv_type[{index}]"), f"kv_type[{index}]") for index, item in enumerate(value)]
