"""Loading a model in a process of its own."""

from __future__ import annotations

from typing import Any, Final

from tabagent import _trial
from tabagent._arguments import as_text

__all__ = ["isolation_option"]

ON_CRASH: Final = ("error", "replay")


def isolation_option(isolation: object, on_crash: object) -> dict[str, Any] | None:
    """What the core reads for `Model.load(isolation=..., on_crash=...)`; None for a model in this process.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    wanted = as_text(on_crash, "on_crash")
    if wanted not in ON_CRASH:
        message = f'`on_crash` must be "error" or "replay", got {wanted!r:.80}'
        raise ValueError(message)
    if isolation is None:
        if wanted != "error":
            message = f'`on_crash={wanted!r}` needs `isolation="process"`: a crash of llama.cpp in this process ends it'
            raise ValueError(message)
        return None
    if as_text(isolation, "isolation") != "process":
        message = f'`isolation` must be None or "process", got {isolation!r:.80}'
        raise ValueError(message)
    return {"program": _trial.CHILD, "on_crash": wanted, "crash_file": _trial.crash_file()}
