"""How the next token is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from tabagent import _native
from tabagent._arguments import as_float, as_int, type_name

__all__ = ["SamplerConfig", "Stage"]

Stage: TypeAlias = (  # stubtest cannot read the short form
    Literal["penalties"]
    | Literal["temperature"]
    | Literal["top_k"]
    | Literal["top_p"]
    | Literal["min_p"]
    | Literal["typical_p"]
    | Literal["mirostat"]  # noqa: PYI030
)
"""The name of one sampling stage."""

DEFAULT_ORDER: Final[tuple[Stage, ...]] = ("penalties", "temperature", "top_k", "top_p", "min_p", "typical_p", "mirostat")
LLAMA_CPP_ORDER: Final[tuple[Stage, ...]] = ("penalties", "top_k", "typical_p", "top_p", "min_p", "temperature")

FLOATS: Final = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "mirostat_tau",
    "mirostat_eta",
)
# What the core can hold. Its own, narrower ranges are checked there.
INTEGERS: Final = {
    "top_k": (0, 2**32 - 1),
    "min_keep": (1, 2**32 - 1),
    "repeat_window": (-1, 2**31 - 1),
    "mirostat": (0, 2),
}
SEED_RANGE: Final = (0, 2**64 - 1)
TOKEN_RANGE: Final = (0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How to choose tokens: plain values, checked when the object is made, equal and hashable by value.

        SamplerConfig(temperature=0.7, top_p=0.9, seed=1)

    Raises:
        TypeError: a field has a value of the wrong type; the text names the field.
        ValueError: a field is out of its range; the text names the field and the range.
    """

    temperature: float = 0.8
    """What the logits are divided by; 0 always takes the most probable token. At least 0."""
    top_k: int = 40
    """How many of the most probable tokens to keep; 0 keeps all."""
    top_p: float = 0.95
    """The probability that the most probable tokens kept must hold, in (0, 1]; 1 keeps all."""
    min_p: float = 0.05
    """The least probability relative to the best token's, in [0, 1]; 0 keeps all."""
    typical_p: float = 1.0
    """The probability that the most typical tokens kept must hold, in (0, 1]; 1 keeps all."""
    min_keep: int = 1
    """How many tokens top-p, min-p and typical keep at the least."""
    repeat_penalty: float = 1.0
    """What a positive logit of a token of the window is divided by, and a negative one multiplied by; 1 is off. Above 0."""
    repeat_window: int = 64
    """How many of the last tokens the penalties look at: -1 all, 0 none."""
    frequency_penalty: float = 0.0
    """What is taken from a token's logit for each time it occurs in the window."""
    presence_penalty: float = 0.0
    """What is taken from a token's logit if it occurs in the window."""
    mirostat: int = 0
    """0 off, 1 mirostat, 2 mirostat 2.0; it replaces top-k, top-p, min-p and typical."""
    mirostat_tau: float = 5.0
    """Mirostat's target surprise, in bits."""
    mirostat_eta: float = 0.1
    """Mirostat's learning rate."""
    logit_bias: Mapping[int, float] | Iterable[tuple[int, float]] = ()
    """What to add to the logits of single tokens: a mapping or pairs, kept as a tuple of pairs. `-inf` bans a token."""
    seed: int | None = None
    """The seed of the random choice; the same seed gives the same text. None draws one from the operating system."""
    order: tuple[Stage, ...] = DEFAULT_ORDER
    """The stages to run, first to last; one that is not listed does not run. Kept as a tuple."""

    def __post_init__(self) -> None:
        for name in FLOATS:
            self._set(name, as_float(getattr(self, name), name))
        for name, (low, high) in INTEGERS.items():
            self._set(name, as_int(getattr(self, name), name, low, high))
        if self.seed is not None:
            self._set("seed", as_int(self.seed, "seed", *SEED_RANGE))
        self._set("logit_bias", _pairs(self.logit_bias))
        self._set("order", _stages(self.order))
        _native.check_sampling(self.to_dict())

    @classmethod
    def greedy(cls) -> SamplerConfig:
        """Always the most probable token."""
        return cls(temperature=0.0)

    @classmethod
    def llama_cpp(cls) -> SamplerConfig:
        """The defaults in llama.cpp's own order, where the temperature comes after the truncation."""
        return cls(order=LLAMA_CPP_ORDER)

    def replace(self, **changes: Any) -> SamplerConfig:
        """A copy with other values for the fields named, checked like a new one."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                message = f"`SamplerConfig` has no field `{name}`; its fields are {', '.join(f'`{field}`' for field in known)}"
                raise TypeError(message)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values; `SamplerConfig(**config.to_dict())` is equal to `config`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "logit_bias": list(fields["logit_bias"]), "order": list(fields["order"])}

    def _set(self, name: str, value: object) -> None:
        """Store a converted field of this frozen object while it is being made."""
        object.__setattr__(self, name, value)


def _pairs(value: object) -> tuple[tuple[int, float], ...]:
    """`logit_bias` as a tuple of pairs."""
    wanted = "`logit_bias` must be a mapping from tokens to numbers, or pairs of both"
    items = value.items() if isinstance(value, Mapping) else value
    if isinstance(items, (str, bytes, bytearray)) or not isinstance(items, Iterable):
        message = f"{wanted}, got {type_name(value)}"
        raise TypeError(message)
    pairs = []
    for item in items:
        if isinstance(item, (str, bytes)) or not isinstance(item, (tuple, list)) or len(item) != 2:
            message = f"{wanted}, got an element `{item!r:.60}`"
            raise TypeError(message)
        token, bias = item
        pairs.append((as_int(token, "logit_bias token", *TOKEN_RANGE), as_float(bias, "logit_bias")))
    return tuple(pairs)


def _stages(value: object) -> tuple[str, ...]:
    """`order` as a tuple of names; which names there are, the core knows."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        message = f"`order` must be a sequence of stage names such as {DEFAULT_ORDER}, got {type_name(value)}"
        raise TypeError(message)
    stages = tuple(value)
    for stage in stages:
        if not isinstance(stage, str):
            message = f"`order` must hold stage names such as `top_k`, got an element of type {type_name(stage)}"
            raise TypeError(message)
    return stages
