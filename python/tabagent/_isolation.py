"""Loading a model in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tabagent import _trial
from tabagent._arguments import as_text
from tabagent._placement import has_servers

__all__ = ["chosen_isolation", "isolation_option"]

ON_CRASH: Final = ("error", "replay")


def chosen_isolation(isolation: Any, on_gpu_failure: object, devices: Sequence[str] | None) -> Any:
    """`process` also where what else was asked for needs a process that may end: devices of other machines, and going on when a device fails."""
    needed = on_gpu_failure is not None or has_servers(devices)
    return "process" if isolation is None and needed else isolation


def isolation_option(isolation: object, on_crash: object, on_gpu_failure: object = None) -> dict[str, Any] | None:
    """What the core reads for `Model.load(isolation=..., on_crash=..., on_gpu_failure=...)`; None for a model in this process.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    wanted = as_text(on_crash, "on_crash")
    if wanted not in ON_CRASH:
        message = f'`on_crash` must be "error" or "replay", got {wanted!r:.80}'
        raise ValueError(message)
    if on_gpu_failure is not None and as_text(on_gpu_failure, "on_gpu_failure") != "cpu":
        message = f'`on_gpu_failure` must be None or "cpu", got {on_gpu_failure!r:.80}'
        raise ValueError(message)
    if isolation is None:
        if wanted != "error":
            message = f'`on_crash={wanted!r}` needs `isolation="process"`: a crash of llama.cpp in this process ends it'
            raise ValueError(message)
        return None
    if as_text(isolation, "isolation") != "process":
        message = f'`isolation` must be None or "process", got {isolation!r:.80}'
        raise ValueError(message)
    return {"program": _trial.CHILD, "on_crash": wanted, "on_gpu_failure": on_gpu_failure, "crash_file": _trial.crash_file()}
