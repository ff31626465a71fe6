"""What to do with texts that do not fit the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tabagent._arguments import INT32_MAX, as_int, type_name

__all__ = ["ContextShift"]

Overflow = Literal["error", "stop", "shift"]


@dataclass(frozen=True, kw_only=True)
class ContextShift:
    """Which tokens leave a context that is full; for `generate(overflow=...)`.

    As llama.cpp does it: tokens after the first `keep` ones leave, and those after them move up. What they had seen of the tokens that left stays in
    them, so the text goes on without decoding anything again. The model no longer sees what left; `usage.dropped_tokens` counts it.

    Raises:
        TypeError, ValueError: a value is no integer, or out of its range.
    """

    keep: int = 4
    """How many of the first tokens stay. Some must: attention gathers at the first ones, and the text comes apart without them (Xiao et al.,
    "Efficient Streaming Language Models with Attention Sinks", arXiv:2309.17453)."""
    discard: int | None = None
    """How many tokens leave at a time, 1 or more; None for half of those that may."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", as_int(self.keep, "keep", 0, INT32_MAX))
        if self.discard is not None:
            object.__setattr__(self, "discard", as_int(self.discard, "discard", 1, INT32_MAX))


def overflow_options(asked: object) -> str | dict[str, Any]:
    """What `generate` passes on of its `overflow`."""
    if isinstance(asked, ContextShift):
        return {"keep": asked.keep, "discard": asked.discard}
    if isinstance(asked, str) and asked in ("error", "stop", "shift"):
        return asked
    got = repr(asked) if isinstance(asked, str) else type_name(asked)
    message = f"`overflow` must be 'error', 'stop', 'shift' or a ContextShift, got {got}"
    raise (ValueError if isinstance(asked, str) else TypeError)(message)
