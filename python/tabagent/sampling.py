"""How the next token is chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

from tabagent import _native
from tabagent._arguments import Tokens, as_bool, as_float, as_int, as_tokens, check_encodable, is_iterable, type_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from tabagent.model import Model

__all__ = ["SamplerConfig", "Stage", "StageReport", "Step"]

Stage: TypeAlias = (
    Literal["penalties"]  # noqa: PYI030 (stubtest cannot read the short form)
    | Literal["dry"]
    | Literal["temperature"]
    | Literal["top_n_sigma"]
    | Literal["top_k"]
    | Literal["top_p"]
    | Literal["min_p"]
    | Literal["typical_p"]
    | Literal["xtc"]
    | Literal["infill"]
    | Literal["adaptive_p"]
    | Literal["mirostat"]
)
"""The name of one sampling stage."""

_SETTINGS, _STAGES, _DEFAULT_ORDER, _LLAMA_CPP_ORDER, _ = _native.sampler_facts()
DEFAULT_ORDER: Final[tuple[Stage, ...]] = tuple(_DEFAULT_ORDER)  # type: ignore[arg-type] # a test compares the names with `Stage`
LLAMA_CPP_ORDER: Final[tuple[Stage, ...]] = tuple(_LLAMA_CPP_ORDER)  # type: ignore[arg-type] # likewise
STAGES: Final[tuple[Stage, ...]] = tuple(name for name, _ in _STAGES)  # type: ignore[misc] # likewise
FIELDS_OF_STAGES: Final = {name: tuple(fields) for name, fields in _STAGES if name not in {"adaptive_p", "mirostat"}}
"""What a stage of one's own may set; the two that make the choice run once and take theirs from the configuration."""
NUMBERS: Final = tuple(name for name, *_ in _SETTINGS)
INTEGERS: Final = {name: integers for name, _, _, integers in _SETTINGS if integers is not None}
"""What the core can hold. Ranges are checked there."""
SEED_RANGE: Final = (0, 2**64 - 1)
TOKEN_RANGE: Final = (0, 2**31 - 1)


@dataclass(frozen=True, init=False)
class Step:
    """A stage of `SamplerConfig.order` with parameters of its own, so that a stage can run twice with different values.

        SamplerConfig(order=[Step("top_k", top_k=200), "temperature", "top_k"])

    Parameters are named as the fields of `SamplerConfig`; what is not given is the configuration's.

    Raises:
        TypeError: a parameter has a value of the wrong type; the text names it.
        ValueError: there is no such stage, or the stage has no such parameter.
    """

    stage: Stage
    """The stage."""
    parameters: tuple[tuple[str, float], ...]
    """The parameters that differ from the configuration's, by name."""

    def __init__(self, stage: Stage, /, **parameters: float) -> None:
        if not isinstance(stage, str):
            message = f"a step's stage must be a name such as `top_k`, got {type_name(stage)}"
            raise TypeError(message)
        known = FIELDS_OF_STAGES.get(stage)
        if known is None:
            message = f"`{stage}` is no stage with parameters of its own; those are {', '.join(f'`{name}`' for name in FIELDS_OF_STAGES)}"
            raise ValueError(message)
        for name in parameters:
            if name not in known:
                has = f"it has {', '.join(f'`{field}`' for field in known)}" if known else "it has none"
                message = f"stage `{stage}` has no parameter `{name}`; {has}"
                raise ValueError(message)
        object.__setattr__(self, "stage", stage)
        object.__setattr__(self, "parameters", tuple((name, _number(name, value)) for name, value in parameters.items()))

    def to_dict(self) -> dict[str, Any]:
        """The stage's name under `stage`, and the parameters."""
        return {"stage": self.stage, **dict(self.parameters)}

    def __repr__(self) -> str:
        return f"Step({', '.join([repr(self.stage), *(f'{name}={value!r}' for name, value in self.parameters)])})"


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What one stage of a sampling step did."""

    name: str
    """The stage; also `logit_bias` for bias and bans, and `dist` or `greedy` for what makes the choice."""
    parameters: Mapping[str, float]
    """The values that the stage worked with, by name."""
    kept: int
    """How many tokens were left after it."""
    mass: float
    """How much of the probability before it those tokens had together, 0 to 1."""
    top: tuple[tuple[int, float, float], ...]
    """The most probable tokens before it, best first: token, probability before, probability after (0 if removed)."""


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
    dynatemp_range: float = 0.0
    """How far the temperature goes below and above `temperature` with the entropy (dynamic temperature); 0 is off. At least 0."""
    dynatemp_exponent: float = 1.0
    """The power of the entropy, relative to the largest possible, that moves the dynamic temperature. At least 0."""
    top_n_sigma: float = -1.0
    """How many standard deviations below the best logit to keep; 0 and below keeps all."""
    top_k: int = 40
    """How many of the most probable tokens to keep; 0 keeps all."""
    top_p: float = 0.95
    """The probability that the most probable tokens kept must hold, in (0, 1]; 1 keeps all."""
    min_p: float = 0.05
    """The least probability relative to the best token's, in [0, 1]; 0 keeps all."""
    typical_p: float = 1.0
    """The probability that the most typical tokens kept must hold, in (0, 1]; 1 keeps all."""
    xtc_probability: float = 0.0
    """The chance, in [0, 1], that XTC removes the most probable tokens in a step; 0 is off."""
    xtc_threshold: float = 0.1
    """The least probability of the tokens that XTC removes, in [0, 1]; the last of them stays. Above 0.5 it is off."""
    min_keep: int = 1
    """How many tokens top-p, min-p, typical and XTC keep at the least."""
    repeat_penalty: float = 1.0
    """What a positive logit of a token of the window is divided by, and a negative one multiplied by; 1 is off. Above 0."""
    repeat_window: int = 64
    """How many of the last tokens the penalties look at: -1 all, 0 none."""
    frequency_penalty: float = 0.0
    """What is taken from a token's logit for each time it occurs in the window."""
    presence_penalty: float = 0.0
    """What is taken from a token's logit if it occurs in the window."""
    dry_multiplier: float = 0.0
    """What DRY takes from the logit of a token that makes a repetition longer than allowed by one; 0 is off. At least 0."""
    dry_base: float = 1.75
    """What DRY's penalty grows by with each further token; below 1 is off. At least 0."""
    dry_allowed_length: int = 2
    """The longest repetition without a penalty from DRY, in tokens."""
    dry_window: int = 64
    """How many of the last tokens DRY looks at: -1 all, 0 none."""
    dry_breakers: Iterable[str | Iterable[int]] = ("\n", ":", '"', "*")
    """Where repetitions end for DRY: texts, or sequences of token ids. Kept as a tuple. Texts need a model's vocabulary."""
    adaptive_target: float = -1.0
    """The probability, at most 1, that adaptive-p prefers; negative is off. It makes the choice, after all other stages."""
    adaptive_decay: float = 0.9
    """How much of the past adaptive-p remembers at each token, in [0, 0.99]: about `1 / (1 - decay)` tokens."""
    mirostat: int = 0
    """0 off, 1 mirostat, 2 mirostat 2.0; it replaces all stages but penalties, DRY and temperature."""
    mirostat_tau: float = 5.0
    """Mirostat's target surprise, in bits."""
    mirostat_eta: float = 0.1
    """Mirostat's learning rate."""
    logit_bias: Mapping[int, float] | Iterable[tuple[int, float]] = ()
    """What to add to the logits of single tokens: a mapping or pairs, kept as a tuple of pairs. `-inf` bans a token."""
    banned_tokens: Iterable[int] = ()
    """Tokens that are never chosen. Kept as a tuple."""
    allowed_tokens: Iterable[int] | None = None
    """If given, only these tokens are ever chosen; at least one. Kept as a tuple."""
    seed: int | None = None
    """The seed of the random choice; the same seed gives the same text. None draws one from the operating system."""
    order: Iterable[Stage | Step] = DEFAULT_ORDER
    """The stages to run, first to last: names, or `Step` for a stage with parameters of its own. A stage may be repeated; one that is
    not listed does not run. Kept as a tuple."""

    def __post_init__(self) -> None:
        for name in NUMBERS:
            self._set(name, _number(name, getattr(self, name)))
        if self.seed is not None:
            self._set("seed", as_int(self.seed, "seed", *SEED_RANGE))
        self._set("dry_breakers", _breakers(self.dry_breakers))
        self._set("logit_bias", _pairs(self.logit_bias))
        self._set("banned_tokens", _token_ids(self.banned_tokens, "banned_tokens"))
        if self.allowed_tokens is not None:
            self._set("allowed_tokens", _token_ids(self.allowed_tokens, "allowed_tokens"))
        self._set("order", _stages(self.order))
        _native.check_sampling(self.to_dict())
        self._check_that_a_token_is_left()

    @classmethod
    def greedy(cls) -> SamplerConfig:
        """Always the most probable token."""
        return cls(temperature=0.0)

    @classmethod
    def llama_cpp(cls) -> SamplerConfig:
        """The defaults in llama.cpp's own order, where the temperature comes after the truncation."""
        return cls(order=LLAMA_CPP_ORDER)

    @classmethod
    def from_model(cls, model: Model) -> SamplerConfig:
        """What the model's file recommends (`general.sampling.*` in its metadata); what it does not say is as in `SamplerConfig()`.

        Args:
            model: a loaded model.

        Raises:
            TypeError: it is no model.
            ValueError: the file has a value that cannot be used; the text names its key.
        """
        if not hasattr(model, "metadata"):
            message = f"`model` must be a Model, got {type_name(model)}; load it first"
            raise TypeError(message)
        given = {key.removeprefix(METADATA_PREFIX): value for key, value in model.metadata.items() if key.startswith(METADATA_PREFIX)}
        fields: dict[str, Any] = {}
        for key, text in given.items():
            field = METADATA_FIELDS.get(key)
            if field is not None:
                fields[field] = _metadata_number(key, field, text)
        if names := [name.strip() for name in given.get("sequence", "").split(";") if name.strip()]:
            fields["order"] = stages_by_name(names)
        try:
            return cls(**fields)
        except ValueError as error:
            message = f"the model's `{METADATA_PREFIX}*` cannot be used: {error}"
            raise ValueError(message) from error

    @overload
    def probabilities(
        self, logits: ArrayLike, history: Tokens = ..., *, explain: Literal[False] = ..., model: Model | None = ...
    ) -> NDArray[np.float32]: ...
    @overload
    def probabilities(
        self, logits: ArrayLike, history: Tokens = ..., *, explain: Literal[True], model: Model | None = ...
    ) -> tuple[NDArray[np.float32], list[StageReport]]: ...
    def probabilities(
        self, logits: ArrayLike, history: Tokens = (), *, explain: bool = False, model: Model | None = None
    ) -> NDArray[np.float32] | tuple[NDArray[np.float32], list[StageReport]]:
        """The distribution that the next token is drawn from.

            config.probabilities([2.0, 1.0, 0.0])  # array([0.7..., 0.2..., 0.0...], dtype=float32)

        Args:
            logits: one a token of the vocabulary, shape (n_vocab,); taken as float32. NaN, negative infinity and masked entries of a numpy
                masked array are tokens that cannot be chosen; where one is positive infinity, the first such token is certain. At least one
                must be above negative infinity.
            history: the tokens so far, first to last, which penalties and DRY look at; those without a logit count for nothing.
            explain: also tell what each stage did.
            model: the model whose vocabulary is meant; only infill and texts in `dry_breakers` need one.

        Returns:
            Float32 of shape (n_vocab,): 0 for tokens that were removed, and a single 1 where the choice is greedy. With `explain` also
            a list with the report of each stage that ran, first to last. XTC's coin falls as `seed` makes it fall in the first step.

        Raises:
            TypeError: the logits are no numbers, or an argument has the wrong type.
            ValueError: the logits do not have one dimension, or the configuration does not fit the vocabulary.
            SamplingError: no logit is above negative infinity, or no token is allowed.
        """
        import numpy as np  # noqa: PLC0415 (slow to import, and most programs that set a sampler never need it)

        wanted = "`logits` must be one number for each token of the vocabulary, of the shape (n_vocab,)"
        try:
            given = np.asarray(logits)
        except ValueError as error:
            message = f"{wanted}: {error}"
            raise ValueError(message) from error
        if given.dtype.kind in "OUScmM":
            message = f"{wanted}, got `{given.dtype}` of the shape {given.shape}"
            raise TypeError(message)
        if given.ndim != 1 or not given.size:
            message = f"{wanted}, got the shape {given.shape}"
            raise ValueError(message)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and there is a rule for that
            row = np.ascontiguousarray(given, dtype=np.float32)
        if isinstance(logits, np.ma.MaskedArray):
            row = np.where(np.ma.getmaskarray(logits), np.float32(-np.inf), row)
        tokens = as_tokens(history, "history")
        native = None if model is None else getattr(model, "_native", model)
        if native is not None and not isinstance(native, _native.Model):
            message = f"`model` must be a Model, got {type_name(model)}"
            raise TypeError(message)
        if native is None and any((stage.stage if isinstance(stage, Step) else stage) == "infill" for stage in self.order):
            message = "`order` names `infill`, which needs the vocabulary; give `model`"
            raise ValueError(message)
        if native is not None and row.size != (size := native.facts()["vocab_size"]):
            message = f"`logits` has {row.size} numbers and the vocabulary of `model` {size} tokens; give those of the same model"
            raise ValueError(message)
        found, reports = _native.sampling_distribution(self.to_dict(), row, tokens, explain=as_bool(explain, "explain"), model=native)
        if reports is None:
            return found
        return found, [
            StageReport(name=name, parameters=dict(parameters), kept=kept, mass=mass, top=tuple(top)) for name, parameters, kept, mass, top in reports
        ]

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
        return {
            **fields,
            "dry_breakers": [item if isinstance(item, str) else list(item) for item in fields["dry_breakers"]],
            "logit_bias": list(fields["logit_bias"]),
            "banned_tokens": list(fields["banned_tokens"]),
            "allowed_tokens": None if self.allowed_tokens is None else list(self.allowed_tokens),
            "order": [stage.to_dict() if isinstance(stage, Step) else stage for stage in fields["order"]],
        }

    def _check_that_a_token_is_left(self) -> None:
        """Refuse allowed tokens that are all banned: no step could choose one."""
        if self.allowed_tokens is None:
            return
        pairs: Any = self.logit_bias
        banned = {*self.banned_tokens, *(token for token, bias in pairs if bias == -math.inf)}
        if banned.issuperset(self.allowed_tokens):
            message = "`allowed_tokens` names no token that `banned_tokens` and `logit_bias` leave; allow another, or ban less"
            raise ValueError(message)

    def _set(self, name: str, value: object) -> None:
        """Store a converted field of this frozen object while it is being made."""
        object.__setattr__(self, name, value)


def _pairs(value: object) -> tuple[tuple[int, float], ...]:
    """`logit_bias` as a tuple of pairs."""
    wanted = "`logit_bias` must be a mapping from tokens to numbers, or pairs of both"
    items = value.items() if isinstance(value, Mapping) else value
    if isinstance(items, (str, bytes, bytearray)) or not is_iterable(items):
        message = f"{wanted}, got {type_name(value)}"
        raise TypeError(message)
    pairs = []
    for item in items:  # type: ignore[attr-defined] # it is iterable
        if isinstance(item, (str, bytes)) or not isinstance(item, (tuple, list)) or len(item) != 2:
            message = f"{wanted}, got an element `{item!r:.60}`"
            raise TypeError(message)
        token, bias = item
        pairs.append((as_int(token, "logit_bias token", *TOKEN_RANGE), as_float(bias, "logit_bias")))
    return tuple(pairs)


def _stages(value: object) -> tuple[str | Step, ...]:
    """`order` as a tuple of names and steps; which names there are, the core knows."""
    # A set has no order.
    if isinstance(value, (str, bytes, Mapping, AbstractSet)) or not is_iterable(value):
        message = f"`order` must be a sequence of stage names such as {DEFAULT_ORDER}, got {type_name(value)}"
        raise TypeError(message)
    return tuple(_stage(item) for item in value)  # type: ignore[attr-defined] # it is iterable


def _stage(item: object) -> str | Step:
    """One entry of `order`; a mapping is what `Step.to_dict` gives."""
    if isinstance(item, Mapping) and "stage" in item:
        return Step(item["stage"], **{name: value for name, value in item.items() if name != "stage"})
    if not isinstance(item, (str, Step)):
        message = f"`order` must hold stage names such as `top_k`, or `Step`, got an element of type {type_name(item)}"
        raise TypeError(message)
    return item


def _number(name: str, value: object) -> float:
    """The value of a field that is a number."""
    return as_int(value, name, *INTEGERS[name]) if name in INTEGERS else as_float(value, name)


def _token_ids(value: object, name: str) -> tuple[int, ...]:
    """Tokens as a tuple."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not is_iterable(value):
        message = f"`{name}` must be a sequence of token ids, got {type_name(value)}"
        raise TypeError(message)
    items: Any = value
    return tuple(as_int(token, f"{name}[{at}]", *TOKEN_RANGE) for at, token in enumerate(items))


def _breakers(value: object) -> tuple[str | tuple[int, ...], ...]:
    """`dry_breakers` as a tuple of texts and tuples of tokens; empty ones break nothing and are refused."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not is_iterable(value):
        message = f"`dry_breakers` must be a sequence of texts, or of sequences of token ids, got {type_name(value)}"
        raise TypeError(message)
    items: Any = value
    found = tuple(item if isinstance(item, str) else _token_ids(item, f"dry_breakers[{at}]") for at, item in enumerate(items))
    for at, item in enumerate(found):
        if isinstance(item, str):
            check_encodable(item, f"dry_breakers[{at}]")
    if "" in found or () in found:
        message = "`dry_breakers` must not hold an empty breaker; leave it out"
        raise ValueError(message)
    return found


METADATA_PREFIX: Final = "general.sampling."
METADATA_FIELDS: Final = {
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "temp": "temperature",
    "penalty_last_n": "repeat_window",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}
"""The fields that a model's file may recommend (`LLM_KV_GENERAL_SAMPLING_*` in llama.cpp's `src/llama-arch.cpp`)."""


def _metadata_number(key: str, field: str, text: str) -> float:
    """A value of the model's file; what llama.cpp takes for off becomes our number for it."""
    try:
        value = int(float(text)) if field in INTEGERS else float(text)
    except (ValueError, OverflowError):
        message = f"the model's `{METADATA_PREFIX}{key}` is `{text}`, which is no number"
        raise ValueError(message) from None
    return max(value, 0) if field in {"top_k", "temperature", "repeat_window"} else value


def stages_by_name(names: Iterable[str]) -> tuple[Stage, ...]:
    """Stages by the names that llama.cpp gives them (`common_sampler_types_from_names` in `common/sampling.cpp`): `typ_p`, `top-k`, `minp`.

    Raises:
        ValueError: a name that no stage has.
    """
    return tuple(_stage_by_name(name) for name in names)


def _stage_by_name(name: str) -> Stage:
    known: dict[str, Stage] = {stage.replace("_", ""): stage for stage in STAGES}
    known |= {"nucleus": "top_p", "temp": "temperature", "typ": "typical_p", "typp": "typical_p", "typical": "typical_p", "topnsigma": "top_n_sigma"}
    stage = known.get(name.lower().replace("_", "").replace("-", ""))
    if stage is None:
        message = f"`{name}` is no sampling stage; use {', '.join(f'`{known}`' for known in STAGES)}"
        raise ValueError(message)
    return stage
