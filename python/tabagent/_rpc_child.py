"""A child process that offers this machine's devices to others."""

from __future__ import annotations

import collections
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import IO, Any, Final, NamedTuple

from tabagent._trial import CHILD
from tabagent.errors import TabagentError
from tabagent.loading import LoadedLibrary

__all__ = ["Listening", "RpcChild", "RpcServerError"]

SIGN: Final = "tabagent rpc-server: "
"""What the line begins with in which the child says where it listens, or why it does not."""
STARTS_WITHIN_S: Final = 120.0
"""How long it may take to start: the drivers of GPUs are loaded."""
ENDS_WITHIN_S: Final = 5.0
LAST_LINES: Final = 20
LEVEL: Final = re.compile(r"^\x01\d")
"""What the core puts before lines of llama.cpp's log in a child (`LogRecord` in `rust/llama/src/log.rs`)."""


class RpcServerError(TabagentError):
    """No server with this machine's devices can be started."""


class Listening(NamedTuple):
    """Where a child listens, and what it offers."""

    host: str
    port: int
    threads: int
    devices: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class RpcChild:
    """The child, from its start to its end. ggml ends it where a client sends what it does not expect."""

    def __init__(self, library: LoadedLibrary, server: Mapping[str, Any], *, verbose: bool) -> None:
        """Start it and wait until it listens. `server` has `host`, `port`, `devices`, `threads` and `cache`.

        Raises:
            RpcServerError: it does not listen; says why.
        """
        self._verbose = verbose
        self._words: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        try:
            self._process = subprocess.Popen(
                [CHILD, "rpc-server", library.directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C is for this process, which ends the child.
                start_new_session=True,
                # ggml would start a debugger to print a backtrace.
                env=os.environ | {"GGML_NO_BACKTRACE": "1"},
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            message = f"`{CHILD}` does not start: {error.strerror}"
            raise RpcServerError(message) from error
        out, err = self._process.stdout, self._process.stderr
        assert out is not None  # noqa: S101 (it is a pipe)
        assert err is not None  # noqa: S101 (as above)
        self._readers = [threading.Thread(target=read, args=(pipe,), daemon=True) for read, pipe in ((self._read_out, out), (self._read_err, err))]
        for reader in self._readers:
            reader.start()
        request = {"module": library.module, "backends": list(library.backends), "needed": list(library.needed), "server": dict(server)}
        self.listening = self._start(request)

    def _start(self, request: Mapping[str, Any]) -> Listening:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 (it is a pipe)
        try:
            pipe.write(f"{json.dumps(request)}\n")
            pipe.flush()
            answer = self._answers.get(timeout=STARTS_WITHIN_S)
        except (OSError, Empty):
            answer = {}
        if "port" in answer:
            return Listening(**answer)
        alive = self._process.poll() is None
        ended = self.end()
        message = answer.get("error") or (f"the process of the RPC server does not listen within {STARTS_WITHIN_S:.0f} s" if alive else ended)
        raise RpcServerError(message)

    def _read_out(self, pipe: IO[str]) -> None:
        for line in pipe:
            if line.startswith(SIGN):
                self._answers.put(json.loads(line.removeprefix(SIGN)))
            elif self._verbose:
                sys.stderr.write(line)
        # Whoever waits for an answer waits no longer.
        self._answers.put({})

    def _read_err(self, pipe: IO[str]) -> None:
        for marked in pipe:
            line = LEVEL.sub("", marked)
            self._words.append(line.strip())
            if self._verbose:
                sys.stderr.write(line)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> str:
        """End it if it still runs. Returns how it ended: `the process of the RPC server was ended by SIGABRT: ...`, with the last line of its log."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader, pipe in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
            reader.join(ENDS_WITHIN_S)
            if pipe is not None and not reader.is_alive():
                pipe.close()
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        last = next((f": `{line}`" for line in reversed(self._words) if line), "")
        return f"the process of the RPC server {how}{last}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
