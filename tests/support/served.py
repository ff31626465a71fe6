"""`tabagent serve` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["SERVE", "ServerProcess", "serving"]

SERVE: Final = (sys.executable, "-m", "tabagent", "serve")


class ServerProcess:
    """A server that runs, as `tests/server/http.py` takes one."""

    def __init__(self, pid: int, host: str, port: int) -> None:
        self.pid = pid
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def memory(self) -> int:
        """Its proportional set size in bytes."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        message = "the system does not tell a proportional set size"
        raise RuntimeError(message)

    def descriptors(self) -> int:
        """How many files and connections it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@contextmanager
def serving(*arguments: str, **options: Any) -> Iterator[ServerProcess]:
    """A server on a free port, until the end of the block; it must end well. `options` are those of `Popen`."""
    environment = {**os.environ, "LLAMA_ARG_THREADS": "1"}
    with subprocess.Popen((*SERVE, "--port", "0", *arguments), stderr=subprocess.PIPE, text=True, env=environment, **options) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"at http://(127\.0\.0\.1):(\d+)", line)
        assert found, line
        try:
            yield ServerProcess(process.pid, found[1], int(found[2]))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
