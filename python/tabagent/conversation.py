"""A conversation that keeps its messages and calls its tools."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tabagent._arguments import as_callback, as_float, as_int, as_path, as_text, type_name
from tabagent.chat_message import ChatMessage, ToolCall
from tabagent.chat_stream import ChatDelta, ChatStream, ContentDelta
from tabagent.errors import ContextFullError
from tabagent.tools import tools_from

if TYPE_CHECKING:
    from tabagent.chat import Chatter

__all__ = ["Conversation", "ToolResult", "Turn", "TurnDelta"]

MOST_ROUNDS: Final = 1000
SHORTENINGS: Final = 16
"""How often a conversation is shortened for one answer."""

Messages: TypeAlias = list[dict[str, Any]]
Approve: TypeAlias = Callable[[ToolCall], "bool | str"]
Shorten: TypeAlias = Callable[[Messages], Messages]


@dataclass(frozen=True)
class ToolResult:
    """What a call gave, as the model is told."""

    call: ToolCall
    """The call."""
    content: str
    """The result as text; of a call that failed, what went wrong."""
    failed: bool = False
    """Whether the tool raised, took too long, was refused, or is not there."""


TurnDelta: TypeAlias = ChatDelta | ToolResult
"""What a turn has more than before; a `Finish` ends each answer in it."""


class Conversation:
    """Messages, tools, and how they are answered. Made by `Model.conversation`.

        chat = model.conversation(system="Be brief.")
        for text in chat.send("Hello", max_tokens=16):
            print(text, end="")

    Cells of earlier turns are used again. One thread or task talks at a time.
    """

    def __init__(
        self,
        model: Chatter,
        *,
        system: str | None,
        messages: Sequence[Any],
        tools: Sequence[Any] | None,
        max_rounds: int,
        tool_timeout: float | None,
        approve: Approve | None,
        shorten: Shorten | None,
        options: Mapping[str, Any],
    ) -> None:
        """Made by `Model.conversation`."""
        self._model = model
        self._tools = {tool.name: tool for tool in tools_from(tools)}
        self._max_rounds = as_int(max_rounds, "max_rounds", 0, MOST_ROUNDS)
        self._tool_timeout = None if tool_timeout is None else as_float(tool_timeout, "tool_timeout")
        self._approve = as_callback(approve, "approve")
        self._shorten = as_callback(shorten, "shorten")
        self._options = dict(options)
        self.messages: Messages = []
        """The messages, as OpenAI has them; may be changed between turns."""
        if system is not None:
            self.messages.append({"role": "system", "content": as_text(system, "system")})
        self.messages += [message.as_dict() if isinstance(message, ChatMessage) else message for message in messages]

    def send(self, content: str | Sequence[Any], **options: Any) -> Turn:
        """Say something, and have it answered. The turn runs while it is read: an iterator of the answer's text, or of `events`.

        Where the model calls tools, they are run (several at once where it asks for several) and it is told the results, until it answers without a
        call or `max_rounds` are over. What a tool raises goes to the model as text. `options` are those of `Model.chat`, for this turn.

        Raises:
            TypeError: `content` is neither text nor a list of parts.
        """
        if not isinstance(content, (str, list, tuple)):
            message = f"`content` must be a str or a list of parts, got {type_name(content)}"
            raise TypeError(message)
        return Turn(self, {"role": "user", "content": content if isinstance(content, str) else list(content)}, options)

    def undo(self) -> str | list[Any] | None:
        """Forget the last turn: what was said last, and all that answered it. Gives what was said; None if there is no turn."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].get("role") == "user":
                content: str | list[Any] = self.messages[index]["content"]
                del self.messages[index:]
                return content
        return None

    def branch(self) -> Conversation:
        """Another conversation with the same messages and settings, which goes its own way from here."""
        return Conversation(
            self._model,
            system=None,
            messages=[dict(message) for message in self.messages],
            tools=list(self._tools.values()),
            max_rounds=self._max_rounds,
            tool_timeout=self._tool_timeout,
            approve=self._approve,
            shorten=self._shorten,
            options=self._options,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the messages into a JSON file, which `load` reads. The file is there as a whole or not at all."""
        target = Path(as_path(path, "path"))
        text = json.dumps({"messages": self.messages}, ensure_ascii=False, indent=1)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take the messages of a file that `save` wrote in place of these.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no such file.
        """
        name = as_path(path, "path")
        try:
            found = json.loads(Path(name).read_text(encoding="utf-8"))
            messages = found["messages"]
            is_list = isinstance(messages, list) and all(isinstance(message, dict) and "role" in message for message in messages)
        except (ValueError, KeyError, TypeError):
            is_list, messages = False, []
        if not is_list:
            message = f"`{name}` is no saved conversation: it must be a JSON object whose `messages` are a list of messages"
            raise ValueError(message)
        self.messages = messages

    def __repr__(self) -> str:
        return f"<Conversation of {len(self.messages)} messages>"

    # For turns

    def _answer(self, options: Mapping[str, Any]) -> ChatStream:
        """Begin an answer to the messages; where they do not fit, they are shortened as the policy says.

        Raises:
            ContextFullError: they do not fit, and no policy makes them.
        """
        tools = list(self._tools.values()) or None
        for _ in range(SHORTENINGS):
            try:
                return self._model.chat(self.messages, **{"tools": tools, **self._options, **options})
            except ContextFullError:
                shorter = None if self._shorten is None else self._shorten([dict(message) for message in self.messages])
                if shorter is None or len(json.dumps(shorter, default=str)) >= len(json.dumps(self.messages, default=str)):
                    raise
                self.messages = list(shorter)
        return self._model.chat(self.messages, **{"tools": tools, **self._options, **options})

    def _refusal(self, call: ToolCall) -> str | None:
        """Why a call is not made, if it is not."""
        if call.name not in self._tools:
            known = ", ".join(f"`{name}`" for name in self._tools) or "none"
            return f"error: there is no tool `{call.name}`; there are {known}"
        answer = True if self._approve is None else self._approve(call)
        if isinstance(answer, str):
            return f"error: the call was refused: {answer}"
        return None if answer else "error: the call was refused"

    def _run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results of calls, which run at the same time."""
        refusals = [self._refusal(call) for call in calls]
        pool = concurrent.futures.ThreadPoolExecutor(max(len(calls), 1), thread_name_prefix="tabagent-tool")
        try:
            running = [
                None if refusal else pool.submit(self._tools[call.name].call, call.arguments_json)
                for call, refusal in zip(calls, refusals, strict=True)
            ]
            return [
                ToolResult(call, refusal or "", failed=True) if future is None else self._result(call, future)
                for call, refusal, future in zip(calls, refusals, running, strict=True)
            ]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _result(self, call: ToolCall, future: concurrent.futures.Future[Any]) -> ToolResult:
        try:
            return ToolResult(call, _text_of(future.result(self._tool_timeout)))
        except concurrent.futures.TimeoutError:
            return self._late(call)
        except Exception as error:  # noqa: BLE001 (the model is told)
            return ToolResult(call, f"error: {type(error).__name__}: {error}", failed=True)

    async def _arun(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        import asyncio  # noqa: PLC0415 (async functions run in asyncio)

        async def one(call: ToolCall) -> ToolResult:
            if (refusal := self._refusal(call)) is not None:
                return ToolResult(call, refusal, failed=True)
            try:
                return ToolResult(call, _text_of(await asyncio.wait_for(self._tools[call.name].acall(call.arguments_json), self._tool_timeout)))
            except asyncio.TimeoutError:
                return self._late(call)
            except Exception as error:  # noqa: BLE001 (the model is told)
                return ToolResult(call, f"error: {type(error).__name__}: {error}", failed=True)

        return list(await asyncio.gather(*map(one, calls)))

    def _late(self, call: ToolCall) -> ToolResult:
        return ToolResult(call, f"error: the tool took longer than {self._tool_timeout} seconds", failed=True)


class Turn(Iterator[str], AsyncIterator[str]):
    """One turn of a conversation while it is answered: an iterator of the text, also for `async for`. Made by `Conversation.send`.

    The conversation has the turn once an answer has come. If the first one fails or is left before it ends, the conversation is as before; what came
    before `cancel` or Ctrl-C stays.
    """

    __slots__ = ("_cancelled", "_conversation", "_events", "_events_async", "_message", "_options", "_question", "_stream")

    def __init__(self, conversation: Conversation, question: dict[str, Any], options: Mapping[str, Any]) -> None:
        """Made by `Conversation.send`."""
        self._conversation = conversation
        self._question = question
        self._options = options
        self._stream: ChatStream | None = None
        self._message: ChatMessage | None = None
        self._cancelled = False
        self._events: Generator[TurnDelta] | None = None
        self._events_async: AsyncIterator[TurnDelta] | None = None

    def __iter__(self) -> Turn:
        return self

    def __next__(self) -> str:
        for delta in self.events():
            if isinstance(delta, ContentDelta):
                return delta.text
        raise StopIteration

    def __aiter__(self) -> Turn:
        return self

    async def __anext__(self) -> str:
        async for delta in self.aevents():
            if isinstance(delta, ContentDelta):
                return delta.text
        raise StopAsyncIteration

    def events(self) -> Iterator[TurnDelta]:
        """The rest of the turn: the deltas of each answer, and the results of tools between them."""
        if self._events is None:
            self._events = self._run()
        return self._events

    def aevents(self) -> AsyncIterator[TurnDelta]:
        """As `events`, for asyncio."""
        if self._events_async is None:
            self._events_async = self._arun()
        return self._events_async

    def result(self) -> ChatMessage:
        """Go on to the end, and give the last answer. Blocks."""
        for _ in self.events():
            pass
        return self._last()

    async def aresult(self) -> ChatMessage:
        """As `result`, for asyncio."""
        async for _ in self.aevents():
            pass
        return self._last()

    @property
    def message(self) -> ChatMessage | None:
        """The last answer; None before the first one has ended."""
        return self._message

    def cancel(self) -> None:
        """End the answer that is being written, and the turn with it, as Ctrl-C does. What has come stays in the conversation."""
        self._cancelled = True
        if self._stream is not None:
            self._stream.cancel()

    # Inside

    def _last(self) -> ChatMessage:
        if self._message is None:
            message = "the turn was left before it was answered; send it again"
            raise RuntimeError(message)
        return self._message

    def _run(self) -> Generator[TurnDelta]:
        before = list(self._conversation.messages)
        self._conversation.messages.append(self._question)
        try:
            for left in range(self._conversation._max_rounds, -1, -1):  # noqa: SLF001 (its own other half)
                self._stream = self._begin(left)
                with self._stream as stream:
                    yield from stream.events()
                    calls = self._take(stream.result(), left)
                if not calls:
                    return
                for result in self._conversation._run(calls):  # noqa: SLF001 (its own other half)
                    self._tell(result)
                    yield result
        except KeyboardInterrupt:
            self.cancel()
            raise
        finally:
            self._clean_up(before)

    async def _arun(self) -> AsyncIterator[TurnDelta]:
        before = list(self._conversation.messages)
        self._conversation.messages.append(self._question)
        try:
            for left in range(self._conversation._max_rounds, -1, -1):  # noqa: SLF001 (its own other half)
                self._stream = self._begin(left)
                async with self._stream as stream:
                    async for delta in stream.events():
                        yield delta
                    calls = self._take(await stream.aresult(), left)
                if not calls:
                    return
                for result in await self._conversation._arun(calls):  # noqa: SLF001 (its own other half)
                    self._tell(result)
                    yield result
        finally:
            self._clean_up(before)

    def _begin(self, rounds_left: int) -> ChatStream:
        """The next answer; the last one may call nothing."""
        options = dict(self._options)
        if rounds_left == 0 and self._conversation._tools:  # noqa: SLF001 (its own other half)
            options["tool_choice"] = "none"
        elif self._message is not None and options.get("tool_choice", "auto") != "auto":
            # A call that was demanded has been made.
            options["tool_choice"] = "auto"
        return self._conversation._answer(options)  # noqa: SLF001 (its own other half)

    def _take(self, message: ChatMessage, rounds_left: int) -> Sequence[ToolCall]:
        """Keep an answer; gives the calls that are to be made."""
        self._message = message
        said = message.as_dict()
        for index, call in enumerate(said.get("tool_calls", ())):
            # Results name their call.
            call.setdefault("id", f"call_{len(self._conversation.messages)}_{index}")
        self._conversation.messages.append(said)
        return message.tool_calls if message.finish_reason == "stop" and rounds_left > 0 else ()

    def _tell(self, result: ToolResult) -> None:
        """Say what a call gave."""
        messages = self._conversation.messages
        answer = next(message for message in reversed(messages) if message["role"] == "assistant")
        told = sum(1 for message in messages[messages.index(answer) :] if message["role"] == "tool")
        call = answer["tool_calls"][told]
        messages.append({"role": "tool", "tool_call_id": call["id"], "name": result.call.name, "content": result.content})

    def _clean_up(self, before: Messages) -> None:
        """Without an answer, the conversation is as before."""
        if self._message is None:
            came = self._stream.result() if self._cancelled and self._stream is not None else None
            if came is not None and (came.content or came.reasoning):
                self._message = came
                self._conversation.messages.append(came.as_dict())
            else:
                self._conversation.messages = before


def _text_of(result: object) -> str:
    """What a tool gave, as text."""
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return str(result)
