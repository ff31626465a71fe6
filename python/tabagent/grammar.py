"""What a generated text must look like: JSON schemas, regular expressions, choices and grammars."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent import _native
from tabagent._arguments import INT32_MAX, as_bool, as_int, as_text, as_texts, check_encodable, is_iterable, type_name
from tabagent.errors import GrammarError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Constraint", "Grammar", "Limitation", "Trigger"]

Parser = Callable[[str], Any]
"""Turns a complete text into what it stands for."""

FORMATS: Final = ("lark", "gbnf")


@dataclass(frozen=True)
class Trigger:
    """A lazy start: the model writes freely until one of `starts` appears, and what follows is constrained.

    Trigger("</think>")
    Trigger("<tool_call>", then="free")
    """

    starts: str | int | Sequence[str | int]
    """What the free text ends with: a text, wherever its tokens are cut, or a token id, or several of them. Kept as a tuple."""
    then: Literal["stop", "free"] = "stop"
    """What comes after the construct: the end, or free text again in which the next construct may start."""
    required: bool = True
    """Whether a first construct must come: if so, the model cannot end its text before."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", _starts(self.starts, "starts"))
        if self.then not in {"stop", "free"}:
            message = f'`then` must be "stop" or "free", got {self.then!r}'
            raise ValueError(message)
        as_bool(self.required, "required")


def _starts(value: object, name: str) -> tuple[str | int, ...]:
    """What ends free text, from one start or several; errors call it `name`."""
    if isinstance(value, str) or (hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0):
        return (_start(value, name),)
    if isinstance(value, (bytes, bytearray, Mapping)) or not is_iterable(value):
        message = f"`{name}` must be a str, a token id or a sequence of them, got {type_name(value)}"
        raise TypeError(message)
    items: Iterable[object] = value  # type: ignore[assignment] # it is one
    starts = tuple(_start(start, f"{name}[{index}]") for index, start in enumerate(items))
    if not starts:
        message = f"`{name}` must name at least one text or token"
        raise ValueError(message)
    return starts


def _start(value: object, name: str) -> str | int:
    if not isinstance(value, str):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            message = f"`{name}` must be a str or a token id, got {type_name(value)}"
            raise TypeError(message)
        return as_int(value, name, 0, INT32_MAX)
    if not value:
        message = f"`{name}` is empty; a construct that begins at once needs no trigger"
        raise ValueError(message)
    check_encodable(value, name)
    return str.__str__(value)


@dataclass(frozen=True)
class Limitation:
    """Something about JSON that is not enforced: a demand of the schema that output may break, or names that may come twice in an object."""

    path: str
    """The JSON pointer of the part of the schema; `/` is the whole."""
    keyword: str
    """The keyword there."""
    message: str
    """What is not enforced."""


class Grammar:
    """A grammar compiled for a model's vocabulary by `Model.compile_grammar`. Give it to `generate` as `grammar`, as often as wanted."""

    __slots__ = ("_native", "_parser", "_vocab_size")

    def __init__(self, native: _native.Grammar, *, vocab_size: int, parser: Parser | None) -> None:
        """Made by `Model.compile_grammar`."""
        self._native = native
        self._vocab_size = vocab_size
        self._parser = parser

    @property
    def limitations(self) -> tuple[Limitation, ...]:
        """What is not enforced, in the order of the schema. Empty for all but JSON schemas and `json_mode`."""
        return tuple(Limitation(*parts) for parts in self._native.limitations)

    def start(self) -> Constraint:
        """The grammar at work on one sequence, for decoding by hand.

        Raises:
            GrammarError: the grammar engine failed.
        """
        return Constraint(self._native.start(), vocab_size=self._vocab_size)

    def __repr__(self) -> str:
        return f"<Grammar for {self._vocab_size} tokens, {len(self.limitations)} limitations>"


class Constraint:
    """Which tokens may come next in one sequence, for decoding by hand beside `Model.create_context`.

        constraint = grammar.start()
        while not constraint.is_finished:
            logits = context.logits()
            token = int(np.where(constraint.mask(), logits, -np.inf).argmax())
            constraint.accept(token)
            context.decode([token])

    Made by `Grammar.start`. An end-of-generation token is allowed only where the text may end.
    """

    __slots__ = ("_native", "_vocab_size")

    def __init__(self, native: _native.Constraint, *, vocab_size: int) -> None:
        """Made by `Grammar.start`."""
        self._native = native
        self._vocab_size = vocab_size

    def mask(self) -> NDArray[np.bool_]:
        """Whether each token of the vocabulary may come next: a new array of shape (vocab_size,).

        Raises:
            GrammarError: no token can follow, or the grammar cannot go on.
        """
        return self._native.mask(self._vocab_size)

    def accept(self, token: int) -> None:
        """Go on by the token.

        Raises:
            GrammarError: it may not come here; the sequence is then as before.
        """
        self._native.accept(as_int(token, "token", 0, INT32_MAX))

    def forced(self) -> list[int]:
        """The tokens that are certain to come now, as the model's tokenizer writes them; empty where there is a choice. `accept` each."""
        return self._native.forced()

    def rollback(self, count: int) -> None:
        """Take back the last `count` tokens.

        Raises:
            GrammarError: fewer were accepted.
        """
        self._native.rollback(as_int(count, "count", 0, INT32_MAX))

    @property
    def can_end(self) -> bool:
        """Whether the text is complete and may end here."""
        return self._native.can_end

    @property
    def is_finished(self) -> bool:
        """Whether nothing may follow."""
        return self._native.is_finished


@dataclass(frozen=True)
class Source:
    """A grammar as the core takes it, and what becomes of a text that fits it."""

    kind: str
    source: str | list[str]
    parser: Parser | None = None

    @property
    def argument(self) -> str:
        """The argument of `generate` that it was given as."""
        return {"json_object": "json_mode", "lark": "grammar", "gbnf": "grammar"}.get(self.kind, self.kind)


def source_of(
    *,
    json_schema: object = None,
    json_mode: bool = False,
    regex: str | None = None,
    choices: Sequence[str] | None = None,
    grammar: object = None,
    grammar_format: str | None = None,
) -> Source | None:
    """The one grammar that was asked for, or None."""
    given = {
        "json_schema": json_schema is not None,
        "json_mode": as_bool(json_mode, "json_mode"),
        "regex": regex is not None,
        "choices": choices is not None,
        "grammar": grammar is not None,
    }
    names = [f"`{name}`" for name, is_given in given.items() if is_given]
    if len(names) > 1:
        message = f"{' and '.join(names)} were given; a text can follow only one of them"
        raise ValueError(message)
    if grammar_format is not None and grammar is None:
        message = "`grammar_format` says how to read `grammar`, which was not given"
        raise ValueError(message)
    if json_schema is not None:
        return _json_source(json_schema)
    if json_mode:
        return Source("json_object", "", json.loads)
    if regex is not None:
        return Source("regex", as_text(regex, "regex"))
    if choices is not None:
        texts = as_texts(choices, "choices")
        if not texts:
            message = "`choices` is empty; give at least one"
            raise ValueError(message)
        return Source("choices", texts)
    return None if grammar is None else _grammar_source(as_text(grammar, "grammar"), grammar_format)


def trigger_of(value: object) -> Trigger | None:
    """A trigger from what it may be given as."""
    if value is None or isinstance(value, Trigger):
        return value
    return Trigger(_starts(value, "trigger"))


def compile_source(native: _native.Model, source: Source, trigger: Trigger | None, *, compact: bool) -> _native.Grammar:
    """Have the core compile a grammar."""
    request: dict[str, object] = {"kind": source.kind, "source": source.source, "compact": compact}
    if trigger is not None:
        request |= {"starts": trigger.starts, "free_after": trigger.then == "free", "required": trigger.required}
    return native.compile_grammar(request)


def parser_of(source: Source, trigger: Trigger | None) -> Parser | None:
    """What parses a text of this grammar; none where other text is around the construct."""
    if source.parser is None or trigger is None:
        return source.parser
    return _after(trigger, source.parser)


def _after(trigger: Trigger, parser: Parser) -> Parser | None:
    """A parser of what comes after the first trigger; None where that cannot be found in the text alone."""
    texts = trigger.starts
    if trigger.then != "stop" or not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
        return None
    return TextAfter(tuple(text for text in texts if isinstance(text, str)), parser)


@dataclass(frozen=True)
class TextAfter:
    """Parses what comes after the first of some texts."""

    starts: tuple[str, ...]
    parser: Parser

    def __call__(self, text: str) -> Any:
        """What the text after the first start stands for."""
        ends = [text.index(start) + len(start) for start in self.starts if start in text]
        if not ends:
            message = "the text has no part to parse: none of the trigger's texts came"
            raise ValueError(message)
        return self.parser(text[min(ends) :])


def _grammar_source(text: str, grammar_format: str | None) -> Source:
    if grammar_format is not None and grammar_format not in FORMATS:
        message = f'`grammar_format` must be "lark" or "gbnf", got {grammar_format!r}'
        raise ValueError(message)
    return Source(grammar_format or guess_format(text), text)


def guess_format(text: str) -> str:
    """`gbnf` if a line of the text defines `root` as GBNF does, else `lark`."""
    is_gbnf = any(line.split("::=", 1)[0].strip() == "root" for line in text.splitlines() if "::=" in line)
    return "gbnf" if is_gbnf else "lark"


def _json_source(schema: Any) -> Source:
    """A JSON schema from a mapping, text, or a type that pydantic knows how to describe."""
    if isinstance(schema, bool):
        return Source("json_schema", json.dumps(schema), json.loads)
    if isinstance(schema, str):
        return Source("json_schema", schema, json.loads)
    if isinstance(schema, Mapping):
        try:
            return Source("json_schema", json.dumps(schema, allow_nan=False, default=_plain), json.loads)
        except RecursionError as error:
            message = "`json_schema` nests too deeply; put the inner schemas under `$defs` and refer to them with `$ref`"
            raise ValueError(message) from error
        except (TypeError, ValueError) as error:
            message = f"`json_schema` is no JSON: {error}"
            raise ValueError(message) from error
    if not isinstance(schema, type) and hasattr(schema, "validate_json") and hasattr(schema, "json_schema"):
        return _described(schema, schema.json_schema, schema.validate_json, is_pydantic="pydantic" in _homes(type(schema)))
    if hasattr(schema, "model_json_schema") and hasattr(schema, "model_validate_json"):
        return _described(schema, schema.model_json_schema, schema.model_validate_json, is_pydantic="pydantic" in _homes(schema))
    return _type_source(schema)


def _plain(value: Any) -> Any:
    """A number or an array of numpy, or another integer, as `json` writes it."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__index__"):
        return operator.index(value)
    message = f"a value of type {type_name(value)} has no JSON"
    raise TypeError(message)


def _type_source(kind: Any) -> Source:
    """A JSON schema of a dataclass, a TypedDict or another type, by pydantic."""
    described = isinstance(kind, type) or any(hasattr(kind, name) for name in ("__origin__", "__args__", "__value__"))
    if not described:
        message = f"`json_schema` must be a mapping, a JSON text, a bool or a type, got {type_name(kind)}"
        raise TypeError(message)
    try:
        from pydantic import PydanticUndefinedAnnotation, PydanticUserError  # noqa: PLC0415 (optional, and slow to import)

        from tabagent._type_schemas import culprit  # noqa: PLC0415 (needs pydantic)
    except ImportError as error:
        message = f"`json_schema={_name(kind)}` needs pydantic to become a schema; install it, or give the schema as a dict"
        raise TypeError(message) from error
    parser = TypeParser(kind)
    try:
        adapter = parser.adapter
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        field = culprit(kind)
        if field is None:
            message = f"pydantic cannot describe `json_schema={_name(kind)}`: {_first_line(error)}"
            raise TypeError(message) from error
        message = f"`json_schema={_name(kind)}`: pydantic cannot describe the field `{field}`: {_first_line(error)}; give it a type that JSON has"
        raise GrammarError(message) from error
    return _described(kind, adapter.json_schema, parser, is_pydantic=True)


def _described(kind: Any, describe: Callable[..., Any], parser: Parser, *, is_pydantic: bool) -> Source:
    """The schema of what pydantic describes, or of something that has its methods."""
    if not is_pydantic:
        return Source("json_schema", json.dumps(closed(describe())), parser)
    from pydantic import PydanticUndefinedAnnotation, PydanticUserError  # noqa: PLC0415 (slow to import)

    from tabagent._type_schemas import TypeSchema, with_tags  # noqa: PLC0415 (needs pydantic)

    try:
        schema = with_tags(describe(schema_generator=TypeSchema))
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        message = f"`json_schema={_name(kind)}` has no JSON schema: {_first_line(error)}"
        if isinstance(error, PydanticUserError) and error.code == "invalid-for-json-schema" and not hasattr(kind, "__annotations__"):
            raise TypeError(message) from error
        raise GrammarError(message) from error
    return Source("json_schema", json.dumps(closed(schema)), parser)


def _homes(kind: Any) -> set[str]:
    """The packages of a class and of those that it derives from."""
    return {base.__module__.partition(".")[0] for base in getattr(kind, "__mro__", ())}


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 (optional, and slow to import)

    from tabagent._typed_dicts import readable_by_pydantic  # noqa: PLC0415 (needs typing_extensions, which pydantic brings)

    return TypeAdapter(readable_by_pydantic(kind))


@dataclass(frozen=True)
class TypeParser:
    """Reads a type from JSON text by pydantic. Unlike pydantic's own adapter it is pickled as the type alone."""

    kind: Any

    @property
    def adapter(self) -> Any:
        """The adapter that pydantic makes of the type."""
        try:
            return _adapter(self.kind)
        except TypeError:  # what annotates the type cannot be hashed
            return _adapter.__wrapped__(self.kind)

    def __call__(self, text: str) -> Any:
        """What the text stands for."""
        return self.adapter.validate_json(text)


def closed(schema: Any) -> Any:
    """A type's schema without properties that the type does not have: it would drop them, and a model can go on with them for ever.

    What says `additionalProperties` by itself stays as it is.
    """
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for keyword in ("items", "additionalProperties", "not", "if", "then", "else"):
        if keyword in result:
            result[keyword] = closed(result[keyword])
    for keyword in ("prefixItems", "anyOf", "oneOf"):
        if keyword in result:
            result[keyword] = [closed(part) for part in result[keyword]]
    for keyword in ("properties", "$defs", "patternProperties"):
        if keyword in result:
            result[keyword] = {name: closed(part) for name, part in result[keyword].items()}
    if "properties" in result and "additionalProperties" not in result:
        result["additionalProperties"] = False
    return result
