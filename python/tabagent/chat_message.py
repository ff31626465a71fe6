"""What a model answers in a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tabagent.completion import FinishReason, Timings, Usage

__all__ = ["ChatMessage", "ToolCall"]


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a tool that a model makes."""

    name: str
    """The tool."""
    arguments: dict[str, Any]
    """The arguments, parsed; of a message that is being written, as far as they have come."""
    arguments_json: str
    """The arguments as JSON text."""
    id: str | None = None
    """The id that the model wrote, if its format has one."""

    def as_dict(self) -> dict[str, Any]:
        """The call as OpenAI has it."""
        function = {"name": self.name, "arguments": self.arguments_json}
        return {"type": "function", "function": function} if self.id is None else {"id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, kw_only=True)
class ChatMessage:
    """A message of a model."""

    content: str = ""
    """What is meant for the user."""
    reasoning: str | None = None
    """What the model thought before; None if it did not."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools that it calls, in order."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What could not be read as it seems to have been meant; its text is in `content`."""
    finish_reason: FinishReason | None = None
    """Why the text ended; None for a text that was only parsed."""
    usage: Usage | None = None
    """Tokens counted; None for a text that was only parsed."""
    timings: Timings | None = field(default=None, compare=False)
    """Where the time went; None for a text that was only parsed."""
    parsed: Any = None
    """What the content stands for where an object was asked for."""

    @property
    def role(self) -> str:
        """Always `assistant`."""
        return "assistant"

    def as_dict(self) -> dict[str, Any]:
        """The message as OpenAI has it, for the next turn of a conversation."""
        made: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning is not None:
            made["reasoning_content"] = self.reasoning
        if self.tool_calls:
            made["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        return made


def message_of(content: str, reasoning: str | None, calls: list[tuple[str | None, str, str]], warnings: list[str]) -> ChatMessage:
    """The message of what the core's parser found."""
    made = tuple(ToolCall(id=identity, name=name, arguments=arguments_of(text), arguments_json=text) for identity, name, text in calls)
    return ChatMessage(content=content, reasoning=reasoning, tool_calls=made, warnings=tuple(warnings))


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments in JSON text, as far as it has come."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        from tabagent.objects import Snapshots  # noqa: PLC0415 (for texts that are not complete)

        try:
            value = Snapshots().feed(text)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}
