"""Chat templates: conversations to prompts, without a model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tabagent._arguments import as_bool, as_text, is_iterable, type_name
from tabagent._native import ChatTemplate as Native
from tabagent._native import chat_template_names

if TYPE_CHECKING:
    from tabagent.chat_message import ChatMessage

__all__ = ["ChatCapabilities", "ChatTemplate", "PromptSegment", "render_request"]


class PromptSegment(NamedTuple):
    """A part of a prompt that has one origin."""

    text: str
    """The text."""
    parse_special: bool
    """Whether the template wrote it, so that its special tokens count; what the conversation brought in is never searched for them."""


@dataclass(frozen=True)
class ChatCapabilities:
    """What a template can write, found by rendering probes. With `adapt`, what it cannot write is said in another way."""

    text_content: bool
    """Texts as content; otherwise content becomes a list of parts."""
    part_content: bool
    """Lists of parts as content; otherwise their texts are joined."""
    system: bool
    """System messages; otherwise their text goes in front of the user's next message."""
    developer: bool
    """Developer messages; otherwise they become system messages."""
    tools: bool
    """Definitions of tools; otherwise the system message describes them."""
    tool_calls: bool
    """Calls of tools; otherwise they are written as JSON in the answer's text."""
    parallel_tool_calls: bool
    """Several calls in one answer."""
    tool_results: bool
    """Results of tools; otherwise they become the user's messages."""
    object_arguments: bool
    """Arguments of calls as objects; otherwise they become JSON text."""
    text_arguments: bool
    """Arguments of calls as JSON text; where objects are written too, text becomes an object."""
    empty_content: bool
    """Calls without content; otherwise the content becomes an empty text."""
    reasoning: bool
    """Reasoning of answers."""
    repeated_roles: bool
    """Several messages of the user in a row; otherwise they become one."""
    no_tools: bool
    """Conversations without tools as they are; otherwise they get an empty list of tools."""
    thinking_switch: bool
    """A variable such as `enable_thinking` is read."""
    writes_bos: bool
    """The template writes the beginning-of-text token itself."""


class ChatTemplate:
    r"""A chat template: the program, in Jinja, that turns a conversation into the text that a model was trained on.

    template = ChatTemplate("{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}")
    template.render([{"role": "user", "content": "Hello"}])  # 'user: Hello\n'

    It needs no model. A template is rendered as transformers renders it, within limits of time, memory and output, so one from a stranger is
    an error at worst.
    """

    __slots__ = ("_native",)

    _native: Native

    def __init__(self, text: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """Parse a template. `bos_token` and `eos_token` are the texts that it finds under these names.

        Raises:
            ChatTemplateError: the text is no template; says in which line and why.
        """
        bos, eos = as_text(bos_token, "bos_token"), as_text(eos_token, "eos_token")
        self._native = Native(as_text(text, "text"), bos, eos)

    @classmethod
    def named(cls, name: str, *, bos_token: str = "", eos_token: str = "") -> ChatTemplate:
        """The template for a format that llama.cpp knows by name, such as `chatml`; `names` lists them."""
        bos, eos = as_text(bos_token, "bos_token"), as_text(eos_token, "eos_token")
        return cls._of(Native.named(as_text(name, "name"), bos, eos))

    @staticmethod
    def names() -> list[str]:
        """The names that `named` takes."""
        return chat_template_names()

    @classmethod
    def _of(cls, native: Native) -> ChatTemplate:
        template = cls.__new__(cls)
        template._native = native  # noqa: SLF001 (its own)
        return template

    @property
    def text(self) -> str:
        """The template's text."""
        return self._native.text

    @property
    def bos_token(self) -> str:
        """What the template finds as `bos_token`."""
        return self._native.bos_token

    @property
    def eos_token(self) -> str:
        """What the template finds as `eos_token`."""
        return self._native.eos_token

    @property
    def capabilities(self) -> ChatCapabilities:
        """What the template can write; worked out when first asked for, in a few milliseconds."""
        return ChatCapabilities(**self._native.capabilities())

    def render(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        adapt: bool = True,
        now: dt.datetime | dt.date | None = None,
        **kwargs: Any,
    ) -> str:
        """The prompt of a conversation.

        Args:
            messages: messages as OpenAI's API has them: dicts, dataclasses or pydantic models.
            tools: definitions of tools, as OpenAI's API has them.
            documents: documents to answer from, with `title` and `text`, for templates that take some.
            add_generation_prompt: end the prompt with the beginning of an answer.
            continue_final_message: end the prompt where the content of the last message ends, so that the model goes on with it; a name, such
                as `reasoning_content`, is the field that it goes on with. Nothing is begun after it, so `add_generation_prompt` must be off.
            adapt: say what the template cannot write in another way (`capabilities` tells what that is). Without it, the template gets the
                conversation as transformers would hand it over, errors included.
            now: the date that the template sees; None is today.
            kwargs: further variables of the template, such as `enable_thinking` or `reasoning_effort`.

        Raises:
            ChatTemplateError: the template failed or refused the conversation; has the `line`.
            TypeError: a message or tool has another shape; names its index and the field.
            ValueError: the same for wrong values.
        """
        request = render_request(
            messages=messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            adapt=adapt,
            now=now,
            variables=kwargs,
        )
        return self._native.render(request)

    def render_segments(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        adapt: bool = True,
        now: dt.datetime | dt.date | None = None,
        **kwargs: Any,
    ) -> list[PromptSegment]:
        """The prompt in parts that have one origin each; joined, they are what `render` gives. Arguments and errors as for `render`."""
        request = render_request(
            messages=messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            adapt=adapt,
            now=now,
            variables=kwargs,
        )
        return [PromptSegment(*segment) for segment in self._native.render_segments(request)]

    def parse(
        self,
        text: str,
        *,
        tools: Sequence[Any] | None = None,
        partial: bool = False,
        prompt: str | None = None,
        continue_final_message: bool | str = False,
    ) -> ChatMessage:
        """The message that a text of the model says: content, reasoning and calls of tools, by the format that the template itself writes.

        What cannot be read is content, with a warning in the message; nothing is lost.

        Args:
            text: what the model wrote.
            tools: the tools that it was told of: functions, classes or definitions, as `Tool` takes them. With an empty list nothing is a call.
            partial: the text goes on: what is not certain yet is not there.
            prompt: what the model was given, which says whether its text begins inside of its reasoning. Without it, that is as in a prompt of this
                template that was asked for nothing else.
            continue_final_message: what `render` was told, if the text goes on with the content or the reasoning of a message: the message that is
                given has what is new of it, with the white space that it begins with.
        """
        from tabagent.chat_message import message_of  # noqa: PLC0415 (needed here alone)
        from tabagent.tools import tools_from  # noqa: PLC0415 (needed here alone)

        definitions = None if tools is None else [tool.as_dict() for tool in tools_from(tools)]
        given = None if prompt is None else as_text(prompt, "prompt")
        continued = _as_field(continue_final_message, add_generation_prompt=False)
        return message_of(*self._native.parse(as_text(text, "text"), definitions, as_bool(partial, "partial"), given, continued))

    def __repr__(self) -> str:
        """The beginning of the template."""
        text = self.text
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        return f"ChatTemplate({shown!r})"


def _as_items(value: object, name: str) -> list[Any]:
    """A sequence of objects, as a list."""
    if isinstance(value, (str, bytes, Mapping)) or not is_iterable(value):
        message = f"`{name}` must be a sequence of objects, got {type_name(value)}"
        raise TypeError(message)
    items: Iterable[Any] = value  # type: ignore[assignment] # it is one
    return list(items)


def _as_field(value: object, add_generation_prompt: bool) -> str | None:  # noqa: FBT001 (asks about both)
    """The field of the last message that is to be continued."""
    if value is False:
        return None
    if add_generation_prompt:
        message = "`continue_final_message` goes on with the last message, so `add_generation_prompt` must be False"
        raise ValueError(message)
    return "content" if value is True else as_text(value, "continue_final_message")


def _as_moment(now: object) -> tuple[int, int, int, int, int, int, int]:
    """The fields of a date and time."""
    if now is None:
        now = dt.datetime.now()  # noqa: DTZ005 (what the clock on the wall shows)
    if isinstance(now, dt.datetime):
        return (now.year, now.month, now.day, now.hour, now.minute, now.second, now.microsecond)
    if isinstance(now, dt.date):
        return (now.year, now.month, now.day, 0, 0, 0, 0)
    message = f"`now` must be a datetime, a date or None, got {type_name(now)}"
    raise TypeError(message)


def render_request(
    *,
    messages: object,
    tools: object,
    documents: object,
    add_generation_prompt: object,
    continue_final_message: object,
    adapt: object,
    now: object,
    variables: Mapping[str, Any],
) -> dict[str, Any]:
    """The checked arguments of a render, by their names."""
    begins = as_bool(add_generation_prompt, "add_generation_prompt")
    return {
        "messages": _as_items(messages, "messages"),
        "tools": None if tools is None else _as_items(tools, "tools"),
        "documents": None if documents is None else _as_items(documents, "documents"),
        "add_generation_prompt": begins,
        "continue_final_message": _as_field(continue_final_message, begins),
        "adapt": as_bool(adapt, "adapt"),
        "now": _as_moment(now),
        "variables": dict(variables),
    }
