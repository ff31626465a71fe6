"""What `Llama` is made with, as options of `Model.load`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from tabagent import gguf
from tabagent.compat.llama_cpp.constants import (
    GGML_TYPE_F32,
    KV_TYPE_NAMES,
    LLAMA_ATTENTION_TYPE_UNSPECIFIED,
    LLAMA_DEFAULT_SEED,
    LLAMA_POOLING_TYPE_UNSPECIFIED,
    LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    LLAMA_SPLIT_MODE_LAYER,
    ROPE_SCALING_NAMES,
)

__all__ = ["DEFAULTS", "OLD", "load_options", "with_defaults"]

DEFAULTS: Final[Mapping[str, Any]] = {
    "n_gpu_layers": 0,
    "split_mode": LLAMA_SPLIT_MODE_LAYER,
    "main_gpu": 0,
    "tensor_split": None,
    "vocab_only": False,
    "use_mmap": True,
    "use_mlock": False,
    "kv_overrides": None,
    "seed": LLAMA_DEFAULT_SEED,
    "n_ctx": 512,
    "n_batch": 512,
    "n_ubatch": 512,
    "n_threads": None,
    "n_threads_batch": None,
    "rope_scaling_type": LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    "pooling_type": LLAMA_POOLING_TYPE_UNSPECIFIED,
    "attention_type": LLAMA_ATTENTION_TYPE_UNSPECIFIED,
    "rope_freq_base": 0.0,
    "rope_freq_scale": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_orig_ctx": 0,
    "logits_all": False,
    "embedding": False,
    "offload_kqv": True,
    "flash_attn": False,
    "op_offload": None,
    "swa_full": None,
    "no_perf": False,
    "last_n_tokens_size": 64,
    "lora_base": None,
    "lora_scale": 1.0,
    "lora_path": None,
    "numa": False,
    "chat_format": None,
    "chat_handler": None,
    "draft_model": None,
    "tokenizer": None,
    "type_k": None,
    "type_v": None,
    "spm_infill": False,
    "verbose": True,
}
"""The parameters of `Llama`, with llama-cpp-python's defaults (0.3.36)."""

OLD: Final[Mapping[str, tuple[Any, ...]]] = {"n_parts": (-1,), "f16_kv": (True, False), "device": (None,)}
"""Parameters of older versions that other libraries still give, with their values. All but `f16_kv=False` ask for nothing."""

UNSUPPORTED: Final[Mapping[str, str]] = {
    "split_mode": "how layers are spread over GPUs is chosen by llama.cpp",
    "main_gpu": "how layers are spread over GPUs is chosen by llama.cpp",
    "tensor_split": "how layers are spread over GPUs is chosen by llama.cpp",
    "attention_type": "it follows from the file",
    "lora_base": "llama.cpp applies adapters to quantized models as they are; give `lora_path` alone",
    "numa": "llama.cpp's placement over memory nodes is not set here",
    "tokenizer": "texts are always read by the model's own tokenizer; give tokens instead of text where another one is wanted",
}
"""Parameters that are there with their default alone, and what to do."""

ROPE_KEYS: Final[Mapping[str, str]] = {
    "rope_freq_base": "rope.freq_base",
    "yarn_ext_factor": "rope.scaling.yarn_ext_factor",
    "yarn_attn_factor": "rope.scaling.yarn_attn_factor",
    "yarn_beta_fast": "rope.scaling.yarn_beta_fast",
    "yarn_beta_slow": "rope.scaling.yarn_beta_slow",
    "yarn_orig_ctx": "rope.scaling.original_context_length",
}
"""Parameters that replace what the file says of its positions, with the file's keys (src/llama-arch.cpp of llama.cpp)."""


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of `Llama`.

    Raises:
        TypeError: there is none of that name.
        ValueError: one has a value that cannot be honoured.
    """
    for name, value in given.items():
        if name in OLD:
            if value not in OLD[name]:
                message = f"`{name}={value!r}` cannot be honoured: llama.cpp has no such setting any more; leave it out"
                raise ValueError(message)
        elif name not in DEFAULTS:
            message = f"`Llama` has no parameter `{name}`"
            raise TypeError(message)
    settings = {**DEFAULTS, **{name: value for name, value in given.items() if name in DEFAULTS}}
    if given.get("f16_kv") is False:
        # What it meant when there were two types: keys and values in 32 bits.
        settings |= {name: GGML_TYPE_F32 for name in ("type_k", "type_v") if settings[name] is None}
    for name, reason in UNSUPPORTED.items():
        if settings[name] is not DEFAULTS[name] and settings[name] != DEFAULTS[name]:
            message = f"`{name}={settings[name]!r}` cannot be honoured: {reason}"
            raise ValueError(message)
    return settings


def load_options(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `Model.load` for the parameters.

    Raises:
        ValueError: a parameter has a value that there is not.
        OSError, GgufError: the file, which is read where a parameter replaces something in it.
    """
    size = settings["n_ctx"]
    batch = settings["n_batch"] if size == 0 else min(settings["n_batch"], size)
    options: dict[str, Any] = {
        "gpu_layers": "auto" if settings["n_gpu_layers"] == -1 else settings["n_gpu_layers"],
        "context_size": size or None,
        "batch_size": batch,
        "micro_batch_size": min(batch, settings["n_ubatch"]),
        "threads": settings["n_threads"],
        "prompt_threads": settings["n_threads_batch"],
        "vocab_only": settings["vocab_only"],
        "use_mmap": settings["use_mmap"],
        "mlock": settings["use_mlock"],
        "offload_kv": settings["offload_kqv"],
        "flash_attention": "on" if settings["flash_attn"] else "auto",
        "kv_type": (_kv_type(settings["type_k"], "type_k"), _kv_type(settings["type_v"], "type_v")),
        "metadata_overrides": _overrides(path, settings),
    }
    if settings["op_offload"] is not None:
        options["offload_ops"] = settings["op_offload"]
    if settings["swa_full"] is not None:
        options["full_sliding_window"] = settings["swa_full"]
    return options


def _kv_type(value: Any, name: str) -> str:
    if value is None:
        return "f16"
    found = KV_TYPE_NAMES.get(value)
    if found is None:
        message = f"`{name}={value!r}` is no type of cached keys and values; those are {', '.join(map(str, KV_TYPE_NAMES))} (`GGML_TYPE_...`)"
        raise ValueError(message)
    return found


def _overrides(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What replaces values of the file: `kv_overrides`, and what the parameters of positions say."""
    made: dict[str, Any] = {}
    for name, key in ROPE_KEYS.items():
        if settings[name] not in (DEFAULTS[name], 0):
            made[key] = settings[name]
    scale = settings["rope_freq_scale"]
    if scale not in (0, None):
        made["rope.scaling.factor"] = 1.0 / scale
    kind = settings["rope_scaling_type"]
    if kind not in (LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED, None):
        if kind not in ROPE_SCALING_NAMES:
            message = f"`rope_scaling_type={kind!r}` is none of {', '.join(map(str, ROPE_SCALING_NAMES))}"
            raise ValueError(message)
        made["rope.scaling.type"] = ROPE_SCALING_NAMES[kind]
    if made:
        architecture = gguf.open(path).metadata["general.architecture"]
        made = {f"{architecture}.{key}": value for key, value in made.items()}
    return {**made, **(settings["kv_overrides"] or {})} or None
