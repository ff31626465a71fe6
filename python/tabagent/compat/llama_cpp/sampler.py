"""llama-cpp-python's sampling parameters as a `SamplerConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tabagent._arguments import as_float
from tabagent.compat.llama_cpp.constants import LLAMA_DEFAULT_SEED
from tabagent.sampling import SamplerConfig

__all__ = ["sampling_of", "seed_of"]

ORDER: Final = ("penalties", "top_k", "typical_p", "top_p", "min_p", "temperature")
"""The stages in llama-cpp-python's order; with mirostat, the penalties and mirostat alone."""

PENALTIES: Final = ("repeat_penalty", "frequency_penalty", "presence_penalty")
REPEAT_WINDOW_ALL: Final = 2**31 - 1


def sampling_of(given: Mapping[str, Any], *, seed: int, repeat_window: int) -> SamplerConfig:
    """The configuration for the arguments of a method of `Llama`: `temperature` (or `temp`), `top_k` and so on, and `logit_bias`.

    A negative temperature draws from the model's own distribution, 0 takes the most probable token.

    Raises:
        TypeError, ValueError: one of them is wrong, or cannot be honoured.
    """
    temperature = as_float(given["temperature"] if "temperature" in given else given["temp"], "temperature")
    tfs_z, mirostat, bias = given["tfs_z"], given["mirostat_mode"], given.get("logit_bias")
    if tfs_z != 1.0:
        message = f"`tfs_z={tfs_z!r}` cannot be honoured: llama.cpp has tail-free sampling no more; leave it out"
        raise ValueError(message)
    if mirostat not in (0, 1, 2):
        message = f"`mirostat_mode` must be 0, 1 or 2, got {mirostat!r}"
        raise ValueError(message)
    options: dict[str, Any] = {name: given[name] for name in PENALTIES}
    options["repeat_window"] = REPEAT_WINDOW_ALL if repeat_window < 0 else repeat_window
    options["seed"] = seed_of(seed)
    if bias is not None:
        options["logit_bias"] = {int(token): float(amount) for token, amount in bias.items()}
    if temperature <= 0.0:
        return SamplerConfig(temperature=1.0 if temperature < 0.0 else 0.0, order=("penalties",), **options)
    if mirostat:
        options |= {"mirostat_tau": given["mirostat_tau"], "mirostat_eta": given["mirostat_eta"], "order": ("penalties", "mirostat")}
        return SamplerConfig(temperature=1.0, mirostat=mirostat, **options)
    options |= {name: given[name] for name in ("top_p", "min_p", "typical_p")}
    return SamplerConfig(temperature=temperature, top_k=max(given["top_k"], 0), order=ORDER, **options)


def seed_of(seed: int | None) -> int | None:
    """A seed; None for those that stand for a random one."""
    return None if seed in (None, -1, LLAMA_DEFAULT_SEED) else seed
