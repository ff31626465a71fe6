"""A stand-in for the core's stream, fed by hand."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from tabagent import _native
from tabagent.stream import TokenStream


@dataclass
class FakeEvent:
    """What the core's `TokenEvent` has."""

    text: str
    token_ids: list[int]
    logprobs: list[Any] = field(default_factory=list)
    prompt_progress: tuple[int, int, int] | None = None


class FakeStream:
    """The core's `Stream` as its contract describes it."""

    def __init__(self, *texts: str, reason: str | None = "stop", error: Exception | None = None, constraint_complete: bool | None = None) -> None:
        self.condition = threading.Condition()
        self.events: deque[FakeEvent] = deque()
        self.reason: str | None = None
        self.error = error
        self.constraint_complete = constraint_complete
        self.finished = False
        self.waiting = threading.Event()
        """Set when a thread waits for an event."""
        self.cancels = 0
        self.count = 0
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        self.reader, self.writer = (end.fileno() for end in self._ends)
        for text in texts:
            self.push(text)
        if reason is not None or error is not None:
            self.end(reason or "error")

    def __del__(self) -> None:
        for end in self._ends:
            end.close()

    # The decode thread's side

    def push(self, text: str) -> None:
        with self.condition:
            self.events.append(FakeEvent(text, [self.count]))
            self.count += 1
            self._tell()

    def end(self, reason: str) -> None:
        with self.condition:
            if self.reason is None:
                self.reason = reason
            self._tell()

    def _tell(self) -> None:
        self.condition.notify_all()
        # One that is full wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b"!")

    # The contract

    def next_event(self) -> FakeEvent | None:
        with self.condition:
            while not self.events and self.reason is None:
                self.waiting.set()
                self.condition.wait(0.05)
        return self.poll_event()

    def poll_event(self) -> FakeEvent | None:
        with self.condition:
            if self.events:
                return self.events.popleft()
            self.finished = self.reason is not None
            if self.finished and self.error is not None:
                raise type(self.error)(*self.error.args)
            return None

    def wake_fd(self) -> int:
        return self.reader

    def clear_wake(self) -> None:
        try:
            while os.read(self.reader, 4096):
                pass
        except BlockingIOError:
            pass

    def cancel(self) -> None:
        self.cancels += 1
        self.end("cancelled")

    def summary(self) -> dict[str, Any] | None:
        if self.reason is None:
            return None
        return {
            "finish_reason": self.reason,
            "stop_match": {"kind": "eog", "value": 2} if self.reason == "stop" else None,
            "prompt_tokens": 10,
            "cached_tokens": 4,
            "completion_tokens": self.count,
            "forced_tokens": 0,
            "drafted_tokens": 0,
            "accepted_tokens": 0,
            "dropped_tokens": 0,
            "constraint_complete": self.constraint_complete,
            "queued_s": 0.0,
            "prompt_s": 2.0,
            "decode_s": 0.5,
            "first_token_s": 2.0 if self.count else None,
            "token_gaps_s": (0.5, 0.5, 0.5) if self.count > 1 else None,
            "step_requests": 1.0,
        }


def stream_of(fake: FakeStream, *, has_logprobs: bool = False, parser: Callable[[str], Any] | None = None) -> TokenStream:
    """A stream that reads the fake."""
    return TokenStream(cast("_native.Stream", fake), has_logprobs=has_logprobs, parser=parser)
