"""How tokens are guessed ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabagent._arguments import as_bool, as_float, as_int, type_name

if TYPE_CHECKING:
    from tabagent import _native
    from tabagent.model import Model

__all__ = ["SpeculativeConfig"]

_MOST = 64
_MAX_DRAFT = {False: 16, True: 8}
"""By whether a draft model guesses."""
_LIMITS = ("max_draft", "min_draft", "min_probability")
"""What limits a draft model."""
_LOOKUP = ("min_match", "max_match", "max_draft", "shared")
"""What limits looking up."""


@dataclass(frozen=True, kw_only=True)
class SpeculativeConfig:
    """Who guesses for `generate(speculative=...)`, and its limits.

    Without a draft model, guesses are what followed the last few tokens when they came before in the prompt or the text, or else in texts that the
    model generated before. How many of them are decoded follows from how many came true and from the time that steps take; these are the limits.

    Raises:
        TypeError, ValueError: a value is no integer, or out of its range; `draft_model` is no model.
    """

    min_match: int = 2
    """How many last tokens must have come before, 1 to 64."""
    max_match: int = 4
    """How many last tokens are compared at most, `min_match` to 64: the longest match counts."""
    max_draft: int | None = None
    """How many guesses are decoded in one step at most, 1 to 64; None for 16, or for 8 of a draft model."""
    min_draft: int = 0
    """How many guesses of a draft model are decoded in one step at least, however improbable, 0 to `max_draft`."""
    min_probability: float = 0.3
    """How probable a guess must be to the draft model, together with those before it in the same step, 0 to 1. The first one, and `min_draft` of
    them, are made in any case."""
    shared: bool = True
    """Guess from what other requests with `shared` generated, too, where the text itself has no such place, and let others guess from this one. How
    fast a text comes may then tell what others were: turn it off where they must not know of each other."""
    draft_model: Model | None = None
    """A smaller model with the same vocabulary that guesses, in place of what came before; it must be loaded, and stay so."""

    def __post_init__(self) -> None:
        from tabagent.model import Model  # noqa: PLC0415 (it imports this)

        if not (self.draft_model is None or isinstance(self.draft_model, Model)):
            message = f"`draft_model` must be a Model, got {type_name(self.draft_model)}"
            raise TypeError(message)
        for name in ("min_match", "max_match"):
            object.__setattr__(self, name, as_int(getattr(self, name), name, 1, _MOST))
        object.__setattr__(self, "shared", as_bool(self.shared, "shared"))
        most = _MAX_DRAFT[self.draft_model is not None] if self.max_draft is None else self.max_draft
        object.__setattr__(self, "max_draft", as_int(most, "max_draft", 1, _MOST))
        object.__setattr__(self, "min_draft", as_int(self.min_draft, "min_draft", 0, self.max_draft))
        probability = as_float(self.min_probability, "min_probability")
        if not 0 <= probability <= 1:
            message = f"`min_probability` must be between 0 and 1, got {probability:g}"
            raise ValueError(message)
        object.__setattr__(self, "min_probability", probability)
        if self.max_match < self.min_match:
            message = f"`max_match` must be at least `min_match`, got {self.max_match} with `min_match={self.min_match}`"
            raise ValueError(message)


def limits_of(config: SpeculativeConfig) -> dict[str, Any]:
    """The limits of a draft model, by name."""
    return {name: getattr(config, name) for name in _LIMITS}


def speculation(asked: object) -> tuple[dict[str, Any] | None, tuple[_native.Model, dict[str, Any]] | None]:
    """What `generate` passes on of its `speculative`: limits of looking up, or a draft model with its limits."""
    if asked is None:
        return None, None
    if isinstance(asked, str) and asked == "lookup":
        asked = SpeculativeConfig()
    elif not isinstance(asked, (str, SpeculativeConfig)):
        from tabagent.model import Model  # noqa: PLC0415 (it imports this)

        asked = SpeculativeConfig(draft_model=asked) if isinstance(asked, Model) else asked
    if isinstance(asked, SpeculativeConfig):
        if asked.draft_model is not None:
            return None, (asked.draft_model._native, limits_of(asked))  # noqa: SLF001 (its own other half)
        return {name: getattr(asked, name) for name in _LOOKUP}, None
    got = repr(asked) if isinstance(asked, str) else type_name(asked)
    message = f"`speculative` must be 'lookup', a Model, a SpeculativeConfig or None, got {got}"
    raise (ValueError if isinstance(asked, str) else TypeError)(message)
