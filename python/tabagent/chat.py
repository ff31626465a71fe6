"""Conversations with a model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent._arguments import as_bool, as_choice, as_int, as_text, check_encodable, surrogate_error, type_name
from tabagent.chat_message import ChatMessage
from tabagent.chat_prompt import ChatPrompter, template_of
from tabagent.chat_stream import ChatStream
from tabagent.chat_template import ChatTemplate, render_request
from tabagent.errors import GrammarError
from tabagent.generator import MAX_TOKENS, Generator, strings_of
from tabagent.grammar import Grammar, Limitation, TextAfter, Trigger, parser_of, source_of
from tabagent.reasoning import TemplateBudget

if TYPE_CHECKING:
    from datetime import date, datetime
    from os import PathLike

    from tabagent import _native
    from tabagent.chat_message import ToolCall
    from tabagent.conversation import Conversation
    from tabagent.sampling import SamplerConfig

__all__ = ["Chatter"]

STRUCTURE: Final = ("json_schema", "json_mode", "regex", "choices", "grammar", "grammar_format", "compact_json")
"""Options of `generate` that say what the content must look like."""
OWN: Final = {"prompt", "add_special", "parse_special", "trigger", "show_special", "reasoning_budget", "n", "best_of"}
"""Options of `generate` that a conversation decides."""


class Chatter(Generator, ChatPrompter):
    """The part of `Model` that talks."""

    __slots__ = ()

    def chat(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] = "auto",
        parallel_tool_calls: bool = True,
        response_format: Mapping[str, Any] | None = None,
        reasoning: Literal["auto", "on", "off"] | int = "auto",
        reasoning_budget_message: str = "",
        reasoning_effort: str | None = None,
        documents: Sequence[Any] | None = None,
        continue_final_message: bool | str = False,
        chat_template: str | PathLike[str] | ChatTemplate | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        adapt: bool = True,
        now: datetime | date | None = None,
        sampling: SamplerConfig | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        **options: Any,
    ) -> ChatStream:
        """Have the model answer a conversation. Returns at once; the answer comes through the stream.

            for text in model.chat([{"role": "user", "content": "Hello"}], max_tokens=64):
                print(text, end="")

        What is decoded of a conversation stays, so the next turn decodes only what is new (`cache_prompt=False` turns that off).

        Args:
            messages: the conversation: dicts as OpenAI has them, or messages of this package. See `ChatTemplate.render`.
            tools: what the model may call: functions, classes, definitions or `Tool`s. The calls are in the message; nothing is called here.
            tool_choice: `auto` lets the model decide, `required` demands a call, `none` forbids it, `{"name": ...}` (or OpenAI's form of it) demands
                one of that tool. Arguments fit the tool's schema, as far as the format allows: where a call begins, what follows is held to it.
            parallel_tool_calls: several calls may come in one message, if the template has that.
            response_format: what the content must be, as OpenAI has it: `{"type": "json_object"}`, or
                `{"type": "json_schema", "json_schema": {"schema": ...}}`. The options of `generate`, such as `json_schema` and `regex`, do the same.
                With tools it concerns the answer without calls: under `auto` calls come or such content, and where a call is demanded it comes.
            reasoning: `on` and `off` tell templates that can be told (`enable_thinking`); `auto` leaves it to the template. A number is how many
                tokens all thoughts of the answer may have together: where they are used up, the template's end of a thought is put into it, and
                the model goes on after it. 0 is `off`, and ends at once what thought a model begins all the same. Where the template has no
                thoughts there is nothing to limit.
            reasoning_budget_message: is put in front of that end (not with 0), such as `" That is enough."`: it tells the model why.
            reasoning_effort: the variable of that name, for templates that read it.
            documents: as for `ChatTemplate.render`.
            continue_final_message: as there.
            chat_template: as for `apply_chat_template`.
            chat_template_kwargs: as there.
            adapt: as there.
            now: as there.
            sampling: as for `generate`.
            max_tokens: as there.
            stop: as there.
            **options: all other options of `generate` but those that concern the prompt.

        Raises:
            ChatTemplateError: the file has no template, or it failed or refused the conversation.
            TypeError, ValueError: an argument, a message or a tool is wrong; names its index and the field.
            Others: as `generate`.
        """
        _check_options(options, inspect.signature(self.generate).parameters)
        choice, name = _choice(tool_choice)
        given = _tools(tools)
        how, budget = _reasoning(reasoning)
        message = check_encodable(as_text(reasoning_budget_message, "reasoning_budget_message"), "reasoning_budget_message")
        variables = _with_reasoning(chat_template_kwargs, how)
        if reasoning_effort is not None:
            variables["reasoning_effort"] = reasoning_effort
        request = render_request(
            messages=_plain(messages),
            tools=given,
            documents=documents,
            add_generation_prompt=continue_final_message is False,
            continue_final_message=continue_final_message,
            adapt=adapt,
            now=now,
            variables=variables,
        )
        template = None if chat_template is None else template_of(chat_template, self._native, request)._native  # noqa: SLF001 (a module of ours)
        structure = {name: options.pop(name) for name in STRUCTURE if name in options} | _structure(response_format)
        asked = {
            "tool_choice": choice,
            "tool_name": name,
            "parallel": as_bool(parallel_tool_calls, "parallel_tool_calls"),
            "thinking": None if budget is None else (budget, message),
        }
        prepared, held = self._prepare(template, request, asked, structure)
        for demand in held.unenforced:
            warnings.warn(f"`tools`: {demand.message}", stacklevel=2)
        options.setdefault("cache_prompt", True)
        stream = self.generate(
            prepared.tokens,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=[*strings_of(stop, "stop"), *prepared.stop],
            grammar=held.grammar,
            reasoning_budget=None if prepared.thought is None else TemplateBudget(prepared.thought),
            add_special=False,
            show_special=True,
            **options,
        )
        return ChatStream(stream, prepared.parser(), held.read_json, held.unenforced + held.limitations)

    def conversation(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Any] = (),
        tools: Sequence[Any] | None = None,
        max_rounds: int = 8,
        tool_timeout: float | None = None,
        approve: Callable[[ToolCall], bool | str] | None = None,
        shorten: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
        **options: Any,
    ) -> Conversation:
        """A conversation that keeps its messages and calls its tools.

            chat = model.conversation(system="Be brief.")
            print(chat.send("Hello", max_tokens=32).result().content)

        Args:
            system: the system message.
            messages: what was said before.
            tools: functions, classes or `Tool`s that the model may call, and that are then called.
            max_rounds: how often calls are made in one turn at most; then the model answers without.
            tool_timeout: seconds that a call may take; then the model is told so. The function itself is not stopped.
            approve: is asked before each call; False or a reason refuses it, which the model is told.
            shorten: is given the messages where they do not fit the context, and gives fewer or shorter ones. Without it that is a
                `ContextFullError`; nothing is ever left out otherwise.
            **options: options of `chat` for every turn.

        Raises:
            TypeError, ValueError: an argument is wrong.
            ToolError: a tool cannot be described.
        """
        from tabagent.conversation import Conversation  # noqa: PLC0415 (needed here alone)

        return Conversation(
            self,
            system=system,
            messages=messages,
            tools=tools,
            max_rounds=max_rounds,
            tool_timeout=tool_timeout,
            approve=approve,
            shorten=shorten,
            options=options,
        )

    def _prepare(
        self, template: _native.ChatTemplate | None, request: dict[str, Any], asked: dict[str, Any], structure: Mapping[str, Any]
    ) -> tuple[_native.PreparedChat, Held]:
        """The request as the core makes it ready, and what holds the answer: to calls that can be read, to the form of the content, or to either."""
        must_call = asked["tool_choice"] == "required"
        calls = bool(request["tools"]) and asked["tool_choice"] != "none"
        compiled = structure.get("grammar")
        if isinstance(compiled, Grammar) and not must_call:
            if calls:
                message = "a compiled `grammar` cannot stand beside calls of tools; give its source, or `tool_choice='none'`"
                raise ValueError(message)
            prepared = self._native.prepare_chat(template, request, {**asked, "content": None})
            end = prepared.reasoning_end
            return prepared, Held(self.compile_grammar(**structure, trigger=None if end is None else Trigger(end)))
        compact = as_bool(structure.get("compact_json", False), "compact_json")
        source = None if must_call else source_of(**{name: value for name, value in structure.items() if name != "compact_json"})
        if compact and source is None and not must_call:
            message = "`compact_json` says how JSON is written, and none was asked for; give `json_schema` or `json_mode`"
            raise ValueError(message)
        content = None if source is None else {"kind": source.kind, "source": source.source, "compact": compact}
        try:
            prepared = self._native.prepare_chat(template, request, {**asked, "content": content})
        except UnicodeEncodeError as error:
            raise surrogate_error(error, "response_format" if source is None else source.argument) from None
        except GrammarError as error:
            if source is None or calls:
                raise
            message = f"`{source.argument}`: {error}"
            raise GrammarError(message) from None
        if prepared.grammar is None:
            return prepared, Held()
        end = prepared.reasoning_end
        trigger = None if end is None or calls else Trigger(end)
        parser = None if source is None or calls else parser_of(source, trigger)
        grammar = Grammar(prepared.grammar, vocab_size=self.vocab_size(), parser=parser)
        unenforced = tuple(_demand(*parts) for parts in prepared.unenforced)
        return prepared, Held(grammar, unenforced, source.parser if source is not None and calls else None)


@dataclass(frozen=True)
class Held:
    """What an answer is held to."""

    grammar: Grammar | None = None
    unenforced: tuple[Limitation, ...] = ()
    """What of the tools' schemas calls may break."""
    parser: Callable[[str], Any] | None = None
    """Reads content that is an alternative to calls."""

    @property
    def read_json(self) -> Callable[[str], Any] | None:
        """What reads the content, which has no more in it than the object."""
        if self.grammar is None or self.parser is not None:
            return self.parser
        parser = self.grammar._parser  # noqa: SLF001 (its own other half)
        return parser.parser if isinstance(parser, TextAfter) else parser

    @property
    def limitations(self) -> tuple[Limitation, ...]:
        """What the grammar does not enforce."""
        return () if self.grammar is None else self.grammar.limitations


def _demand(tool: str, parameter: str, keyword: str) -> Limitation:
    """A demand of a tool's schema that calls may break."""
    what = f"`{keyword}` of `{parameter}` of the tool `{tool}` is not enforced, since the model does not write that argument as JSON"
    return Limitation(f"/{tool}/properties/{parameter}", keyword, what)


def _check_options(options: Mapping[str, Any], known: Mapping[str, object]) -> None:
    for name in options:
        if name not in known or name in OWN:
            message = f"`chat` has no option `{name}`; it takes those of `generate` that do not concern the prompt"
            raise TypeError(message)


def _plain(messages: Any) -> Any:
    """Messages of ours as dicts; what else there is, as it is."""
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        return messages
    return [message.as_dict() if isinstance(message, ChatMessage) else message for message in messages]


def _tools(tools: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    if tools is None:
        return None
    from tabagent.tools import tools_from  # noqa: PLC0415 (for conversations with tools)

    return [tool.as_dict() for tool in tools_from(tools)]


def _choice(value: object) -> tuple[str, str | None]:
    """What is to be called, and the name of the one tool if there is one."""
    if isinstance(value, Mapping):
        function = value.get("function", value)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            message = '`tool_choice` must name a tool as `{"name": ...}`'
            raise ValueError(message)  # noqa: TRY004 (a mapping is what it takes)
        return "required", name
    if not isinstance(value, str):
        message = f"`tool_choice` must be 'auto', 'none', 'required' or a mapping with a name, got {type_name(value)}"
        raise TypeError(message)
    return as_choice(value, "tool_choice", ("auto", "none", "required")), None


def _reasoning(value: object) -> tuple[str, int | None]:
    """Whether to think, and how many tokens that may take."""
    if isinstance(value, str):
        return as_choice(value, "reasoning", ("auto", "on", "off")), None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        message = f"`reasoning` must be 'auto', 'on', 'off' or a number of tokens, got {type_name(value)}"
        raise TypeError(message)
    budget = as_int(value, "reasoning", 0, MAX_TOKENS)
    return "on" if budget else "off", budget


def _with_reasoning(variables: Mapping[str, Any] | None, reasoning: str) -> dict[str, Any]:
    """The template's variables, with the switch for reasoning."""
    made = {} if variables is None else dict(variables)
    if reasoning != "auto":
        made["enable_thinking"] = reasoning == "on"
    return made


def _structure(response_format: Mapping[str, Any] | None) -> dict[str, Any]:
    """OpenAI's `response_format` as options of `generate`."""
    if response_format is None:
        return {}
    if not isinstance(response_format, Mapping):
        message = f"`response_format` must be a mapping, got {type_name(response_format)}"
        raise TypeError(message)
    kind = response_format.get("type")
    if kind == "text":
        return {}
    if kind == "json_object":
        schema = response_format.get("schema")
        return {"json_mode": True} if schema is None else {"json_schema": schema}
    if kind == "json_schema":
        described = response_format.get("json_schema")
        schema = described.get("schema") if isinstance(described, Mapping) else None
        if schema is None:
            message = '`response_format` of the type `json_schema` must have its schema as `{"json_schema": {"schema": ...}}`'
            raise ValueError(message)
        return {"json_schema": schema}
    message = f"`response_format` must have the type `text`, `json_object` or `json_schema`, got {kind!r}"
    raise ValueError(message)
