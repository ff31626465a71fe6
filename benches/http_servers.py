"""Servers as child processes, asked over HTTP by a client that costs little: `tabagent serve`, and llama.cpp's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from traffic import Answer, Request
from typing_extensions import Self

START_SECONDS = 120
EVENT = b"data: "


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a server is given."""

    slots: int
    slot_tokens: int
    threads: int

    def flags(self) -> list[object]:
        """As both programs take it."""
        return ["-np", self.slots, "-c", self.slots * self.slot_tokens, "-t", self.threads, "-b", 2048, "-ub", 512]


class HttpServer:
    """A running server. One connection for each request; events are parsed when the stream has ended."""

    def __init__(self, name: str, command: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._log = tempfile.NamedTemporaryFile("w+", prefix="server-", suffix=".log")  # noqa: SIM115 (closed with the server)
        whole = [str(part) for part in (*command, "--host", "127.0.0.1", "--port", self.port)]
        self._started = time.perf_counter()
        self._process = subprocess.Popen(whole, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
        self.ready_s = float("nan")
        """From the start of the process to the first answer that it is ready."""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                message = f"`{self.name}` did not start:\n{self._tail}"
                raise RuntimeError(message)
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - self._started
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.seek(0)
        self._tail = self._log.read()[-2000:]
        self._log.close()

    async def ask(self, request: Request, answer: Answer) -> None:
        """See `traffic.Peer`."""
        body = {"prompt": list(request.prompt), "n_predict": request.max_tokens, "stream": True, "cache_prompt": request.cache_prompt}
        body |= {"return_tokens": True, "ignore_eos": True, "temperature": 0.0, "samplers": ["temperature"]}
        data = json.dumps(body).encode()
        fields = ("Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(data)}", "Connection: close")
        head = "\r\n".join(("POST /completion HTTP/1.1", *fields, "", ""))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        events: list[bytes] = []
        try:
            writer.write(head.encode() + data)
            status = await reader.readline()
            if b" 200 " not in status:
                message = f"`{self.name}` answered `{status.decode().strip()}`: {(await reader.read())[-300:].decode(errors='replace')}"
                raise RuntimeError(message)
            while line := await reader.readline():
                if line.startswith(EVENT):
                    answer.stamps.append(time.perf_counter())
                    events.append(line)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        _parse(events, answer)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
        except OSError:
            return False


def llama_server(program: Path, model: str, size: Size, extra: Sequence[str] = ()) -> HttpServer:
    """llama.cpp's own."""
    settings = ["-tb", size.threads, "--no-ui", "--no-kv-unified", "--offline", "-fit", "off"]
    return HttpServer("llama-server", [program, "-m", model, *size.flags(), *settings, *extra])


def tabagent_serve(library: str, model: str, size: Size, extra: Sequence[str] = ()) -> HttpServer:
    """Ours, in the environment of this program."""
    command = [sys.executable, "-m", "tabagent", "serve", "-m", model, *size.flags(), *extra]
    return HttpServer("tabagent serve", command, {"TABAGENT_LIBRARY_PATH": library})


def _parse(events: Sequence[bytes], answer: Answer) -> None:
    """Put the tokens into the answer, and drop the stamps of events without any: the last one, which sums up."""
    stamps = answer.stamps[:]
    answer.stamps.clear()
    for stamp, event in zip(stamps, events, strict=True):
        tokens = json.loads(event.removeprefix(EVENT))["tokens"]
        if tokens:
            answer.stamps.append(stamp)
            answer.tokens.extend(tokens)
