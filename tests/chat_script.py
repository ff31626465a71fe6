"""A chat model that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from typing_extensions import Self

from tabagent import ChatDelta, ChatMessage, ContentDelta, Finish, ReasoningDelta, ToolCall

Reply = str | list[tuple[str, dict[str, Any]]] | list[ChatDelta | BaseException] | Exception
"""A text, calls, deltas (or what is raised in their place), or what is raised at once."""


class Answer:
    """A chat stream that is written already."""

    def __init__(self, message: ChatMessage, deltas: Sequence[Any] | None = None) -> None:
        self.message = message
        self.deltas = [ContentDelta(message.content)] if deltas is None else deltas
        self.finish_reason: str | None = message.finish_reason

    def events(self) -> Events:
        return Events([*self.deltas, Finish(self.message)])

    def cancel(self) -> None:
        self.finish_reason = "cancelled"

    def result(self) -> ChatMessage:
        return self.message

    async def aresult(self) -> ChatMessage:
        return self.message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Events:
    def __init__(self, deltas: Sequence[Any]) -> None:
        self.deltas = list(deltas)

    def __iter__(self) -> Iterator[Any]:
        for delta in self.deltas:
            if isinstance(delta, BaseException):
                raise delta
            yield delta

    async def __aiter__(self) -> AsyncIterator[Any]:
        for delta in self.deltas:
            yield delta


class Script:
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[list[dict[str, Any]]] = []
        self.options: list[dict[str, Any]] = []

    def chat(self, messages: Sequence[Any], **options: Any) -> Answer:
        self.asked.append([dict(message) for message in messages])
        self.options.append(options)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            return Answer(ChatMessage(content=reply, finish_reason="stop"))
        if reply and not isinstance(reply[0], tuple):
            texts = {kind: "".join(delta.text for delta in reply if isinstance(delta, kind)) for kind in (ContentDelta, ReasoningDelta)}
            message = ChatMessage(content=texts[ContentDelta], reasoning=texts[ReasoningDelta] or None, finish_reason="stop")
            return Answer(message, reply)
        calls = tuple(ToolCall(name=name, arguments=given, arguments_json=json.dumps(given)) for name, given in reply)  # type: ignore[misc]
        return Answer(ChatMessage(content="", tool_calls=calls, finish_reason="stop"))
