"""The load generator of the serving bench: what it counts, and how it reads a server's events."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHES = Path(__file__).parents[2] / "benches"


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHES))
    return importlib.import_module("traffic")


def test_percentiles_are_values_that_were_seen(traffic: Any) -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [traffic.percentile(values, percent) for percent in (1, 20, 21, 50, 99, 100)] == [1.0, 1.0, 2.0, 3.0, 5.0, 5.0]


def test_figures_are_by_the_clock_from_the_first_request_to_the_last_token(traffic: Any) -> None:
    early = traffic.Answer(asked=10.0, stamps=[10.5, 10.75, 11.0], tokens=[1, 2, 3, 4])
    late = traffic.Answer(asked=11.0, stamps=[11.25, 12.0], tokens=[5, 6])
    figures = traffic.figures_of([early, late])
    assert figures["tok_s"] == 3.0
    assert (figures["first_p50_ms"], figures["first_max_ms"]) == (375.0, 500.0)
    assert (figures["gap_p50_ms"], figures["gap_p90_ms"], figures["gap_max_ms"]) == (250.0, 750.0, 750.0)


def test_requests_at_once_are_all_under_way_before_one_ends(traffic: Any) -> None:
    class Peer:
        def __init__(self) -> None:
            self.started = 0
            self.all_started = asyncio.Event()

        async def ask(self, request: Any, answer: Any) -> None:
            self.started += 1
            if self.started == 3:
                self.all_started.set()
            await self.all_started.wait()
            answer.stamps.append(answer.asked)
            answer.tokens.extend(range(request.max_tokens))

    async def ask() -> Any:
        return await traffic.ask_all(Peer(), [traffic.Request([1], 2)] * 3)

    answers = asyncio.run(ask())
    assert [answer.tokens for answer in answers] == [[0, 1]] * 3


def test_an_answer_that_is_too_short_is_an_error(traffic: Any) -> None:
    class Peer:
        async def ask(self, request: Any, answer: Any) -> None:
            answer.tokens.extend(range(request.max_tokens - 1))

    with pytest.raises(RuntimeError, match="asked for 5 tokens and got 4"):
        asyncio.run(traffic.ask_in_turn(Peer(), [traffic.Request([1], 5)]))


def test_events_of_a_server_are_tokens_with_their_times(traffic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    http_servers = importlib.import_module("http_servers")
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        asked.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for tokens in ([7], [8, 9], []):
            writer.write(b"data: " + json.dumps({"content": "x", "tokens": tokens, "stop": not tokens}).encode() + b"\n\n")
        await writer.drain()
        writer.close()

    async def ask() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = object.__new__(http_servers.HttpServer)
        monkeypatch.setattr(client, "port", server.sockets[0].getsockname()[1], raising=False)
        async with server:
            (answer,) = await traffic.ask_all(client, [traffic.Request([1, 2], 3, cache_prompt=True)])
        return answer

    answer = asyncio.run(ask())
    assert answer.tokens == [7, 8, 9]
    assert len(answer.stamps) == 2
    assert answer.asked <= answer.stamps[0] <= answer.stamps[1]
    (body,) = asked
    assert (body["prompt"], body["n_predict"], body["cache_prompt"], body["ignore_eos"]) == ([1, 2], 3, True, True)
