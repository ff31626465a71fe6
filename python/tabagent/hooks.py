"""Python functions that change logits: they run on a thread of their own, one for each stream that has some."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tabagent import _native
from tabagent import exit as at_exit
from tabagent._arguments import is_iterable, type_name
from tabagent.errors import SamplingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    LogitsProcessor: TypeAlias = Callable[[NDArray[np.int32], NDArray[np.float32]], None]
    """`f(tokens, logits)`: all tokens so far (read-only), and the logits of the next one, one for each token of the vocabulary, to be changed
    in place. It returns None."""
else:
    # numpy is slow to import.
    LogitsProcessor = Callable[[Any, Any], None]

__all__ = ["LogitsProcessor"]


class Hooks:
    """The processors of one stream at work, and what went wrong in them."""

    __slots__ = ("_failure",)

    def __init__(self, native: _native.Stream, processors: Sequence[LogitsProcessor]) -> None:
        """Start the thread. It ends with the stream and does not keep the stream alive."""
        self._failure: list[tuple[str, BaseException]] = []
        worker = native.take_hook()
        if worker is None:
            message = "the stream has no place for logits processors"
            raise RuntimeError(message)
        # A daemon: the interpreter must not wait for a processor that never returns.
        thread = threading.Thread(target=_serve, args=(worker, processors, self._failure), name="tabagent-processors", daemon=True)
        thread.start()
        at_exit.watch_thread(thread)

    def explain(self, error: SamplingError) -> SamplingError:
        """The error that ended the stream: if a processor did, one that names it, with the processor's own exception as its cause."""
        if not self._failure:
            return error
        text, cause = self._failure[0]
        explained = SamplingError(text)
        explained.__cause__ = cause
        return explained


def as_processors(value: object) -> list[LogitsProcessor]:
    """A list of functions from an iterable of them."""
    if callable(value) or isinstance(value, (str, bytes)) or not is_iterable(value):
        hint = "; put the function into a list" if callable(value) else ""
        message = f"`logits_processors` must be a sequence of functions, got {type_name(value)}{hint}"
        raise TypeError(message)
    processors: list[Any] = list(value)  # type: ignore[call-overload] # it is iterable
    for index, processor in enumerate(processors):
        if not callable(processor):
            message = f"`logits_processors[{index}]` must be a function of tokens and logits, got {type_name(processor)}"
            raise TypeError(message)
    return processors


def _serve(worker: _native.HookWorker, processors: Sequence[LogitsProcessor], failure: list[tuple[str, BaseException]]) -> None:
    """Change rows until the stream ends."""
    import numpy as np  # noqa: PLC0415 (slow to import, and loaded already where this runs)

    while (row := worker.next_row()) is not None:
        tokens, logits = row
        at = "logits_processors"
        try:
            for index, processor in enumerate(processors):
                at = f"logits_processors[{index}]"
                # Each processor gets an array of its own over the same memory. It may change that array's shape, type and flags, and may keep it: the
                # row is given back through `logits`.
                returned: object = processor(tokens, np.frombuffer(logits.data, dtype=logits.dtype))
                if returned is not None:
                    _refuse(returned)
            worker.give_back(logits)
        except BaseException as error:  # noqa: BLE001 (whatever it is, it goes to who reads the stream)
            text = f"`{at}` raised {type(error).__name__}: {error}"
            failure.append((text, error))
            worker.fail(text)
            return
        # Let go of this row before waiting for the next one.
        del row, tokens, logits


def _refuse(returned: object) -> None:
    if isinstance(returned, Coroutine):
        returned.close()  # else Python warns that nobody awaited it
        message = "a logits processor must be a plain function, and this one is async; write it with `def`"
        raise TypeError(message)
    message = f"a logits processor must change `logits` in place and return None, but it returned {type_name(returned)}; write `logits[:] = ...`"
    raise TypeError(message)
