"""Several models in one process, loaded when they are asked for and closed when their memory is needed."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from tabagent import _native
from tabagent._arguments import as_text, type_name
from tabagent._placement import has_servers
from tabagent.errors import ClosedError, ForkedError, IncompatibleLibraryError, ModelLoadCancelledError, ModelNotFoundError, OutOfMemoryError
from tabagent.event_loop import running_loop
from tabagent.memory import MIB, MemoryNeed, predict_memory
from tabagent.model import Model
from tabagent.pool_entry import Entry, PoolModelStats, PoolStats, Source, checked_source, file_of, load_arguments, load_source, stats_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Lease", "ModelPool", "PoolModelStats", "PoolStats"]

KEEP_ALIVE_S: Final = 300.0
RECHECK_S: Final = 0.05
"""How often a waiting `get` looks whether streams that outlived their lease have ended."""

L = TypeVar("L")
PREDICTED: Final = frozenset(inspect.signature(predict_memory).parameters)
"""The arguments of `Model.load` on which memory depends."""


class ModelPool:
    """Models by name: loaded when first asked for, shared by all who ask, and closed, the least recently used first, when others need the memory.

        pool = ModelPool({"short": "model.gguf", "long": {"path": "model.gguf", "context_size": 8192}}, memory_limit="6GiB")
        with pool.get("short") as model:
            print(model.generate("Once upon a time", max_tokens=32).result().text)

    A model is never closed while it is borrowed or has a running request. In an event loop it is `async with pool.get("short") as model`. All methods
    may be called from any thread.
    """

    def __init__(
        self,
        models: Mapping[str, Source] | Callable[[str], Model],
        *,
        memory_limit: int | str | None = None,
        keep_alive: float = KEEP_ALIVE_S,
    ) -> None:
        """A pool of these models; none is loaded yet.

        Args:
            models: for each name a path (or `demo`), a mapping of `Model.load`'s arguments with `path` among them, or a function that loads and
                returns the model; or one function that does so for any name.
            memory_limit: most bytes of all loaded models together, weights that are mapped from files included: a number, or a text such as
                `6GiB`; None for as much as there is, which each load finds out.
            keep_alive: for how many seconds an idle model stays loaded: 0 closes it when it is given back, a negative number never.

        Raises:
            TypeError, ValueError: an argument is wrong.
        """
        if not callable(models) and not isinstance(models, Mapping):
            message = f"`models` must be a mapping of names, or a function of a name, got {type_name(models)}"
            raise TypeError(message)
        self._loader = models if callable(models) else None
        self._entries: dict[str, Entry] = {}
        for name, source in () if callable(models) else models.items():
            self._entries[as_text(name, "models")] = Entry(name, checked_source(name, source))
        self._limit = as_limit(memory_limit)
        self._keep_alive = _seconds(keep_alive)
        self._condition = threading.Condition()
        self._closed = False
        self._loads = 0
        self._evictions = 0
        self._reaper: threading.Thread | None = None
        self._process = os.getpid()

    def get(self, name: str, *, timeout: float | None = None, keep_alive: float | None = None) -> Lease:
        """Borrow a model, for a `with` or `async with` block.

        The block's beginning loads it if it is not loaded, and waits where the memory is held by models that are in use: `timeout` seconds, None
        without limit. `keep_alive` is in place of the pool's for this model, until it is closed. The block's beginning is also what raises.

        Raises:
            ModelNotFoundError: the pool has no such model, or its file is not there.
            OutOfMemoryError: it does not fit even alone, all that is in its way is borrowed by the same thread, or `timeout` is over.
            ClosedError: the pool is closed.
            ForkedError: the pool was made before a fork.
            TabagentError: the model cannot be loaded.
        """
        wait = math.inf if timeout is None else _number(timeout, "timeout")
        if wait < 0:
            message = f"`timeout` must not be negative, got `{timeout}`"
            raise ValueError(message)
        kept = None if keep_alive is None else _seconds(keep_alive)
        return Lease(self, as_text(name, "name"), wait, kept)

    def unload(self, name: str) -> bool:
        """Close a model if it is loaded and not in use; returns whether it is unloaded now."""
        with self._condition:
            entry = self._entries.get(as_text(name, "name"))
            if entry is None or (entry.model is None and not entry.loading):
                return True
            if entry.is_busy:
                return False
            model = self._take(entry)
        self._end(entry, model)
        return True

    def names(self) -> list[str]:
        """The models that were declared or asked for."""
        with self._condition:
            return list(self._entries)

    def stats(self) -> PoolStats:
        """What the pool holds now."""
        with self._condition:
            models = tuple(stats_of(entry) for entry in self._entries.values())
            used = self._used()
            return PoolStats(models=models, memory_used=used, memory_limit=self._limit, loads=self._loads, evictions=self._evictions)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Close all models, those in use too (their streams raise `ClosedError`), and lend no more. Closing again is fine."""
        if self._process != os.getpid():
            return
        with self._condition:
            self._closed = True
            loaded = [entry for entry in self._entries.values() if entry.model is not None]
            taken = [(entry, self._take(entry, evicted=False)) for entry in loaded]
            self._condition.notify_all()
        for entry, model in taken:
            self._end(entry, model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        loaded = sum(entry.model is not None for entry in self._entries.values())
        return f"<ModelPool of {len(self._entries)} models, {loaded} loaded{', closed' if self._closed else ''}>"

    # Borrowing

    def _borrow(self, lease: Lease, owner: int) -> Model:
        """The model of the lease, loaded and counted as borrowed."""
        deadline = time.monotonic() + lease.timeout
        entry = self._entry(lease.name)
        while True:
            with self._condition:
                self._check_open()
                lease.check()
                if entry.model is not None and entry.model.closed:
                    # By its user.
                    entry.forget()
                if entry.model is not None:
                    return self._lend(entry, owner, lease.keep_alive)
                if entry.loading or entry.closing:
                    self._wait(deadline, f"model `{entry.name}` is still being {'loaded' if entry.loading else 'closed'}")
                    continue
                entry.loading = True
            registered = False
            try:
                model = self._load(entry, lease, owner, deadline)
                with self._condition:
                    if not self._closed:
                        entry.model, entry.loading, registered = model, False, True
                        entry.loads += 1
                        self._loads += 1
                        self._condition.notify_all()
                        return self._lend(entry, owner, lease.keep_alive)
                model.close()
            finally:
                if not registered:
                    with self._condition:
                        entry.loading = False
                        entry.forget()
                        self._condition.notify_all()

    def _load(self, entry: Entry, lease: Lease, owner: int, deadline: float) -> Model:
        """Make room and load. Others see the entry as loading meanwhile."""
        options = {} if self._limit is None or callable(entry.source) else load_arguments(entry.source)
        # What goes to other machines is known after the load.
        if options and not has_servers(options.get("devices")):
            # A build of llama.cpp that cannot count is asked after the load.
            with contextlib.suppress(IncompatibleLibraryError):
                need = predict_memory(**{name: options[name] for name in options if name in PREDICTED})
                self._make_room(entry, need, owner, deadline)
        while True:
            try:
                model = load_source(entry.source, entry.name, lease.goes_on)
                break
            except OutOfMemoryError:
                # Without a limit of the pool's, the machine's memory is the limit.
                if not self._evict_one():
                    raise
        try:
            self._make_room(entry, model.info.memory, owner, deadline, is_loaded=True)
        except BaseException:
            model.close()
            raise
        return model

    def _make_room(self, entry: Entry, need: MemoryNeed, owner: int, deadline: float, *, is_loaded: bool = False) -> None:
        """Close idle models until this one fits within the limit."""
        limit = self._limit
        if limit is not None and need.total > limit:
            needed = f"model `{entry.name}` needs about {-(-need.total // MIB):,} MiB"
            message = f"{needed} and the pool's `memory_limit` is {limit // MIB:,} MiB; raise it, or take a smaller model or context"
            raise OutOfMemoryError(message)
        while True:
            with self._condition:
                self._check_open()
                entry.need = need
                if limit is None or self._used() <= limit:
                    return
                victim = self._idle()
                if victim is None:
                    # Others may load meanwhile, unless its memory is taken already.
                    entry.need = need if is_loaded else None
                    others = [other for other in self._entries.values() if other is not entry and other.need is not None]
                    if others and all(not other.loading and set(other.owners) == {owner} for other in others):
                        message = f"model `{entry.name}` does not fit beside those that this thread has borrowed; give one back first"
                        raise OutOfMemoryError(message)
                    self._wait(deadline, f"no memory for model `{entry.name}`: the models in its way are in use")
                    continue
                model = self._take(victim)
            self._end(victim, model)

    def _lend_if_loaded(self, lease: Lease, owner: int) -> Model | None:
        """The model of the lease, if nothing has to be waited for."""
        entry = self._entry(lease.name)
        with self._condition:
            if entry.model is None or entry.model.closed:
                return None
            return self._lend(entry, owner, lease.keep_alive)

    def _give_back(self, name: str, owner: int, *, may_block: bool) -> None:
        closing = None
        with self._condition:
            entry = self._entries[name]
            if owner in entry.owners:
                entry.owners.remove(owner)
            if entry.model is not None and not entry.owners:
                entry.used = time.monotonic()
                if may_block and entry.expires <= 0 and not entry.is_busy:
                    closing = self._take(entry)
                elif entry.expires < math.inf:
                    self._start_reaper()
            self._condition.notify_all()
        if closing is not None:
            self._end(entry, closing)

    def _end(self, entry: Entry, model: Model) -> None:
        """Close a model that was taken out. Its memory counts until that is done."""
        try:
            model.close()
        finally:
            with self._condition:
                entry.closing = False
                entry.forget()
                self._condition.notify_all()

    # With the lock held

    def _entry(self, name: str) -> Entry:
        with self._condition:
            self._check_open()
            entry = self._entries.get(name)
            if entry is None and self._loader is not None:
                loader = self._loader
                entry = self._entries[name] = Entry(name, lambda: loader(name))
            if entry is None:
                known = ", ".join(f"`{known}`" for known in self._entries) or "none"
                message = f"the pool has no model `{name}`; it has {known}"
                raise ModelNotFoundError(message)
            return entry

    def _check_open(self) -> None:
        if self._process != os.getpid():
            message = "this pool was made before `fork`; make it again in the child process, or use the spawn start method"
            raise ForkedError(message)
        if self._closed:
            message = "the pool is closed; make another one"
            raise ClosedError(message)

    def _lend(self, entry: Entry, owner: int, keep_alive: float | None) -> Model:
        assert entry.model is not None  # noqa: S101 (the callers have looked)
        entry.owners.append(owner)
        entry.used = time.monotonic()
        if keep_alive is not None:
            entry.expires = keep_alive
        elif not entry.borrowed_before:
            entry.expires = self._keep_alive
        entry.borrowed_before = True
        return entry.model

    def _take(self, entry: Entry, *, evicted: bool = True) -> Model:
        """The entry's model, which the pool lends no more; the caller closes it by `_end`, without the lock."""
        model = entry.model
        assert model is not None  # noqa: S101 (the callers have looked)
        entry.model, entry.closing, entry.borrowed_before = None, True, False
        self._evictions += evicted
        return model

    def _idle(self) -> Entry | None:
        """The model that was used least recently of those that are not in use."""
        idle = [entry for entry in self._entries.values() if entry.model is not None and not entry.is_busy]
        return min(idle, key=lambda entry: entry.used, default=None)

    def _evict_one(self) -> bool:
        with self._condition:
            victim = self._idle()
            model = None if victim is None else self._take(victim)
        if victim is None or model is None:
            return False
        self._end(victim, model)
        return True

    def _used(self) -> int:
        """Bytes of all that is loaded or being loaded; each mapped file once."""
        mapped: dict[str, int] = {}
        own = 0
        for entry in self._entries.values():
            if entry.need is not None:
                own += entry.need.allocated
                file = file_of(entry)
                mapped[file] = max(mapped.get(file, 0), entry.need.mapped)
        return own + sum(mapped.values())

    def _wait(self, deadline: float, problem: str) -> None:
        """Wait until something changes, or look again: the end of a stream that outlived its lease tells nobody."""
        left = deadline - time.monotonic()
        if left <= 0:
            message = f"{problem}; wait longer with `timeout`, or give models back"
            raise OutOfMemoryError(message)
        self._condition.wait(min(left, RECHECK_S))

    # Idle models

    def _start_reaper(self) -> None:
        if self._reaper is None or not self._reaper.is_alive():
            self._reaper = threading.Thread(target=_reap, args=(weakref.ref(self), self._condition), name="tabagent-pool", daemon=True)
            self._reaper.start()

    def _expired(self) -> tuple[list[tuple[Entry, Model]], float | None]:
        """Models whose time is over, taken out, and seconds until the next one's is; None if there is none to wait for."""
        now = time.monotonic()
        waits: list[float] = []
        models = []
        for entry in self._entries.values():
            if entry.model is None or entry.owners or entry.expires == math.inf:
                continue
            left = entry.used + entry.expires - now
            if left > 0:
                waits.append(left)
            elif entry.is_busy:
                # A stream outlived its lease: its end counts as the last use.
                entry.used = now
                waits.append(max(entry.expires, RECHECK_S))
            else:
                models.append((entry, self._take(entry)))
        return models, min(waits, default=None)


class Lease:
    """A borrowed model, for `with` and `async with`. Made by `ModelPool.get`; each serves for one block."""

    def __init__(self, pool: ModelPool, name: str, timeout: float, keep_alive: float | None) -> None:
        """Made by `ModelPool.get`."""
        self.name = name
        """The model's name."""
        self.timeout = timeout
        self.keep_alive = keep_alive
        self._pool = pool
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._abandoned = False

    def check(self) -> None:
        """Raise if nobody waits for the model any more."""
        if self._abandoned:
            message = f"nobody waits for model `{self.name}` any more"
            raise ModelLoadCancelledError(message)

    def goes_on(self, _part: float = 0.0) -> bool:
        """Whether somebody waits for the model; the progress callback of its load."""
        return not self._abandoned

    def __enter__(self) -> Model:
        return self._begin(threading.get_ident(), self._pool._borrow)  # noqa: SLF001 (its own other half)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(may_block=True)

    async def __aenter__(self) -> Model:
        # Tasks share a thread, so each lease is an owner of its own: a task that would wait for itself waits for `timeout`.
        owner = -id(self)
        if (model := self._begin(owner, self._pool._lend_if_loaded)) is not None:  # noqa: SLF001 (its own other half)
            return model
        try:
            return await running_loop().in_thread(lambda: self._begin_or_give_back(owner))
        except BaseException:
            # A cancelled task does not wait for the thread, which stops loading, or gives back what it gets.
            with self._lock:
                self._abandoned = True
            self._end(may_block=False)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(may_block=False)

    def borrow(self) -> Model:
        """Borrow the model until `give_back`, on whatever thread; as the beginning of the block does, which counts for the thread that it is on."""
        return self._begin(-id(self), self._pool._borrow)  # noqa: SLF001 (its own other half)

    def give_back(self) -> None:
        """Give back what `borrow` got."""
        self._end(may_block=True)

    def _begin_or_give_back(self, owner: int) -> Model:
        model = self._begin(owner, self._pool._borrow)  # noqa: SLF001 (its own other half)
        with self._lock:
            abandoned = self._abandoned
        if abandoned:
            self._end(may_block=True)
        return model

    def _begin(self, owner: int, borrow: Callable[[Lease, int], L]) -> L:
        if self._owner is not None:
            message = "a lease serves for one block; call `get` again"
            raise RuntimeError(message)
        model = borrow(self, owner)
        if model is not None:
            with self._lock:
                self._owner = owner
        return model

    def _end(self, *, may_block: bool) -> None:
        with self._lock:
            owner, self._owner = self._owner, None
        if owner is not None:
            self._pool._give_back(self.name, owner, may_block=may_block)  # noqa: SLF001 (its own other half)


def _reap(reference: weakref.ref[ModelPool], condition: threading.Condition) -> None:
    """Close models whose time is over, until there is none to wait for."""
    while True:
        with condition:
            pool = reference()
            if pool is None or pool._closed:  # noqa: SLF001 (the pool's own thread)
                return
            models, wait = pool._expired()  # noqa: SLF001 (the pool's own thread)
            if wait is None:
                pool._reaper = None  # noqa: SLF001 (the next one is started by whoever gives a model back)
            if not models and wait is not None:
                del pool
                condition.wait(wait)
                continue
        for entry, model in models:
            pool._end(entry, model)  # noqa: SLF001 (the pool's own thread)
        del pool
        if wait is None:
            return


def as_limit(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _native.gguf_parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"`memory_limit` must be a number of bytes, a text such as `6GiB` or None, got {type_name(value)}"
        raise TypeError(message)
    if value <= 0:
        message = f"`memory_limit` must be positive, got `{value}`"
        raise ValueError(message)
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"`{name}` must be a number of seconds, got {type_name(value)}"
        raise TypeError(message)
    if math.isnan(value):
        message = f"`{name}` must be a number of seconds, got `nan`"
        raise ValueError(message)
    return float(value)


def _seconds(keep_alive: object) -> float:
    """Seconds that an idle model stays; infinite for ever."""
    seconds = _number(keep_alive, "keep_alive")
    return math.inf if seconds < 0 else seconds
