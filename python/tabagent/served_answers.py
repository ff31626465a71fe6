"""How a served model answers where a request does not say: sampling, limits, thinking, guesses, control vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tabagent._arguments import as_bool, as_float, as_int, as_path, as_text, as_texts, type_name
from tabagent.overflow import overflow_options
from tabagent.sampling import SamplerConfig
from tabagent.speculation import SpeculativeConfig, limits_of, speculation

__all__ = ["ANSWERS", "ANSWER_KEYS", "chat_defaults", "control_files", "draft_limits", "generation_defaults", "scaled_files"]

MAX_COUNT: Final = 2**31 - 1
ANSWERS: Final[Mapping[str, Any]] = {
    "sampling": None,
    "max_tokens": None,
    "overflow": None,
    "stop": (),
    "ignore_eos": False,
    "cache_prompt": True,
    "speculative": None,
    "draft_model": None,
    "template_variables": None,
    "reasoning_budget": None,
    "reasoning_budget_message": "",
    "control_vectors": (),
    "control_layers": None,
}
"""What a server takes for each model, and what counts where it is not given."""
ANSWER_KEYS: Final = frozenset(ANSWERS)


def generation_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a request has that does not say otherwise, as the core reads it.

    Raises:
        TypeError, ValueError: a value is wrong.
    """
    whole = {**ANSWERS, **given}
    sampling, most, overflow = whole["sampling"], whole["max_tokens"], whole["overflow"]
    if sampling is not None and not isinstance(sampling, SamplerConfig):
        message = f"`sampling` must be a SamplerConfig, got {type_name(sampling)}"
        raise TypeError(message)
    config = SamplerConfig.llama_cpp() if sampling is None else sampling
    return {
        "sampling": config.to_dict(),
        "max_tokens": None if most is None else as_int(most, "max_tokens", 0, MAX_COUNT),
        "stop": as_texts(whole["stop"], "stop"),
        "ignore_eos": as_bool(whole["ignore_eos"], "ignore_eos"),
        "cache_prompt": as_bool(whole["cache_prompt"], "cache_prompt"),
        "overflow": None if overflow is None else overflow_options(overflow),
        "speculative": speculation(whole["speculative"])[0] if whole["draft_model"] is None else None,
    }


def draft_limits(given: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of a draft model that is loaded with the model.

    Raises:
        ValueError: something else is to guess, too.
    """
    asked = given.get("speculative")
    if asked is None:
        return {}
    if not isinstance(asked, SpeculativeConfig) or asked.draft_model is not None:
        message = (
            "`draft_model` and `speculative` both say who guesses; beside a `draft_model`, `speculative` may be a SpeculativeConfig for its limits"
        )
        raise ValueError(message)
    return limits_of(asked)


def chat_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What conversations have that do not say otherwise, as the core reads it.

    Raises:
        TypeError, ValueError: a value is wrong.
    """
    whole = {**ANSWERS, **given}
    variables, budget = whole["template_variables"] or {}, whole["reasoning_budget"]
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        message = f"`template_variables` must be a mapping of names to values, got {type_name(variables)}"
        raise TypeError(message)
    try:
        text = json.dumps(dict(variables), allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"`template_variables` has a value that is none of JSON: {error}"
        raise type(error)(message) from None
    return {
        "variables": text,
        "budget": None if budget is None else as_int(budget, "reasoning_budget", 0, MAX_COUNT),
        "budget_message": as_text(whole["reasoning_budget_message"], "reasoning_budget_message"),
    }


def control_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """The files of control vectors, each with its scale, and the layers that they move.

    Raises:
        TypeError, ValueError: a value is wrong.
    """
    whole = {**ANSWERS, **given}
    layers = whole["control_layers"]
    files = scaled_files(whole["control_vectors"], "control_vectors")
    if layers is None:
        return {"files": files, "layers": None}
    if not isinstance(layers, Sequence) or len(layers) != 2:
        message = f"`control_layers` must be a pair, the first and the last layer, got {type_name(layers)}"
        raise TypeError(message)
    if not files:
        message = "`control_layers` says which layers control vectors move, and there are none; give `control_vectors`"
        raise ValueError(message)
    first = as_int(layers[0], "control_layers[0]", 0, MAX_COUNT)
    return {"files": files, "layers": (first, as_int(layers[1], "control_layers[1]", first, MAX_COUNT))}


def scaled_files(given: object, name: str) -> list[tuple[str, float]]:
    """Files, each with its scale.

    Raises:
        TypeError, ValueError: they are none.
    """
    if isinstance(given, Mapping):
        pairs: list[tuple[Any, Any]] = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, (str, bytes, os.PathLike)):
        pairs = [item if isinstance(item, tuple) and len(item) == 2 else (item, 1.0) for item in given]
    else:
        message = f"`{name}` must be a list of files or a mapping of files to scales, got {type_name(given)}"
        raise TypeError(message)
    return [(as_path(path, name), as_float(scale, name)) for path, scale in pairs]
