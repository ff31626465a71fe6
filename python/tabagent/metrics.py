"""What a model measures of its work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tabagent import _native

__all__ = ["FinishCounts", "Latency", "Metrics"]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A number of measured times. Quantiles are right within 1 %."""

    count: int
    """How many."""
    sum_s: float
    """Seconds, all together."""
    p50_s: float
    """Half of them are at most this."""
    p90_s: float
    """Nine tenths of them are at most this."""
    p99_s: float
    """Ninety-nine hundredths of them are at most this."""
    max_s: float
    """The longest."""


@dataclass(frozen=True, kw_only=True)
class FinishCounts:
    """How many requests ended, by `finish_reason`."""

    stop: int
    length: int
    cancelled: int
    timeout: int
    error: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a model did since it was loaded; made by `Model.metrics`."""

    submitted: int
    """Requests that were taken."""
    ended: FinishCounts
    """Requests that ended."""
    prompt_tokens: int
    """Tokens of prompts that were decoded."""
    cached_tokens: int
    """Tokens of prompts that other requests had decoded."""
    completion_tokens: int
    """Tokens that were generated, of requests that have ended."""
    drafted_tokens: int
    """Tokens that were guessed and decoded before it was known whether they come, of requests that have ended."""
    accepted_tokens: int
    """Those of them that came."""
    steps: int
    """Decodes."""
    step_requests: int
    """Requests in all decodes together."""
    prompt_s: float
    """Seconds in decodes with tokens of prompts, all that follows each of them included."""
    decode_s: float
    """Seconds in decodes of generated tokens alone, all that follows each of them included."""
    overhead_s: float
    """Seconds of both between the decodes: choosing tokens, making text of them, handing it over."""
    parked: int
    """How often a request's state moved to host memory to make room."""
    stowed: int
    """How often what a request had left behind moved to host memory."""
    stored_bytes: int
    """Bytes of host memory that this takes now."""
    queue: Latency
    """Seconds from a request to its first decode."""
    first_token: Latency
    """Seconds from a request to its first token."""
    token_gap: Latency
    """Seconds between two tokens of a request."""
    step: Latency
    """Seconds of a decode, all that follows it included."""
    _text: str

    @classmethod
    def of(cls, native: _native.Model) -> Metrics:
        """What `native` measured up to now."""
        values: dict[str, Any] = native.metrics()
        latencies: dict[str, Any] = {name: Latency(**values.pop(name)) for name in ("queue", "first_token", "token_gap", "step")}
        ended = FinishCounts(**values.pop("ended"))
        return cls(**values, **latencies, ended=ended, _text=native.prometheus())

    @property
    def requests_per_step(self) -> float:
        """How many requests share a decode on average; 0 before the first one."""
        return self.step_requests / self.steps if self.steps else 0.0

    @property
    def cache_hit_rate(self) -> float:
        """The part of all tokens of prompts that need not be decoded, 0 to 1."""
        whole = self.prompt_tokens + self.cached_tokens
        return self.cached_tokens / whole if whole else 0.0

    def prometheus(self) -> str:
        """All of it, and what the model was doing at that moment, in Prometheus' text format."""
        return self._text
