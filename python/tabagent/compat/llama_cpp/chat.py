"""Answers in conversations, in the shape of llama-cpp-python's responses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tabagent.chat_stream import ContentDelta, ReasoningDelta, ToolCallDelta
from tabagent.compat.llama_cpp.completion import finish_reason_of, shown, usage_counts
from tabagent.compat.llama_cpp.grammar import closed

if TYPE_CHECKING:
    from tabagent._native import TokenLogprob
    from tabagent.chat_message import ChatMessage
    from tabagent.chat_stream import ChatStream

__all__ = ["ChatWriter", "template_name", "tool_arguments"]

TEMPLATES: Final[Mapping[str, str]] = {
    "llama-2": "llama2",
    "llama-3": "llama3",
    "mistral-instruct": "mistral-v1",
    "chatml-function-calling": "chatml",
    "qwen": "chatml",
}
"""llama-cpp-python's names of formats where llama.cpp has another; all other names are the same."""


def template_name(chat_format: str | None) -> str | None:
    """The name of the template that a `chat_format` stands for; None for the file's own."""
    if chat_format is None or chat_format == "chat_template.default":
        return None
    return TEMPLATES.get(chat_format, chat_format)


def tool_arguments(functions: Any, function_call: Any, tools: Any, tool_choice: Any) -> dict[str, Any]:
    """The tools as options of `Model.chat`, from the present parameters and the old ones (`functions`, `function_call`).

    Raises:
        ValueError: both are given.
    """
    if functions is not None:
        if tools is not None:
            message = "give `tools`, or `functions` as older programs do, not both"
            raise ValueError(message)
        tools = [{"type": "function", "function": function} for function in functions]
    if function_call is not None:
        tool_choice = function_call if isinstance(function_call, str) else {"type": "function", "function": dict(function_call)}
    # A tool that is named is called once, as there.
    given = [_closed(tool) for tool in tools] if tools else None
    choice = "auto" if tool_choice is None else tool_choice
    if isinstance(choice, str) and any(_name(tool) == choice for tool in given or ()):
        choice = {"type": "function", "function": {"name": choice}}
    return {"tools": given, "tool_choice": choice, "parallel_tool_calls": isinstance(choice, str)}


def _name(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def _closed(tool: Any) -> Any:
    """The tool with arguments that are those it names alone, as llama-cpp-python takes them."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or "parameters" not in function:
        return tool
    return {**tool, "function": {**function, "parameters": closed(function["parameters"])}}


class ChatWriter:
    """Makes the responses of one answer."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{uuid.uuid4()}"
        self.created = int(time.time())
        self.model = model
        self._call_ids: dict[int, str] = {}

    def whole(self, stream: ChatStream, *, with_logprobs: bool) -> dict[str, Any]:
        """Wait for the end, and give all of it."""
        found = stream.result()
        message: dict[str, Any] = {"role": "assistant", "content": found.content or (None if found.tool_calls else "")}
        if found.reasoning is not None:
            message["reasoning_content"] = found.reasoning
        if found.tool_calls:
            calls = [call.as_dict() | {"id": call.id or self._call_id(index)} for index, call in enumerate(found.tool_calls)]
            message |= {"tool_calls": calls, "function_call": calls[0]["function"]}
        entries = (stream.tokens.result().logprobs or ()) if with_logprobs else ()
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(entries) if with_logprobs else None,
            "finish_reason": _reason(found),
        }
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": usage_counts(found.usage),
        }

    def chunks(self, stream: ChatStream, *, with_logprobs: bool) -> Iterator[dict[str, Any]]:
        """The answer piece by piece: first the role, then what it says and calls, then the reason of the end."""
        with stream:
            yield self._chunk({"role": "assistant"}, None, None)
            for delta in stream.events():
                logprobs: Any = getattr(delta, "logprobs", ()) if with_logprobs else ()
                found = _logprobs(logprobs) if logprobs else None
                if isinstance(delta, ContentDelta):
                    yield self._chunk({"content": delta.text}, found, None)
                elif isinstance(delta, ReasoningDelta):
                    yield self._chunk({"reasoning_content": delta.text}, found, None)
                elif isinstance(delta, ToolCallDelta) and (delta.name is not None or delta.arguments):
                    yield self._chunk(self._call(delta), found, None)
            yield self._chunk({}, None, _reason(stream.result()))

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        function: dict[str, Any] = {"name": delta.name, "arguments": delta.arguments}
        call: dict[str, Any] = {"index": delta.index, "type": "function", "function": function}
        if delta.name is not None:
            call["id"] = delta.id or self._call_id(delta.index)
        return {"tool_calls": [call], "function_call": function}

    def _call_id(self, index: int) -> str:
        return self._call_ids.setdefault(index, f"call_{uuid.uuid4().hex}")

    def _chunk(self, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [choice]}


def _reason(message: ChatMessage) -> str:
    return "tool_calls" if message.tool_calls else finish_reason_of(message.finish_reason)


def _logprobs(entries: Any) -> dict[str, Any]:
    """Log-probabilities as chat responses have them."""
    return {"content": [{**_token(entry), "top_logprobs": [_token(other) for other in entry.top]} for entry in entries], "refusal": None}


def _token(entry: TokenLogprob | Any) -> dict[str, Any]:
    return {"token": shown(entry.bytes), "logprob": entry.logprob, "bytes": list(entry.bytes)}
