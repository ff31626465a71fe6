"""What a stream takes that waits for its turn."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

import pytest

import needs
from server.http import ask, send
from support.served import ServerProcess, serving
from waiting import until

STREAMS: Final = 400
MOST: Final = 36 * 1024
"""Bytes for each; a request may say more than another. Two buffers of 8 KiB are hyper's."""

pytestmark = pytest.mark.model

CHAT: Final = {"messages": [{"role": "user", "content": "Hi"}]}


def taken(server: ServerProcess) -> int:
    found = re.search(r"^tabagent_requests_total (\d+)", ask(server, "GET", "/metrics").body.decode(), re.MULTILINE)
    assert found
    return int(found[1])


@contextmanager
def busy(model: Path) -> Iterator[ServerProcess]:
    """A server whose two places are taken, by texts that are read as they come: all others wait."""
    body = json.dumps({"prompt": "Once", "n_predict": 4000, "ignore_eos": True, "stream": True}).encode()

    def read(url: str) -> None:
        with suppress(OSError, HTTPException), urllib.request.urlopen(f"{url}/completion", body, timeout=60) as reply:
            for _ in reply:
                pass

    with ExitStack() as stack:
        # The texts end with the server, which is stopped first.
        pool = stack.enter_context(ThreadPoolExecutor(2))
        server = stack.enter_context(serving(str(model), "--metrics", "-np", "2", "-c", "8192", "--drain-timeout", "0"))
        texts = [pool.submit(read, server.url) for _ in range(2)]
        until(lambda: taken(server) == 2, limit_s=60)
        yield server
        assert not any(text.done() for text in texts), "a place was free"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": "Once", "n_predict": 200}),
        ("/v1/completions", {"prompt": "Once", "max_tokens": 200}),
        ("/v1/chat/completions", {**CHAT, "max_tokens": 200}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 200}),
        ("/v1/messages", {**CHAT, "model": "any", "max_tokens": 200}),
        ("/api/chat", {**CHAT, "model": "any"}),
    ],
)
def test_a_waiting_stream_takes_little(smollm2_path: Path, path: str, body: dict[str, object]) -> None:
    needs.machine(sys.platform == "linux", "it reads `/proc`")
    with busy(smollm2_path) as server, ExitStack() as stack:

        def begin(count: int) -> None:
            before = taken(server)
            for _ in range(count):
                stack.enter_context(send(server, path, {**body, "ignore_eos": True, "stream": True}))
            until(lambda: taken(server) == before + count, limit_s=60)

        # What the engine, the threads and the allocator take once is there then.
        begin(STREAMS // 4)
        memory = server.memory()
        begin(STREAMS)
        each = (server.memory() - memory) / STREAMS
        assert each < MOST, f"{each / 1024:.1f} KiB each"
