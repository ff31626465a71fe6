"""RPC servers on this machine, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from waiting import until

STARTS_WITHIN_S: Final = 60.0
SIGN: Final = "listening at "


class RpcServer:
    """`tabagent rpc-server` at a free port of this machine, and what it says."""

    def __init__(self, *arguments: str, within: tuple[str, ...] = ()) -> None:
        command = [*within, sys.executable, "-m", "tabagent", "rpc-server", "--port", "0", "--threads", "1", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.ended or any(SIGN in line for line in self.lines), limit_s=STARTS_WITHIN_S)
        assert not self.ended, self.said
        place = next(line for line in self.lines if SIGN in line).partition(SIGN)[2].split()[0]
        self.host, _, port = place.rpartition(":")
        self.port = int(port)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    @property
    def name(self) -> str:
        """As a device is called."""
        return f"rpc://{self.host}:{self.port}"

    @property
    def engine(self) -> int | None:
        """The process that computes; None where there is none now."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and _is_engine_of(entry, self.process.pid):
                    return int(entry.name)
        return None

    def pause(self) -> None:
        """Stop it in the middle of whatever it does, connections and all."""
        engine = self.engine
        assert engine is not None
        os.kill(engine, signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        engine = self.engine
        self.process.kill()
        if engine is not None:
            os.kill(engine, signal.SIGKILL)
        self.end()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        if not self.ended:
            self.process.send_signal(how)
        code = self.process.wait(30)
        self._reader.join(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def _is_engine_of(entry: Path, parent: int) -> bool:
    state, of = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    command = (entry / "cmdline").read_bytes().split(b"\0")
    return int(of) == parent and state != "Z" and command[0].endswith(b"tabagent-child")


@contextlib.contextmanager
def rpc_server(*arguments: str, within: tuple[str, ...] = ()) -> Iterator[RpcServer]:
    """A server that ends with the block, started by the command `within`."""
    server = RpcServer(*arguments, within=within)
    try:
        yield server
    finally:
        if not server.ended:
            engine = server.engine
            if engine is not None:
                os.kill(engine, signal.SIGCONT)
            server.end()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
