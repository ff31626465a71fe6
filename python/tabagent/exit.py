"""An orderly end: when the interpreter exits, streams are cancelled and models closed before anything they use is gone."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Final, Protocol

from tabagent import _native

__all__ = ["close_all", "watch_model", "watch_server", "watch_stream", "watch_thread"]

PATIENCE_S: Final = 2.0
"""How long the threads of all streams together may take to end at exit."""
JOB_PATIENCE_S: Final = 0.5
"""How long interrupted calls, and calls that other threads wait for, may take to end at exit. A call that cannot be stopped ends with the process."""


class _Cancellable(Protocol):
    def cancel(self) -> None: ...


class _Closable(Protocol):
    def close(self) -> None: ...


_streams: Final[weakref.WeakValueDictionary[int, _Cancellable]] = weakref.WeakValueDictionary()
_of_daemons: Final[weakref.WeakSet[_Cancellable]] = weakref.WeakSet()
"""Streams that daemon threads have started."""
_models: Final[weakref.WeakValueDictionary[int, _Closable]] = weakref.WeakValueDictionary()
_servers: Final[weakref.WeakValueDictionary[int, _Closable]] = weakref.WeakValueDictionary()
_threads: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()
_home: Final = os.getpid()


def watch_stream(stream: _Cancellable) -> None:
    """Cancel the stream at exit if it is still alive.

    Daemon threads keep running while `atexit` handlers do, and requests are served in turn. The streams of daemon threads are cancelled as soon as no
    other thread is left, so that a handler can still use a model.
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
    """Close the model at exit if it is still alive."""
    _models[id(model)] = model


def watch_server(server: _Closable) -> None:
    """Stop the server at exit if it is still alive."""
    _servers[id(server)] = server


def watch_thread(thread: threading.Thread) -> None:
    """Wait for the thread at exit if it is still alive. It ends with its stream."""
    _threads.add(thread)


def close_all() -> None:
    """Cancel all streams, then close all models. Does nothing in a forked child: the threads are not there."""
    if os.getpid() != _home:
        return
    # Stops the calls that other threads wait for, and those that Ctrl-C has left behind.
    _native.stop_jobs(0)
    # Running requests may still end.
    for server in (reference() for reference in _servers.valuerefs()):
        if server is not None:
            server.close()
    # Streams are cancelled before the models close, so that one that a daemon thread still reads ends without an error.
    for stream in (reference() for reference in _streams.valuerefs()):
        if stream is not None:
            stream.cancel()
    for model in (reference() for reference in _models.valuerefs()):
        if model is not None:
            model.close()
    # A thread must not be inside the core when the interpreter stops it. A thread that does not end in time is inside a processor of the user's.
    deadline = time.monotonic() + PATIENCE_S
    for thread in tuple(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
    _native.stop_jobs(JOB_PATIENCE_S)


atexit.register(close_all)
