"""What a text may be asked to look like, before any model is there."""

from __future__ import annotations

import enum
import json
import pickle
import re
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import AliasPath, BaseModel, Field, JsonValue, TypeAdapter, ValidationError, create_model
from typing_extensions import TypedDict

from fake_stream import FakeStream, stream_of
from tabagent import GrammarError, Trigger
from tabagent.grammar import closed, guess_format, parser_of, source_of, trigger_of

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}


class Person(BaseModel):
    name: str
    age: int


@dataclass
class Point:
    x: int
    y: int


class Flags(TypedDict):
    on: bool


class PlainFlags(typing.TypedDict):
    on: bool


class PlainGroup(typing.TypedDict, total=False):
    flags: list[PlainFlags]
    best: PlainFlags | None


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (PERSON, '{"name": "a", "age": 1}', {"name": "a", "age": 1}),
        (json.dumps(PERSON), '{"name": "a", "age": 1}', {"name": "a", "age": 1}),
        (True, "[1]", [1]),
        (Person, '{"name": "a", "age": 1}', Person(name="a", age=1)),
        (TypeAdapter(list[Person]), '[{"name": "a", "age": 1}]', [Person(name="a", age=1)]),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Flags, '{"on": true}', {"on": True}),
        (PlainFlags, '{"on": true}', {"on": True}),
        (PlainGroup, '{"flags": [{"on": true}]}', {"flags": [{"on": True}]}),
        (PlainGroup, '{"best": null}', {"best": None}),
        (dict[str, PlainFlags], '{"a": {"on": false}}', {"a": {"on": False}}),
        (list[int], "[1, 2]", [1, 2]),
        (int | None, "null", None),
    ],
)
def test_schemas_come_from_mappings_text_and_types(schema: object, text: str, value: object) -> None:
    source = source_of(json_schema=schema)
    assert source is not None
    assert source.kind == "json_schema"
    assert isinstance(source.source, str)
    json.loads(source.source)
    assert source.parser is not None
    assert source.parser(text) == value


def test_types_allow_no_properties_but_their_own() -> None:
    schema = {
        "$defs": {"properties": {"type": "object", "properties": {"properties": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "open": {"type": "object", "properties": {}, "additionalProperties": True},
            "map": {"additionalProperties": {"properties": {}}},
        },
        "anyOf": [{"properties": {"a": True}}, False],
    }
    found = closed(schema)
    assert found["additionalProperties"] is False
    assert found["$defs"]["properties"]["additionalProperties"] is False
    assert found["$defs"]["properties"]["properties"] == {"properties": {"type": "string"}}
    assert found["properties"]["open"]["additionalProperties"] is True
    assert found["properties"]["map"] == {"additionalProperties": {"properties": {}, "additionalProperties": False}}
    assert found["anyOf"] == [{"properties": {"a": True}, "additionalProperties": False}, False]
    assert "additionalProperties" not in schema


def test_plain_typed_dicts_keep_what_is_required() -> None:
    source = source_of(json_schema=PlainGroup)
    assert source is not None
    schema = json.loads(str(source.source))
    assert "required" not in schema
    assert schema["$defs"]["PlainFlags"]["required"] == ["on"]


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"json_schema": 3}, TypeError, "`json_schema` must be"),
        ({"json_schema": {"enum": [{1}]}}, ValueError, "`json_schema` is no JSON"),
        ({"json_schema": {"const": float("nan")}}, ValueError, "`json_schema` is no JSON"),
        ({"json_schema": nested(9_000)}, ValueError, "`json_schema` nests too deeply"),
        ({"json_schema": type(sys)}, TypeError, "pydantic cannot describe"),
        ({"regex": b"a"}, TypeError, "`regex` must be a str"),
        ({"choices": "ab"}, TypeError, "`choices` must be a sequence of str"),
        ({"choices": []}, ValueError, "`choices` is empty"),
        ({"grammar": 3}, TypeError, "`grammar` must be a str"),
        ({"grammar": "start: /a/", "grammar_format": "ebnf"}, ValueError, "`grammar_format`"),
        ({"grammar_format": "lark"}, ValueError, "`grammar`, which was not given"),
        ({"json_mode": 1}, TypeError, "`json_mode`"),
        ({"json_mode": True, "regex": "a"}, ValueError, "`json_mode` and `regex` were given"),
        ({"json_schema": {}, "choices": ["a"], "grammar": "x"}, ValueError, "only one of them"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        source_of(**options)


def test_types_need_pydantic_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(TypeError, match="`json_schema=Point` needs pydantic"):
        source_of(json_schema=Point)
    assert source_of(json_schema=PERSON) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('root ::= "a"', "gbnf"),
        ('ws ::= " "\n  root  ::= ws', "gbnf"),
        ('start: "a"', "lark"),
        ('start: "root ::= x"', "lark"),
        ("rooted ::= x", "lark"),
        ("", "lark"),
    ],
)
def test_format_of_a_grammar_is_seen_by_its_root(text: str, found: str) -> None:
    assert guess_format(text) == found


def test_trigger_takes_one_start_or_several() -> None:
    assert Trigger("</think>").starts == ("</think>",)
    assert Trigger(7).starts == (7,)
    assert Trigger(["a", 7]).starts == ("a", 7)
    assert Trigger(["a"]) == Trigger(("a",))
    for seven in (np.int64(7), np.uint8(7), np.array(7), np.array([7]), [np.int32(7)]):
        starts: Any = Trigger(seven).starts  # type: ignore[arg-type] # numpy's integers are as good as Python's
        assert starts == (7,)
        assert type(starts[0]) is int
    starts = Trigger(np.str_("a")).starts
    assert starts == ("a",)
    assert type(starts[0]) is str


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"starts": ""}, ValueError, "`starts` is empty"),
        ({"starts": ["a", ""]}, ValueError, r"`starts\[1\]` is empty"),
        ({"starts": []}, ValueError, "`starts` must name at least one"),
        ({"starts": 1.5}, TypeError, "`starts` must be"),
        ({"starts": b"a"}, TypeError, "`starts` must be"),
        ({"starts": {"a": 1}}, TypeError, "`starts` must be"),
        ({"starts": True}, TypeError, "`starts` must be a str or a token id, got bool"),
        ({"starts": np.bool_(True)}, TypeError, "`starts` must be"),
        ({"starts": [True]}, TypeError, r"`starts\[0\]` must be"),
        ({"starts": [1.0]}, TypeError, r"`starts\[0\]` must be a str or a token id, got float"),
        ({"starts": -1}, ValueError, "`starts` must be at least 0"),
        ({"starts": [2**31]}, ValueError, r"`starts\[0\]` must be at most"),
        ({"starts": ["a", "\udc00"]}, ValueError, r"`starts\[1\]` holds the lone surrogate U\+DC00"),
        ({"starts": np.array(1.0)}, TypeError, "`starts` must be"),
        ({"starts": "a", "then": "go"}, ValueError, "`then`"),
        ({"starts": "a", "required": 1}, TypeError, "`required`"),
    ],
)
def test_wrong_triggers_are_named(arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        Trigger(**arguments)


@pytest.mark.parametrize(
    ("value", "error", "named"),
    [
        ("", ValueError, "`trigger` is empty"),
        ([], ValueError, "`trigger` must name at least one"),
        (1.5, TypeError, "`trigger` must be a str, a token id or a sequence"),
        (True, TypeError, "`trigger` must be a str or a token id, got bool"),
        (["a", -1], ValueError, r"`trigger\[1\]` must be at least 0"),
        ("\udc00", ValueError, r"`trigger` holds the lone surrogate U\+DC00"),
        ({"a": 1}, TypeError, "`trigger` must be"),
    ],
)
def test_wrong_starts_are_named_by_the_argument(value: object, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        trigger_of(value)


def test_trigger_may_be_any_integer() -> None:
    assert trigger_of(np.int64(7)) == trigger_of(7) == Trigger(7)
    assert trigger_of(np.array([7, 8])) == Trigger((7, 8))
    assert trigger_of(None) is None


def test_schema_may_have_numbers_of_numpy() -> None:
    source = source_of(json_schema={"maxLength": np.int64(3), "enum": np.array([1, 2]), "maximum": np.float32(1.5), "uniqueItems": np.bool_(True)})
    assert source is not None
    assert json.loads(str(source.source)) == {"maxLength": 3, "enum": [1, 2], "maximum": 1.5, "uniqueItems": True}
    with pytest.raises(ValueError, match="`json_schema` is no JSON"):
        source_of(json_schema={"const": np.float32("nan")})


def test_what_comes_after_a_trigger_is_parsed_alone() -> None:
    source = source_of(json_mode=True)
    assert source is not None
    parse = parser_of(source, Trigger(["</a>", "</b>"]))
    assert parse is not None
    assert parse('{"x"}</b>{"y": 1}') == {"y": 1}
    with pytest.raises(ValueError, match="no part to parse"):
        parse("nothing")
    assert parser_of(source, Trigger(7)) is None
    assert parser_of(source, Trigger("</a>", then="free")) is None


def parsed(text: str, *, complete: bool | None, schema: object = None) -> Any:
    source = source_of(json_schema=schema)
    fake = FakeStream(text, constraint_complete=complete)
    return stream_of(fake, parser=None if source is None else source.parser).result()


def test_completion_gives_the_value_of_a_complete_text() -> None:
    done = parsed('{"name": "a", "age": 1}', complete=True, schema=Person)
    assert done.parse() == done.parsed == Person(name="a", age=1)
    assert done.constraint_complete is True


def test_completion_that_is_cut_has_no_value() -> None:
    done = parsed('{"name": "a', complete=False, schema=Person)
    assert done.parsed is None
    with pytest.raises(GrammarError, match="is not complete"):
        done.parse()
    free = parsed("hello", complete=None)
    assert free.parsed is None
    with pytest.raises(GrammarError, match="nothing to parse"):
        free.parse()


def test_rule_that_no_grammar_enforces_is_the_types_own_error() -> None:
    done = parsed('{"name": "a", "age": "x"}', complete=True, schema=Person)
    with pytest.raises(ValidationError):
        done.parse()


class Undescribed(BaseModel):
    name: str
    call: Callable[[int], int]


class Outer(BaseModel):
    inner: list[Undescribed]


class Inside(BaseModel):
    deep: int = Field(validation_alias=AliasPath("a", "b"))


class Unknown:
    pass


@dataclass
class Holder:
    known: int
    odd: Unknown


class Shade(enum.Enum):
    DARK = "dark"


class Shaded(BaseModel):
    shade: Literal[Shade.DARK]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Undescribed, "`json_schema=Undescribed` has no JSON schema: field `Undescribed.call`: "),
        (Outer, "`json_schema=Outer` has no JSON schema: field `Undescribed.call`: "),
        (Inside, "field `Inside.deep` takes its value from inside of another one"),
        (Holder, "`json_schema=Holder`: pydantic cannot describe the field `Holder.odd`: "),
        (Shaded, "field `Shaded.shade`: `Shade.DARK` cannot be read from JSON; use its enumeration as the type"),
        (TypeAdapter(list[Undescribed]), "field `Undescribed.call`"),
    ],
)
def test_field_that_no_schema_can_describe_is_named(kind: object, named: str) -> None:
    with pytest.raises(GrammarError, match=re.escape(named)) as caught:
        source_of(json_schema=kind)
    assert "\n" not in str(caught.value)


def test_alternative_that_json_cannot_write_is_left_out() -> None:
    source = source_of(json_schema=int | Callable[[int], int])
    assert source is not None
    assert json.loads(str(source.source)) == {"type": "integer"}
    aliased = source_of(json_schema=JsonValue)
    assert aliased is not None
    assert aliased.parser is not None
    assert aliased.parser("[1]") == [1]


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"json_schema": b"{}"}, TypeError, "`json_schema` must be"),
        ({"json_schema": Path("schema.json")}, TypeError, "`json_schema` must be"),
        ({"grammar": b"\xff"}, TypeError, "`grammar` must be a str"),
        ({"grammar": Path("x.gbnf")}, TypeError, "`grammar` must be a str"),
    ],
)
def test_files_and_bytes_are_no_sources(options: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        source_of(**options)


def thawed(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 (what was pickled here)


def test_parsers_can_be_pickled_or_say_what_was_lost() -> None:
    class Local(BaseModel):
        x: int

    for schema, text, value in [
        (Person, '{"name": "a", "age": 1}', Person(name="a", age=1)),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (list[int], "[1]", [1]),
        (TypeAdapter(dict[str, int]), '{"a": 1}', {"a": 1}),
        ({"type": "integer"}, "1", 1),
    ]:
        done = parsed(text, complete=True, schema=schema)
        again = thawed(done)
        assert again == done
        assert again.parse() == value
    lost = thawed(parsed('{"x": 1}', complete=True, schema=Local))
    assert lost.text == '{"x": 1}'
    with pytest.raises(GrammarError, match=r"`.*model_validate_json`, could not be pickled"):
        lost.parse()
    source = source_of(json_mode=True)
    assert source is not None
    after = parser_of(source, Trigger("</a>"))
    assert thawed(after) == after


class Lookalike:
    """Has the methods of pydantic's classes and is none of them."""

    @staticmethod
    def json_schema() -> dict[str, Any]:
        return {"type": "integer"}

    model_json_schema = json_schema

    @staticmethod
    def validate_json(text: str) -> int:
        return int(text)

    model_validate_json = validate_json


@pytest.mark.parametrize("schema", [Lookalike, Lookalike()])
def test_whatever_has_pydantics_methods_will_do(schema: object) -> None:
    source = source_of(json_schema=schema)
    assert source is not None
    assert source.parser is not None
    assert (json.loads(str(source.source)), source.parser("3")) == ({"type": "integer"}, 3)


def test_nested_types_are_described_in_one_pass() -> None:
    kind: Any = int
    for depth in range(30):
        kind = create_model(f"Level{depth}", inner=(kind, ...), other=(list[dict[str, kind]], []))
    source = source_of(json_schema=kind)
    assert source is not None
    assert len(json.loads(str(source.source))["$defs"]) == 29
