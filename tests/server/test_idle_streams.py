"""What a stream takes that waits for its turn."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
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
    with serving(str(smollm2_path), "--metrics", "-np", "2", "-c", "512", "--drain-timeout", "0") as server, ExitStack() as stack:

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
