"""Tools of functions, classes and definitions: their schemas, their calls, and what is refused.

One file, although it is long: most of it is small functions and classes that tools are made of.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime as dt
import enum
import functools
import json
import pickle
import threading
import typing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Optional

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from tabagent import Tool, ToolArgumentsError, ToolError
from tabagent.tools import tools_from


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclass
class Place:
    """A place on earth."""

    city: str
    country: str = "IT"


class Query(BaseModel):
    """Search for something.

    Attributes:
        text: What to look for.
        limit: How many to give.
    """

    text: str
    limit: int = Field(default=3, ge=1)


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Options(typing.TypedDict, total=False):
    deep: bool


def weather(city: str, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:  # noqa: D417
    """The weather in a city.

    Args:
        city: The city's name,
            in English.
        unit (Unit): The unit: of temperatures.

    Returns:
        A sentence.
    """
    return f"{city} {unit.name} {days}"


def properties(source: object) -> dict[str, Any]:
    found: dict[str, Any] = Tool(source).parameters["properties"]
    return found


def test_a_function_becomes_a_definition() -> None:
    assert Tool(weather).as_dict() == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city's name, in English."},
                    "unit": {"$ref": "#/$defs/Unit", "description": "The unit: of temperatures.", "default": "C"},
                    "days": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                },
                "required": ["city"],
                "additionalProperties": False,
                "$defs": {"Unit": {"enum": ["C", "F"], "type": "string"}},
            },
        },
    }


NUMPY = """Add.

    Parameters
    ----------
    a, b : int
        A number.

    Returns
    -------
    int
    """
SPHINX = """Add.

    :param int a: A number.
    :param b: A number.
    :type b: int
    :returns: the sum
    """
GOOGLE = """Add.

    Args:
        a (int): A number.
        b: A number.
    """
EPYDOC = """Add.

    @param a: A number.
    @param b: A number.
    """


@pytest.mark.parametrize("text", [NUMPY, SPHINX, GOOGLE, EPYDOC])
def test_descriptions_are_read_in_every_style(text: str) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    add.__doc__ = text
    tool = Tool(add)
    assert tool.description == "Add."
    described = {"type": "integer", "description": "A number."}
    assert tool.parameters["properties"] == {"a": described, "b": described}


def test_a_docstring_may_begin_with_its_parameters_or_be_missing() -> None:
    def first(x: int) -> int:
        """Args:
        x: A number.
        """  # noqa: D205
        return x

    def none(x: int) -> int:
        return x

    assert Tool(first).description == ""
    assert properties(first) == {"x": {"type": "integer", "description": "A number."}}
    assert (Tool(none).description, properties(none)) == ("", {"x": {"type": "integer"}})


def test_annotations_say_what_they_say() -> None:
    def search(  # noqa: D417, PLR0917
        text: Annotated[str, "What to look for"],
        kind: Annotated[Literal["a", "b"], Field(description="Which kind")],
        where: Annotated[Place, typing_extensions.Doc("The place")],
        options: Options,
        tags: list[str] = [],  # noqa: B006 (what is tried here)
        limit: int = Field(3, ge=1, le=9, description="How many"),
        when: Optional[dt.date] = None,  # noqa: UP045
    ) -> object:
        """Search.

        Args:
            text: not this
            tags: Tags
        """
        return (text, kind, where, options, tags, limit, when)

    found = properties(search)
    assert found["text"] == {"type": "string", "description": "What to look for"}
    assert found["kind"] == {"enum": ["a", "b"], "type": "string", "description": "Which kind"}
    assert found["where"] == {"$ref": "#/$defs/Place", "description": "The place"}
    assert found["tags"] == {"type": "array", "items": {"type": "string"}, "description": "Tags", "default": []}
    assert found["limit"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "How many"}
    assert Tool(search).parameters["required"] == ["text", "kind", "where", "options"]
    given = {"text": "x", "kind": "b", "where": {"city": "Rome"}, "options": {"deep": True}, "when": "2024-02-29"}
    assert Tool(search).call(given) == ("x", "b", Place("Rome"), {"deep": True}, [], 3, dt.date(2024, 2, 29))


def test_calls_check_and_convert() -> None:
    tool = Tool(weather)
    assert tool.call({"city": "Rome"}) == "Rome CELSIUS None"
    assert tool.call('{"city": "Rome", "unit": "F", "days": 2}') == "Rome FAHRENHEIT 2"
    for arguments, field, part in [
        ({}, "city", "the argument `city` of the tool `weather` does not fit: field required"),
        ({"city": "Rome", "unit": "K"}, "unit", "input should be 'C' or 'F'"),
        ({"city": "Rome", "when": 1}, "when", "extra inputs"),
        ({"city": ["Rome"]}, "city", "valid string"),
        ('{"city": ', None, "no JSON|do not fit"),
        ("[1]", None, "do not fit"),
        ({"city": {1, 2}}, None, "no JSON"),
    ]:
        with pytest.raises(ToolArgumentsError, match=part) as caught:
            tool.call(arguments)  # type: ignore[arg-type] # some are wrong on purpose
        assert (caught.value.tool, caught.value.field) == ("weather", field)
    with pytest.raises(ToolArgumentsError, match="must be a mapping or JSON text, got list"):
        tool.call([])  # type: ignore[arg-type] # wrong on purpose


def test_what_the_function_raises_is_raised_as_it_is() -> None:
    def broken(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        Tool(broken).call({"x": 0})

    def refuses(x: int) -> int:
        message = f"not {x}"
        raise ValueError(message)

    with pytest.raises(ValueError, match="not 1") as caught:
        Tool(refuses).call({"x": 1})
    assert type(caught.value) is ValueError


def test_empty_text_is_no_arguments() -> None:
    def now() -> str:
        return "noon"

    assert Tool(now).call("") == Tool(now).call(" {} ") == Tool(now).call({}) == "noon"
    assert Tool(now).parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_positional_and_keyword_only_parameters() -> None:
    def f(a: int, b: int = 2, /, c: int = 3, *, d: int = 4) -> tuple[int, ...]:
        return (a, b, c, d)

    assert Tool(f).call({"a": 1}) == (1, 2, 3, 4)
    assert Tool(f).call({"a": 1, "b": 5, "d": 6}) == (1, 5, 3, 6)

    def g(a: int = 1, b: int = 2, /) -> tuple[int, int]:
        return (a, b)

    assert Tool(g).call({"b": 7}) == (1, 7)


def test_methods_partials_and_callable_objects() -> None:
    class Counter:
        """Counts."""

        def add(self, n: int) -> int:
            """Add to it."""
            return n + 1

        @classmethod
        def make(cls, n: int) -> str:
            return f"{cls.__name__} {n}"

        @staticmethod
        def plain(n: int) -> int:
            return n

        def __call__(self, n: int) -> int:
            """Count."""
            return n

    assert (Tool(Counter().add).name, Tool(Counter().add).description, Tool(Counter().add).call({"n": 1})) == ("add", "Add to it.", 2)
    assert Tool(Counter.make).call({"n": 1}) == "Counter 1"
    assert Tool(Counter.plain).call({"n": 1}) == 1
    assert (Tool(Counter()).name, Tool(Counter()).description, Tool(Counter()).call({"n": 3})) == ("Counter", "Count.", 3)
    fixed = functools.partial(weather, unit=Unit.FAHRENHEIT)
    assert Tool(fixed).call({"city": "Rome"}) == "Rome FAHRENHEIT None"
    assert Tool(fixed).parameters["properties"]["unit"]["default"] == "F"

    @functools.wraps(weather)
    def wrapped(*args: Any, **kwargs: Any) -> str:
        return weather(*args, **kwargs).upper()

    assert Tool(wrapped).call({"city": "Rome"}) == "ROME CELSIUS NONE"


def test_names_of_parameters_may_be_any() -> None:
    def f(model_config: int, schema: int, _hidden: int, self: int, json: str) -> tuple[object, ...]:
        return (model_config, schema, _hidden, self, json)

    given = {"model_config": 1, "schema": 2, "_hidden": 3, "self": 4, "json": "5"}
    assert list(properties(f)) == list(given)
    assert Tool(f).call(given) == (1, 2, 3, 4, "5")


def test_classes_of_the_function_that_defines_a_tool_are_found() -> None:
    class Local(BaseModel):
        x: int

    def f(value: "Local") -> int:  # noqa: UP037
        return value.x + len(Local.__name__)

    assert Tool(f).call({"value": {"x": 1}}) == 6


@pytest.mark.parametrize("kind", [Query, Place, Node])
def test_classes_are_tools(kind: type) -> None:
    tool = Tool(kind)
    assert tool.name == kind.__name__
    assert tool.parameters["type"] == "object"
    assert tool.parameters["additionalProperties"] is False
    assert "title" not in tool.parameters


def test_a_call_of_a_class_makes_an_object() -> None:
    tool = Tool(Query, name="search")
    assert (tool.name, tool.description) == ("search", "Search for something.")
    assert tool.parameters["properties"] == {
        "text": {"type": "string", "description": "What to look for."},
        "limit": {"type": "integer", "minimum": 1, "default": 3, "description": "How many to give."},
    }
    assert tool.call({"text": "x"}) == Query(text="x", limit=3)
    assert Tool(Node).call({"name": "a", "children": [{"name": "b"}]}) == Node(name="a", children=[Node(name="b")])
    assert Tool(Place).call('{"city": "Rome"}') == Place("Rome")
    with pytest.raises(ToolArgumentsError) as caught:
        Tool(Node).call({"name": "a", "children": [{"name": 1}]})
    assert caught.value.field == "children.0.name"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": SCHEMA}},
        {"function": {"name": "weather", "description": "It.", "parameters": SCHEMA}},
        {"type": "function", "name": "weather", "description": "It.", "parameters": SCHEMA},
        {"name": "weather", "description": "It.", "parameters": SCHEMA},
        {"name": "weather", "description": "It.", "inputSchema": SCHEMA, "title": "Weather", "annotations": {"readOnlyHint": True}},
        {"name": "weather", "description": "It.", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
        SimpleNamespace(name="weather", description="It.", inputSchema=SCHEMA, title=None),
    ],
)
def test_definitions_are_read_in_every_form(definition: object) -> None:
    tool = Tool(definition)
    assert tool.as_dict() == {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": SCHEMA}}
    assert not tool.is_callable
    with pytest.raises(ToolError, match="the tool `weather` is a definition alone"):
        tool.call({"city": "Rome"})


def test_a_definition_with_a_function_can_be_called() -> None:
    tool = Tool({"name": "weather", "parameters": {**SCHEMA, "additionalProperties": False}}, function=lambda city: city.upper(), description="New.")
    assert (tool.call({"city": "Rome"}), tool.description) == ("ROME", "New.")
    with pytest.raises(ToolArgumentsError, match="have no `city`"):
        tool.call({})
    with pytest.raises(ToolArgumentsError, match="has no parameter `x`"):
        tool.call({"city": "Rome", "x": 1})
    with pytest.raises(ToolArgumentsError, match="must be an object"):
        tool.call("[]")


def test_a_definition_without_parameters_takes_none() -> None:
    assert Tool({"name": "now"}).parameters == {"type": "object", "properties": {}}
    assert Tool({"name": "now", "parameters": None, "strict": True}).as_dict()["function"]["strict"] is True
    assert Tool({"name": "now"}, name="later").name == "later"


CYCLE: dict[str, Any] = {"type": "object", "properties": {}}
CYCLE["properties"]["self"] = CYCLE
LOOP = {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
LOST = {"type": "object", "properties": {"x": {"$ref": "#/$defs/none"}}}


@pytest.mark.parametrize(
    ("source", "tool", "field", "part"),
    [
        ({"parameters": SCHEMA}, None, "name", "has no `name`"),
        ({"name": 1}, None, "name", "`name` must be a str, got int"),
        ({"name": "my tool"}, "my tool", "name", "the name `my tool` has characters"),
        ({"name": ""}, "", "name", "is empty"),
        ({"name": "a" * 129}, "a" * 129, "name", "longer than 128"),
        ({"name": "a\n"}, "a\n", "name", "has characters"),
        ({"name": 'a"'}, 'a"', "name", "has characters"),
        ({"name": "f", "description": 1}, "f", "description", "`description` must be a str"),
        ({"name": "f", "parameters": []}, "f", "parameters", "must be a JSON schema of an object, got list"),
        ({"name": "f", "parameters": {"type": "string"}}, "f", "parameters.type", "must describe an object"),
        ({"name": "f", "parameters": {"properties": []}}, "f", "parameters.properties", "must be a mapping"),
        ({"name": "f", "parameters": {"properties": {"x": 1}}}, "f", "parameters.properties.x", "must be a JSON schema"),
        ({"name": "f", "paramters": SCHEMA}, "f", "paramters", "has no `parameters` but has `paramters`"),
        ({"name": "f", "parameters": SCHEMA, "inputSchema": SCHEMA}, "f", "inputSchema", "has both"),
        ({"name": "f", "parameters": {"properties": {"x": {"default": float("nan")}}}}, "f", "parameters", "is no JSON"),
        ({"name": "f", "inputSchema": CYCLE}, "f", "inputSchema.properties.self", "contains itself"),
        ({"name": "f", "parameters": LOOP}, "f", "parameters.properties.x", "refers to itself"),
        ({"name": "f", "parameters": LOST}, "f", "parameters.properties.x", "which the schema does not have"),
        ({"type": "web_search", "function": {"name": "f"}}, None, "type", "`type` must be `function`"),
        ({"function": "f"}, None, "function", "`function` must be a mapping"),
    ],
)
def test_definitions_that_break_a_rule_name_tool_and_field(source: object, tool: str | None, field: str, part: str) -> None:
    with pytest.raises(ToolError, match=part) as caught:
        tools_from([source])
    assert (caught.value.tool, caught.value.field) == (tool, field)
    assert str(caught.value).startswith("`tools[0]`")


def no_annotation(a: int, b) -> int:  # type: ignore[no-untyped-def] # what is tried here  # noqa: ANN001
    return a


def stars(*values: int) -> int:
    return len(values)


def keywords(**values: int) -> int:
    return len(values)


def unknown(x: Nowhere) -> int:  # type: ignore[name-defined] # what is tried here  # noqa: F821
    return 1


def thread(x: int, lock: threading.Thread) -> int:
    return x


def nested(x: type[Any]) -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "field", "part"),
    [
        (no_annotation, "b", "tool `no_annotation`: the parameter `b` has no annotation; write its type, such as `b: str`"),
        (stars, "values", r"tool `stars`: the parameter `\*values` has no schema"),
        (keywords, "values", r"tool `keywords`: the parameter `\*\*values` has no schema"),
        (unknown, "x", "tool `unknown`: the annotation `Nowhere` of the parameter `x` cannot be read"),
        (thread, "lock", "tool `thread`: the parameter `lock` has no JSON schema"),
        (nested, "x", "tool `nested`: the parameter `x` has no JSON schema"),
    ],
)
def test_functions_that_cannot_be_described_name_tool_and_parameter(function: object, field: str, part: str) -> None:
    with pytest.raises(ToolError, match=part) as caught:
        Tool(function)
    assert (caught.value.tool, caught.value.field) == (function.__name__, field)  # type: ignore[attr-defined] # functions have one


def test_lambdas_and_strange_names_ask_for_a_name() -> None:
    with pytest.raises(ToolError, match=r"a lambda has no name of its own.*Tool\(function, name="):
        Tool(lambda: 1)
    assert Tool(lambda: 1, name="one").call({}) == 1

    def größe(x: int) -> int:  # noqa: PLC2401
        return x

    with pytest.raises(ToolError, match="the function `größe`: the name `größe` has characters"):
        Tool(größe)


def test_a_class_with_a_field_that_has_no_schema_names_it() -> None:
    @dataclass
    class Holder:
        x: int
        lock: threading.Thread

    with pytest.raises(ToolError, match=r"tool `Holder`.*`Holder\.lock`"):
        Tool(Holder)
    with pytest.raises(ToolError, match="`Unit` is no object"):
        Tool(Unit)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolError, match=r"`tools\[1\]` has the name `weather`, and so has `tools\[0\]`") as caught:
        tools_from([weather, {"name": "weather"}])
    assert caught.value.tool == "weather"
    assert [tool.name for tool in tools_from([weather, Tool(weather, name="other"), Query])] == ["weather", "other", "Query"]
    assert tools_from(None) == tools_from([]) == ()


@pytest.mark.parametrize("value", [weather, {"name": "f"}, "weather", 1, b"x"])
def test_tools_must_be_a_sequence(value: Any) -> None:
    with pytest.raises(TypeError, match="`tools` must be a sequence"):
        tools_from(value)


@pytest.mark.parametrize("value", ["weather", 1, None, [weather]])
def test_what_is_no_tool_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"`tools\[0\]`: a tool must be a function"):
        tools_from([value])
    with pytest.raises(TypeError, match="`function` is for definitions"):
        Tool(weather, function=weather)


def test_schemas_given_and_got_are_copies() -> None:
    schema: dict[str, Any] = json.loads(json.dumps(SCHEMA))
    tool = Tool({"name": "f", "parameters": schema})
    schema["properties"]["x"] = {}
    tool.parameters["properties"]["y"] = {}
    tool.as_dict()["function"]["parameters"]["properties"]["z"] = {}
    assert tool.parameters == SCHEMA


CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("CONTEXT", default="none")


async def test_async_calls_run_both_kinds() -> None:
    async def slow(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    def where(x: int) -> tuple[int, bool, str]:
        return (x, threading.current_thread() is threading.main_thread(), CONTEXT.get())

    CONTEXT.set("here")
    assert Tool(slow).is_async
    assert await Tool(slow).acall({"x": 1}) == 2
    assert await Tool(where).acall({"x": 1}) == (1, False, "here")
    assert await Tool(lambda: slow(4), name="indirect").acall({}) == 5
    for tool in (Tool(slow), Tool(lambda: slow(1), name="indirect")):
        with pytest.raises(RuntimeError, match=r"use `await tool\.acall"):
            tool.call({"x": 1} if tool.is_async else {})


def test_async_functions_run_without_a_loop() -> None:
    async def slow(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert Tool(slow).call({"x": 1}) == 2
    assert Tool(lambda: slow(2), name="indirect").call({}) == 3


def test_errors_are_pickled_with_their_facts() -> None:
    error = pickle.loads(pickle.dumps(ToolArgumentsError("text", tool="f", field="x")))  # noqa: S301
    assert (type(error), str(error), error.tool, error.field) == (ToolArgumentsError, "text", "f", "x")


def test_fields_of_dataclasses_keep_their_defaults() -> None:
    @dataclass
    class Made:
        items: list[int] = dataclasses.field(default_factory=list)

    assert Tool(Made).call({}) == Made([])
