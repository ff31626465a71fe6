"""An answer in a conversation, while it is written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from tabagent._native import TokenLogprob
from tabagent.chat_message import ChatMessage, message_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent import _native
    from tabagent.completion import Completion, FinishReason
    from tabagent.grammar import Limitation
    from tabagent.stream import TokenStream

__all__ = ["ChatDelta", "ChatEvents", "ChatStream", "ContentDelta", "Finish", "ReasoningDelta", "ToolCallDelta", "ToolCallsDropped"]


@dataclass(frozen=True)
class ContentDelta:
    """More of what is meant for the user."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = field(default=(), compare=False)
    """With `logprobs`, those of the tokens that came with it: also of tokens before it that gave no delta of their own, such as markers."""


@dataclass(frozen=True)
class ReasoningDelta:
    """More of what the model thinks."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = field(default=(), compare=False)
    """As those of `ContentDelta`."""


@dataclass(frozen=True, kw_only=True)
class ToolCallDelta:
    """More of a call: first its name, then its arguments piece by piece."""

    index: int
    """The call's place among the message's calls, from 0."""
    name: str | None = None
    """The tool, in the call's first delta."""
    id: str | None = None
    """The id that the model wrote, in the delta in which it comes."""
    arguments: str = ""
    """More of the JSON text of its arguments."""
    complete: bool = False
    """The call has ended."""
    logprobs: tuple[TokenLogprob, ...] = field(default=(), compare=False)
    """As those of `ContentDelta`."""


@dataclass(frozen=True)
class ToolCallsDropped:
    """The calls from a place on could not be read to their end and are none; their text follows as content."""

    index: int
    """The place of the first of them."""


@dataclass(frozen=True)
class Finish:
    """The end."""

    message: ChatMessage
    """All of the message."""


ChatDelta: TypeAlias = ContentDelta | ReasoningDelta | ToolCallDelta | ToolCallsDropped | Finish
"""What an answer has more than before."""


class ChatStream:
    """An answer while it is written: an iterator of the content's text, an async iterator of it, and a context manager of both kinds.

        for text in model.chat([{"role": "user", "content": "Hello"}]): ...

    Made by `Model.chat`. `events` also gives what the model thinks and calls; `result` is the whole message. It behaves as `TokenStream` does: it
    runs whether or not anybody reads, all readers share one position, and dropping it, leaving its `with` block, `close` and `cancel` end it.
    """

    __slots__ = ("_ended", "_lock", "_logprobs", "_message", "_parser", "_pending", "_read_json", "_stream", "_unenforced")

    def __init__(
        self,
        stream: TokenStream,
        parser: _native.ChatParser,
        read_json: Callable[[str], Any] | None,
        unenforced: tuple[Limitation, ...] = (),
    ) -> None:
        """Made by `Model.chat`. `read_json` reads the content where an object was asked for."""
        self._unenforced = unenforced
        self._stream = stream
        self._parser = parser
        self._read_json = read_json
        self._pending: deque[ChatDelta] = deque()
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._message: ChatMessage | None = None
        self._ended = False
        self._lock = threading.RLock()

    # Reading

    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> str:
        while (delta := self._next()) is not None:
            if isinstance(delta, ContentDelta):
                return delta.text
        raise StopIteration

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> str:
        while (delta := await self._next_async()) is not None:
            if isinstance(delta, ContentDelta):
                return delta.text
        raise StopAsyncIteration

    def events(self) -> ChatEvents:
        """The rest of the answer as deltas, the last of which is `Finish`. For `for` and `async for`."""
        return ChatEvents(self)

    def result(self) -> ChatMessage:
        """Wait for the end, and give the whole message, whatever was read before. Blocks.

        After `cancel` or `close` it is what had come until then. Not for use in an event loop: there it is `await stream.aresult()`.

        Raises:
            TabagentError: what ended the answer, if that was an error.
        """
        with self._lock:
            while not self._ended:
                self._take_in(self._stream._next_event())  # noqa: SLF001 (its own other half)
        return self._whole()

    async def aresult(self) -> ChatMessage:
        """As `result`, for an event loop."""
        while not self._ended:
            self._take_in(await self._stream._next_event_async())  # noqa: SLF001 (its own other half)
        return self._whole()

    # Ending

    def cancel(self) -> None:
        """End the answer. Returns at once; what has come already can still be read."""
        self._stream.cancel()

    def close(self) -> None:
        """End the answer and the reading, and wait until the model is free again."""
        self._stream.close()

    async def aclose(self) -> None:
        """As `close`, for an event loop."""
        await self._stream.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    # Facts

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended; None while it runs."""
        return self._stream.finish_reason

    @property
    def tokens(self) -> TokenStream:
        """The stream of what the model writes, markers and calls included. What is read there is missing here."""
        return self._stream

    @property
    def unenforced(self) -> tuple[Limitation, ...]:
        """What of the schemas of tools and content the answer may break all the same. `Model.chat` warns of what concerns tools."""
        return self._unenforced

    def __repr__(self) -> str:
        return f"<ChatStream {self.finish_reason or 'running'}>"

    # Inside

    def _next(self) -> ChatDelta | None:
        with self._lock:
            while not self._pending:
                if self._ended:
                    return None
                self._take_in(self._stream._next_event())  # noqa: SLF001 (its own other half)
            return self._pending.popleft()

    async def _next_async(self) -> ChatDelta | None:
        while not self._pending:
            if self._ended:
                return None
            self._take_in(await self._stream._next_event_async())  # noqa: SLF001 (its own other half)
        return self._pending.popleft()

    def _take_in(self, event: _native.TokenEvent | None) -> None:
        """Read what an event adds; None is the end."""
        if event is not None:
            self._logprobs += tuple(event.logprobs)
            self._add(self._parser.feed(event.text))
            return
        self._add(self._parser.finish())
        self._pending.append(Finish(self._whole()))
        self._ended = True

    def _add(self, parts: list[tuple[str, int, str, str | None]]) -> None:
        """Take what the core's parser found; the first delta of them brings the log-probabilities that have come."""
        for part in parts:
            delta = _delta(part)
            if self._logprobs and not isinstance(delta, ToolCallsDropped):
                delta, self._logprobs = replace(delta, logprobs=self._logprobs), ()
            self._pending.append(delta)

    def _whole(self) -> ChatMessage:
        """The message, once the answer has ended."""
        if self._message is None:
            done = self._stream.result()
            message = message_of(*self._parser.message())
            self._message = replace(
                message, finish_reason=done.finish_reason, usage=done.usage, timings=done.timings, parsed=self._parsed(message, done)
            )
        return self._message

    def _parsed(self, message: ChatMessage, done: Completion) -> Any:
        """The object that the content is, if one was asked for and no call came in its place."""
        if self._read_json is None or not done.constraint_complete or message.tool_calls:
            return None
        return self._read_json(message.content)


class ChatEvents(Iterator[ChatDelta], AsyncIterator[ChatDelta]):
    """The deltas of a chat stream, from where it was read up to; made by `ChatStream.events`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def __iter__(self) -> ChatEvents:
        return self

    def __next__(self) -> ChatDelta:
        delta = self._stream._next()  # noqa: SLF001 (its own other half)
        if delta is None:
            raise StopIteration
        return delta

    def __aiter__(self) -> ChatEvents:
        return self

    async def __anext__(self) -> ChatDelta:
        delta = await self._stream._next_async()  # noqa: SLF001 (its own other half)
        if delta is None:
            raise StopAsyncIteration
        return delta


def _delta(part: tuple[str, int, str, str | None]) -> ContentDelta | ReasoningDelta | ToolCallDelta | ToolCallsDropped:
    """A delta of what the core's parser found."""
    kind, index, text, identity = part
    if kind == "content":
        return ContentDelta(text)
    if kind == "reasoning":
        return ReasoningDelta(text)
    if kind == "dropped":
        return ToolCallsDropped(index)
    if kind == "arguments":
        return ToolCallDelta(index=index, arguments=text)
    return ToolCallDelta(index=index, name=text if kind == "call" else None, id=identity, complete=kind == "end of call")
