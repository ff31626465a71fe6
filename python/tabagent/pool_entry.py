"""The models of a pool: where each comes from, and whether it is loaded and in use."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabagent._arguments import type_name
from tabagent.errors import ClosedError
from tabagent.model import Model

if TYPE_CHECKING:
    from tabagent.memory import MemoryNeed

__all__ = ["Entry", "PoolModelStats", "PoolStats", "Source", "checked_source", "file_of", "load_arguments", "load_source", "stats_of"]

Source = str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Model]


@dataclass(frozen=True, kw_only=True)
class PoolModelStats:
    """One model of a pool."""

    name: str
    """Its name."""
    state: str
    """`unloaded`, `loading`, `busy` (borrowed, or with running requests), `idle` or `closing`."""
    memory: int
    """Bytes that count for the pool's limit."""
    borrowed: int
    """How many leases are open."""
    loads: int
    """How often it was loaded."""


@dataclass(frozen=True, kw_only=True)
class PoolStats:
    """What a pool holds."""

    models: tuple[PoolModelStats, ...]
    """All models that were asked for or declared."""
    memory_used: int
    """Bytes of all loaded models. A file that two of them map counts once."""
    memory_limit: int | None
    """The most that they may be."""
    loads: int
    """Models loaded so far."""
    evictions: int
    """Models closed so far because their memory was needed, or because nobody asked for them any more."""


class Entry:
    """A model of the pool, loaded or not. Touched only with the pool's lock held."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.model: Model | None = None
        self.loading = False
        self.closing = False
        self.borrowed_before = False
        self.need: MemoryNeed | None = None
        self.owners: list[int] = []
        self.used = 0.0
        self.expires = math.inf
        self.loads = 0

    @property
    def is_busy(self) -> bool:
        """Whether it must not be closed: it is being loaded, borrowed, or has requests."""
        if self.loading or self.owners:
            return True
        if self.model is None:
            return False
        try:
            stats = self.model.stats
        except ClosedError:
            return False
        return stats.active > 0 or stats.queued > 0

    def forget(self) -> None:
        """Have no model any more."""
        self.model = self.need = None
        self.expires = math.inf
        self.borrowed_before = False


def load_source(source: Source, name: str, goes_on: Callable[[float], bool]) -> Model:
    """Load a model as its source says; `goes_on` tells whether somebody still waits for it.

    Raises:
        TypeError: a function returned something else.
    """
    if callable(source):
        model = source()
        if not isinstance(model, Model):
            message = f"the function that loads `{name}` must return a Model, got {type_name(model)}"
            raise TypeError(message)
        return model
    return Model.load(**{"progress": goes_on, **load_arguments(source)})


def load_arguments(source: Source) -> dict[str, Any]:
    """The arguments of `Model.load`."""
    assert not callable(source)  # noqa: S101 (the callers have looked)
    return dict(source) if isinstance(source, Mapping) else {"path": source}


def file_of(entry: Entry) -> str:
    """The file whose mapping the model shares with others of the same file."""
    if entry.model is not None:
        return os.path.realpath(entry.model.info.path)
    if callable(entry.source):
        return f"\0{entry.name}"
    return os.path.realpath(Path(load_arguments(entry.source)["path"]).expanduser())


def stats_of(entry: Entry) -> PoolModelStats:
    """The entry as others see it."""
    if entry.loading:
        state = "loading"
    elif entry.closing:
        state = "closing"
    elif entry.model is None:
        state = "unloaded"
    else:
        state = "busy" if entry.is_busy else "idle"
    memory = 0 if entry.need is None else entry.need.total
    return PoolModelStats(name=entry.name, state=state, memory=memory, borrowed=len(entry.owners), loads=entry.loads)


def checked_source(name: str, source: Source) -> Source:
    """The source, which must be one.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(source, Mapping):
        if "path" not in source:
            message = f"`models[{name}]` has no `path`; give the arguments of `Model.load`"
            raise ValueError(message)
        unknown = set(source) - set(inspect.signature(Model.load).parameters)
        if unknown:
            message = f"`models[{name}]` has `{min(unknown)}`, which `Model.load` does not take"
            raise TypeError(message)
    elif not callable(source) and not isinstance(source, (str, os.PathLike)):
        message = f"`models[{name}]` must be a path, a mapping of `Model.load`'s arguments or a function, got {type_name(source)}"
        raise TypeError(message)
    return source
