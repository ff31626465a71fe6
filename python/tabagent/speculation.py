"""How tokens are guessed ahead."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from tabagent._arguments import as_int, type_name

__all__ = ["SpeculativeConfig"]

_MOST = 64


@dataclass(frozen=True, kw_only=True)
class SpeculativeConfig:
    """Limits of `generate(speculative=...)`.

    Guesses are what followed the last few tokens when they came before in the prompt or the text. How many of them are decoded follows from how many
    came true and from the time that steps take; these are the limits.

    Raises:
        TypeError, ValueError: a value is no integer, or out of its range.
    """

    min_match: int = 2
    """How many last tokens must have come before, 1 to 64."""
    max_match: int = 4
    """How many last tokens are compared at most, `min_match` to 64: the longest match counts."""
    max_draft: int = 16
    """How many guesses are decoded in one step at most, 1 to 64."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, as_int(getattr(self, entry.name), entry.name, 1, _MOST))
        if self.max_match < self.min_match:
            message = f"`max_match` must be at least `min_match`, got {self.max_match} with `min_match={self.min_match}`"
            raise ValueError(message)


def speculation(asked: Literal["lookup"] | SpeculativeConfig | None) -> dict[str, Any] | None:
    """What `generate` passes on of its `speculative`."""
    if asked is None:
        return None
    if isinstance(asked, str) and asked == "lookup":
        asked = SpeculativeConfig()
    if isinstance(asked, SpeculativeConfig):
        return {entry.name: getattr(asked, entry.name) for entry in fields(asked)}
    got = repr(asked) if isinstance(asked, str) else type_name(asked)
    message = f"`speculative` must be 'lookup', a SpeculativeConfig or None, got {got}"
    raise (ValueError if isinstance(asked, str) else TypeError)(message)
