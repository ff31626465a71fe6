"""An orderly end: when the interpreter exits, streams are cancelled and models closed before anything they use is gone."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Final, Protocol

from tabagent import _native

__all__ = ["close_all", "watch_model", "watch_stream", "watch_thread"]

PATIENCE_S: Final = 2.0
"""How long the threads of all streams together may take to end at exit."""
JOB_PATIENCE_S: Final = 0.5
"""How long calls that were left or are still waited for may take to end at exit. One that cannot be stopped is ended with the process."""


class _Cancellable(Protocol):
    def cancel(self) -> None: ...


class _Closable(Protocol):
    def close(self) -> None: ...


_streams: Final[weakref.WeakValueDictionary[int, _Cancellable]] = weakref.WeakValueDictionary()
_of_daemons: Final[weakref.WeakSet[_Cancellable]] = weakref.WeakSet()
"""Streams that daemon threads have asked for."""
_models: Final[weakref.WeakValueDictionary[int, _Closable]] = weakref.WeakValueDictionary()
_threads: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()
_home: Final = os.getpid()


def watch_stream(stream: _Cancellable) -> None:
    """Have the stream cancelled at exit if it is alive then.

    Daemon threads go on while the handlers of `atexit` run, and requests are served in turn: so that a handler may use a model, theirs are
    cancelled as soon as nobody else is left.
    """
    _streams[id(stream)] = stream
    if threading.current_thread().daemon:
        _of_daemons.add(stream)
    if not threading.main_thread().is_alive() and _only_daemons_are_left():
        for theirs in tuple(_of_daemons):
            theirs.cancel()


def _only_daemons_are_left() -> bool:
    return all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate())


def watch_model(model: _Closable) -> None:
    """Have the model closed at exit if it is alive then."""
    _models[id(model)] = model


def watch_thread(thread: threading.Thread) -> None:
    """Have the thread, which ends with its stream, waited for at exit if it is alive then."""
    _threads.add(thread)


def close_all() -> None:
    """Cancel all streams, then close all models. Does nothing in a forked child: the threads are not there."""
    if os.getpid() != _home:
        return
    # Calls that other threads wait for, and those that Ctrl-C has left behind.
    _native.stop_jobs(0)
    # Cancelled before the models close, a stream that a daemon thread still reads just ends, without an error.
    for stream in (reference() for reference in _streams.valuerefs()):
        if stream is not None:
            stream.cancel()
    for model in (reference() for reference in _models.valuerefs()):
        if model is not None:
            model.close()
    # A thread must not be inside the core when the interpreter stops it. One that does not come back is in a processor of the user's.
    deadline = time.monotonic() + PATIENCE_S
    for thread in tuple(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
    _native.stop_jobs(JOB_PATIENCE_S)


atexit.register(close_all)
