"""From a conversation to the prompt of one model: which template, and which tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from tabagent._arguments import as_bool, as_path, as_text, type_name
from tabagent.chat_template import ChatCapabilities, ChatTemplate, render_request
from tabagent.vocabulary import Vocabulary

if TYPE_CHECKING:
    from datetime import date, datetime

    from tabagent import _native

__all__ = ["ChatPrompter", "template_of"]


class ChatPrompter(Vocabulary):
    """The part of `Model` that makes prompts of conversations."""

    __slots__ = ()

    @overload
    def apply_chat_template(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = ...,
        documents: Sequence[Any] | None = ...,
        add_generation_prompt: bool = ...,
        continue_final_message: bool | str = ...,
        adapt: bool = ...,
        now: datetime | date | None = ...,
        chat_template: str | PathLike[str] | ChatTemplate | None = ...,
        chat_template_kwargs: Mapping[str, Any] | None = ...,
        reasoning_effort: str | None = ...,
        tokenize: Literal[False] = ...,
    ) -> str: ...
    @overload
    def apply_chat_template(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = ...,
        documents: Sequence[Any] | None = ...,
        add_generation_prompt: bool = ...,
        continue_final_message: bool | str = ...,
        adapt: bool = ...,
        now: datetime | date | None = ...,
        chat_template: str | PathLike[str] | ChatTemplate | None = ...,
        chat_template_kwargs: Mapping[str, Any] | None = ...,
        reasoning_effort: str | None = ...,
        tokenize: Literal[True],
    ) -> list[int]: ...
    def apply_chat_template(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        adapt: bool = True,
        now: datetime | date | None = None,
        chat_template: str | PathLike[str] | ChatTemplate | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        reasoning_effort: str | None = None,
        tokenize: bool = False,
    ) -> str | list[int]:
        """The prompt of a conversation for this model: a text, or with `tokenize` its tokens.

            model.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=True)

        Give the tokens to `generate` to have it answered. In the tokens, markers such as `<|im_end|>` count where the template wrote them; in the
        texts of the conversation they are plain text, so nobody can forge a turn. The token that begins a text is there once, whether the template
        writes it or the tokenizer adds it. The text alone says neither.

        Args:
            messages: as for `ChatTemplate.render`.
            tools: as there.
            documents: as there.
            add_generation_prompt: as there.
            continue_final_message: as there.
            adapt: as there.
            now: as there.
            chat_template: in place of the file's template, a text, a path, a `ChatTemplate`, or a name that llama.cpp knows, such as `chatml`. From
                a file with several templates, the one for tools (`tool_use`) or documents (`rag`) is taken where there are some.
            chat_template_kwargs: further variables of the template, such as `enable_thinking`.
            reasoning_effort: the variable of that name, for templates that read it.
            tokenize: give the tokens.

        Raises:
            ChatTemplateError: the file has no template, or the template failed or refused the conversation.
            TypeError: a message or tool has another shape; names its index and the field.
            ValueError: the same for wrong values.
        """
        variables = {} if chat_template_kwargs is None else dict(chat_template_kwargs)
        if reasoning_effort is not None:
            variables["reasoning_effort"] = as_text(reasoning_effort, "reasoning_effort")
        request = render_request(
            messages=messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            adapt=adapt,
            now=now,
            variables=variables,
        )
        template = template_of(chat_template, self._native, request)._native  # noqa: SLF001 (a module of ours)
        if not as_bool(tokenize, "tokenize"):
            return template.render(request)
        return self._native.chat_prompt(template, request)[1]

    @property
    def chat_format(self) -> ChatCapabilities:
        """What the file's chat template can write; what it cannot, `apply_chat_template` says in another way."""
        return ChatCapabilities(**self._native.chat_template_for(tools=False, documents=False).capabilities())


def template_of(value: object, native: _native.Model, request: dict[str, Any]) -> ChatTemplate:
    """The template that `value` stands for: None (the file's), a `ChatTemplate`, a text, a path, or a name that llama.cpp knows.

    Raises:
        ChatTemplateError: the file has no template, or the text is none.
        FileNotFoundError: the path names no file.
    """
    if isinstance(value, ChatTemplate):
        return value
    if value is None:
        return ChatTemplate._of(native.chat_template_for(bool(request["tools"]), bool(request["documents"])))  # noqa: SLF001 (a module of ours)
    bos, eos = native.chat_tokens()
    if isinstance(value, os.PathLike):
        return ChatTemplate(_read(value), bos_token=bos, eos_token=eos)
    if not isinstance(value, str):
        message = f"`chat_template` must be a str, a path, a ChatTemplate or None, got {type_name(value)}"
        raise TypeError(message)
    # Templates have tags; names and paths do not.
    if "{{" in value or "{%" in value:
        return ChatTemplate(value, bos_token=bos, eos_token=eos)
    if value in ChatTemplate.names():
        return ChatTemplate.named(value, bos_token=bos, eos_token=eos)
    if Path(value).is_file():
        return ChatTemplate(_read(value), bos_token=bos, eos_token=eos)
    message = f"`chat_template` is `{value}`, which is no text with tags, no file, and none of the names {', '.join(ChatTemplate.names())}"
    raise ValueError(message)


def _read(path: str | os.PathLike[str]) -> str:
    # Line ends are the template's own.
    return Path(as_path(path, "chat_template")).read_bytes().decode()
