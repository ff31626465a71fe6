"""Waiting for a condition: looked at again and again until a deadline, never by a sleep that is hoped to be long enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tabagent import TokenStream

POLL_S = 0.001


def until(condition: Callable[[], object], *, limit_s: float = 30) -> float:
    """Wait until `condition()` holds; the seconds that took."""
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < limit_s, f"nothing came of it in {limit_s} s"
        time.sleep(POLL_S)
    return time.perf_counter() - start


def at_work(busy_s: float = 0.03) -> Callable[[], bool]:
    """A condition: this process has used so much processor time since now. That is how a test knows that a computation is under way."""
    before = time.process_time()
    return lambda: time.process_time() - before > busy_s


async def until_awaited(stream: TokenStream, *, limit_s: float = 30) -> None:
    """Wait until a task waits for the stream's next event."""
    deadline = time.perf_counter() + limit_s
    while not stream._awaited:
        assert time.perf_counter() < deadline, "no task waits for the stream"
        await asyncio.sleep(0)
