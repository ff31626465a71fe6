"""An orderly end: when the interpreter exits, streams are cancelled and models closed before anything they use is gone."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Final, Protocol

__all__ = ["close_all", "watch_model", "watch_stream"]


class _Cancellable(Protocol):
    def cancel(self) -> None: ...


class _Closable(Protocol):
    def close(self) -> None: ...


_streams: Final[weakref.WeakValueDictionary[int, _Cancellable]] = weakref.WeakValueDictionary()
_models: Final[weakref.WeakValueDictionary[int, _Closable]] = weakref.WeakValueDictionary()
_home: Final = os.getpid()


def watch_stream(stream: _Cancellable) -> None:
    """Have the stream cancelled at exit if it is alive then."""
    _streams[id(stream)] = stream


def watch_model(model: _Closable) -> None:
    """Have the model closed at exit if it is alive then."""
    _models[id(model)] = model


def close_all() -> None:
    """Cancel all streams, then close all models. Does nothing in a forked child: the threads are not there."""
    if os.getpid() != _home:
        return
    # Cancelled before the models close, a stream that a daemon thread still reads just ends, without an error.
    for stream in (reference() for reference in _streams.valuerefs()):
        if stream is not None:
            stream.cancel()
    for model in (reference() for reference in _models.valuerefs()):
        if model is not None:
            model.close()


atexit.register(close_all)
