"""Trying a model in a child process before it is loaded."""

from __future__ import annotations

import os
from typing import Any, Final

from tabagent._arguments import type_name
from tabagent._cache_path import in_cache

__all__ = ["CHILD", "crash_file", "library_probe", "trial_option"]

CHILD: Final = os.path.join(os.path.dirname(__file__), "bin", "tabagent-child" + (".exe" if os.name == "nt" else ""))  # noqa: PTH118, PTH120 (light)
"""The program of the child."""
VERDICTS: Final = "trials"
"""The folder of verdicts in the cache."""
REPORTS: Final = "libraries-tried"
"""The folder in the cache that keeps what children said of libraries and GPUs."""
CRASHES: Final = "crashes.txt"
"""The file in the cache that has a line for each assertion of llama.cpp that ended a process."""


def trial_option(trial: object) -> dict[str, Any] | None:
    """What the core reads for `Model.load(trial=...)`; None for no trial.

    Raises:
        TypeError, ValueError: it is neither a bool nor `auto`.
    """
    if trial is False:
        return None
    if not isinstance(trial, (bool, str)):
        message = f'`trial` must be True, False or "auto", got {type_name(trial)}'
        raise TypeError(message)
    if trial is not True and trial != "auto":
        message = f'`trial` must be True, False or "auto", got {trial!r:.80}'
        raise ValueError(message)
    return {"program": CHILD, "verdicts": in_cache(VERDICTS), "always": trial is True}


def library_probe() -> tuple[str, str | None]:
    """How the core asks what libraries and GPUs do: the program of child processes, and the folder that keeps what it said."""
    return CHILD, in_cache(REPORTS)


def crash_file() -> str | None:
    """Where an assertion that ends the process leaves a line; None where there is no cache."""
    return in_cache(CRASHES)
