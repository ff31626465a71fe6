"""What a server of streams is asked, and what is counted of its answers."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """One prompt, and how many tokens to add to it."""

    prompt: Sequence[int]
    max_tokens: int
    cache_prompt: bool = False


@dataclass
class Answer:
    """When the events of one stream arrived, by `time.perf_counter`, and what they held."""

    asked: float = 0.0
    stamps: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def first_token_s(self) -> float:
        """From the request to the first event."""
        return self.stamps[0] - self.asked

    def gaps_s(self) -> list[float]:
        """The times between events."""
        return [after - before for before, after in zip(self.stamps, self.stamps[1:], strict=False)]


class Peer(Protocol):
    """What answers requests, several at a time."""

    async def ask(self, request: Request, answer: Answer) -> None:
        """Send the request and note in `answer` what comes, until the stream ends. Cancelling the task ends the stream."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


async def ask_all(peer: Peer, requests: Sequence[Request]) -> list[Answer]:
    """All requests at once."""
    answers = [Answer() for _ in requests]
    await asyncio.gather(*(_timed(peer, request, answer) for request, answer in zip(requests, answers, strict=True)))
    return answers


async def ask_in_turn(peer: Peer, requests: Sequence[Request]) -> list[Answer]:
    """Each request when the one before it has ended."""
    answers = [Answer() for _ in requests]
    for request, answer in zip(requests, answers, strict=True):
        await _timed(peer, request, answer)
    return answers


async def _timed(peer: Peer, request: Request, answer: Answer) -> None:
    answer.asked = time.perf_counter()
    await peer.ask(request, answer)
    if len(answer.tokens) != request.max_tokens:
        message = f"asked for {request.max_tokens} tokens and got {len(answer.tokens)}"
        raise RuntimeError(message)


def figures_of(answers: Sequence[Answer]) -> dict[str, float]:
    """Rates and times of streams that were asked together: tokens a second by the clock, from the first request to the last token."""
    start, end = min(a.asked for a in answers), max(a.stamps[-1] for a in answers)
    gaps = [gap * 1e3 for answer in answers for gap in answer.gaps_s()]
    first = [answer.first_token_s * 1e3 for answer in answers]
    return {
        "tok_s": sum(len(answer.tokens) for answer in answers) / (end - start),
        "first_p50_ms": statistics.median(first),
        "first_max_ms": max(first),
        "gap_p50_ms": percentile(gaps, 50),
        "gap_p90_ms": percentile(gaps, 90),
        "gap_p99_ms": percentile(gaps, 99),
        "gap_max_ms": max(gaps),
    }
