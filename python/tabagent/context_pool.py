"""Contexts that several threads share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tabagent._arguments import as_float, as_int, type_name
from tabagent.errors import ClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.context import Context
    from tabagent.model import Model

__all__ = ["ContextPool"]

MOST = 1024


class ContextPool:
    """At most `size` contexts of a model, for experts whose threads decode step by step; each is made when it is first needed, and used again.

        with ContextPool(model, 4, context_size=512) as pool:
            with pool.get() as context:
                context.decode([1, 2, 3])
                logits = context.logits()

    `options` are those of `Model.create_context`. A context that is given out is empty, and has the adapters and control vectors of the options,
    whatever was done to it before. Threads may share a pool. Closing it, or leaving its `with` block, closes the contexts: those in use when they
    come back.

    Raises:
        TypeError, ValueError: `model` is no model, or `size` no number of contexts. What is wrong with `options` is raised by `get`.
    """

    def __init__(self, model: Model, size: int, **options: Any) -> None:
        from tabagent.model import Model  # noqa: PLC0415 (it is there already; this file does not need it)

        if not isinstance(model, Model):
            message = f"`model` must be a Model, got {type_name(model)}"
            raise TypeError(message)
        self._model = model
        self._size = as_int(size, "size", 1, MOST)
        self._options = options
        self._idle: list[Context] = []
        self._made = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def get(self, timeout: float | None = None) -> Iterator[Context]:
        """A context for the block; waits for one where all are in use, for `timeout` seconds at the most.

        Raises:
            TimeoutError: none came back in time.
            ClosedError: the pool, or the model, is closed.
            Others: those of `Model.create_context`.
        """
        context = self._take(None if timeout is None else as_float(timeout, "timeout"))
        try:
            yield context
        finally:
            self._give_back(context)

    @property
    def size(self) -> int:
        """How many contexts there may be."""
        return self._size

    @property
    def made(self) -> int:
        """How many contexts there are."""
        return self._made

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Close all contexts, those in use when they come back. May be called again."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._made -= len(idle)
            self._changed.notify_all()
        for context in idle:
            context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ContextPool {'closed' if self._closed else f'{self._made} of {self._size} contexts'}>"

    # Inside

    def _take(self, timeout: float | None) -> Context:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._closed and not self._idle and self._made >= self._size:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    message = f"all {self._size} contexts of the pool are in use, and none came back in {timeout} seconds"
                    raise TimeoutError(message)
                self._changed.wait(left)
            if self._closed:
                message = "the pool is closed; make another one"
                raise ClosedError(message)
            if self._idle:
                return self._idle.pop()
            self._made += 1
        try:
            return self._model.create_context(**self._options)
        except BaseException:
            self._forget()
            raise

    def _give_back(self, context: Context) -> None:
        try:
            context.clear()
            context.set_adapters(self._options.get("adapters"))
            context.set_control_vector(self._options.get("control_vector"))
        except BaseException as error:
            # It was closed by who had it, or it is not as it was.
            context.close()
            self._forget()
            if not isinstance(error, ClosedError):
                raise
            return
        with self._changed:
            keep = not self._closed
            if keep:
                self._idle.append(context)
                self._changed.notify()
        if not keep:
            context.close()
            self._forget()

    def _forget(self) -> None:
        """There is one context less."""
        with self._changed:
            self._made -= 1
            self._changed.notify()
