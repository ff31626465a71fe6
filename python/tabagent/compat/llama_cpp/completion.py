"""Texts that continue prompts, in the shape of llama-cpp-python's responses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from tabagent.compat.llama_cpp.processors import Stopped
from tabagent.errors import SamplingError

if TYPE_CHECKING:
    from tabagent._native import TokenEvent, TokenLogprob
    from tabagent.completion import FinishReason, Usage
    from tabagent.stream import TokenStream

__all__ = ["CompletionWriter", "LogprobRow", "finish_reason_of", "shown", "until_stopped", "usage_counts"]

LogprobRow: TypeAlias = tuple[str, float | None, dict[str, float] | None]
"""A token, its log-probability, and those of the most probable ones there."""


class CompletionWriter:
    """Makes the responses of one completion. `after` is told its tokens when it has ended."""

    def __init__(self, model: str, *, prefix: str, offset: int, prompt_logprobs: list[LogprobRow] | None) -> None:
        """`prefix` is what `echo` puts in front, `offset` where the text begins among all characters."""
        self.id = f"cmpl-{uuid.uuid4()}"
        self.created = int(time.time())
        self.model = model
        self._prefix = prefix
        self._offset = offset
        self._prompt_logprobs = prompt_logprobs

    def whole(self, stream: TokenStream, *, with_logprobs: bool, after: Callable[[list[int]], None]) -> dict[str, Any]:
        """Wait for the end, and give all of it."""
        text, tokens, logprobs = "", list[int](), list[Any]()
        for event in until_stopped(stream):
            text += event.text
            tokens += event.token_ids
            logprobs += event.logprobs
        after(tokens)
        found = self._logprobs(logprobs, self._offset, self._prompt_logprobs or []) if with_logprobs else None
        response = self._response(self._prefix + text, found, finish_reason_of(stream.finish_reason))
        response["usage"] = usage_counts(stream.usage)
        return response

    def chunks(self, stream: TokenStream, *, with_logprobs: bool, after: Callable[[list[int]], None]) -> Iterator[dict[str, Any]]:
        """The text piece by piece; the last piece is empty and has the reason of the end."""
        with stream:
            if self._prefix:
                found = self._logprobs([], 0, self._prompt_logprobs or []) if with_logprobs else None
                yield self._response(self._prefix, found, None)
            offset = self._offset + (len(self._prefix) if self._prompt_logprobs is not None else 0)
            tokens: list[int] = []
            for event in until_stopped(stream):
                tokens += event.token_ids
                if event.text or (with_logprobs and event.logprobs):
                    yield self._response(event.text, self._logprobs(event.logprobs, offset, []) if with_logprobs else None, None)
                    offset += len(event.text)
            after(tokens)
            yield self._response("", None, finish_reason_of(stream.finish_reason))

    def _response(self, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        choice = {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": reason}
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model, "choices": [choice]}

    @staticmethod
    def _logprobs(entries: list[TokenLogprob], offset: int, before: list[LogprobRow]) -> dict[str, Any]:
        """The tokens with their log-probabilities, in four lists of equal length."""
        rows = list(before)
        for entry in entries:
            top = {shown(other.bytes): other.logprob for other in entry.top}
            rows.append((shown(entry.bytes), entry.logprob, {**top, shown(entry.bytes): entry.logprob}))
        offsets = []
        for text, _, _ in rows:
            offsets.append(offset)
            offset += len(text)
        return {
            "tokens": [text for text, _, _ in rows],
            "text_offset": offsets,
            "token_logprobs": [logprob for _, logprob, _ in rows],
            "top_logprobs": [top for _, _, top in rows],
        }


def until_stopped(stream: TokenStream) -> Iterator[TokenEvent]:
    """The events of a stream, which a stopping criterion may end."""
    try:
        yield from stream.events()
    except SamplingError as error:
        if not isinstance(error.__cause__, Stopped):
            raise


def finish_reason_of(reason: FinishReason | None) -> str:
    """The reason in llama-cpp-python's words; a stopping criterion, which ends a stream from within, is a `stop`."""
    return "length" if reason == "length" else "stop"


def usage_counts(usage: Usage | None) -> dict[str, int]:
    """Tokens counted, as responses have them."""
    prompt, completion = (0, 0) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def shown(text: bytes) -> str:
    """A token's bytes as text, as far as they are some."""
    return text.decode("utf-8", errors="ignore")
