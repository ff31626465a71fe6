"""How long a model may think."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tabagent._arguments import as_bool, as_int, as_text, check_encodable, type_name

__all__ = ["ReasoningBudget"]

_MOST = 2**63 - 1


@dataclass(frozen=True)
class ReasoningBudget:
    """How many tokens a model may spend on its thoughts; for `generate(reasoning_budget=...)`.

        budget = ReasoningBudget(256, message=" That is enough.")

    Where they are used up inside of a thought, `message` and `end` are put into the text, and the model goes on after them. All thoughts of a text
    share the tokens; a character or an end that has begun is completed first. `Model.chat(reasoning=256)` finds the markers in the model's template.

    Raises:
        TypeError, ValueError: a value has a wrong type, or is out of its range.
    """

    max_tokens: int
    """Most tokens; 0 for no thought."""
    start: str = field(default="<think>", kw_only=True)
    """What begins a thought; empty if only the prompt does."""
    end: str = field(default="</think>", kw_only=True)
    """What ends it."""
    message: str = field(default="", kw_only=True)
    """What is put in front of `end` where the tokens are used up; not with 0 tokens."""
    inside: bool = field(default=False, kw_only=True)
    """Whether the prompt leaves the model in a thought."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_tokens", as_int(self.max_tokens, "max_tokens", 0, _MOST))
        for name in ("start", "end", "message"):
            check_encodable(as_text(getattr(self, name), name), name)
        as_bool(self.inside, "inside")
        if not self.end:
            message = "`end` is empty; give what ends a thought, such as `</think>`"
            raise ValueError(message)
        if self.end in self.message:
            message = f"`message` contains `{self.end}`, which ends a thought; leave that out, it is put in by itself"
            raise ValueError(message)


def budget_options(asked: object) -> dict[str, Any] | None:
    """What `generate` passes on of its `reasoning_budget`."""
    if asked is None or isinstance(asked, TemplateBudget):
        return None if asked is None else asked.options
    if not isinstance(asked, ReasoningBudget):
        message = f"`reasoning_budget` must be a ReasoningBudget, got {type_name(asked)}"
        raise TypeError(message)
    return {"max_tokens": asked.max_tokens, "message": asked.message, "kinds": [[asked.start, asked.end]], "inside": asked.inside}


@dataclass(frozen=True)
class TemplateBudget:
    """A budget whose markers a template gives."""

    options: dict[str, Any]
