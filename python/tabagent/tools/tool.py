"""A tool: its name, its schema, and the call."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tabagent._arguments import as_callback, is_iterable, type_name
from tabagent.errors import ToolArgumentsError, ToolError
from tabagent.event_loop import running_loop
from tabagent.tools.definition import checked_name, description_of, read_definition

__all__ = ["Tool", "tools_from"]

Reader = Callable[[str], Any]
"""Reads arguments from JSON text."""


class Tool:
    """Something that a model may call: a name, a description, a JSON schema of the arguments, and a function if there is one.

        def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
            \"\"\"The weather in a city.\"\"\"

        tool = Tool(weather)
        tool.call({"city": "Rome"})

    `source` is a Python function (its schema comes from signature, annotations and docstring), a class that pydantic can describe (the call makes an
    object of it), or a definition as OpenAI, MCP or Anthropic write it, to which `function` adds what it calls.
    """

    __slots__ = ("_definition", "_function", "_invoke", "_read")

    def __init__(
        self, source: object, *, name: str | None = None, description: str | None = None, function: Callable[..., Any] | None = None
    ) -> None:
        """Describe a tool.

        Args:
            source: what the tool is made of.
            name: a name in place of the source's own.
            description: a description in place of the source's own.
            function: what a definition calls, with the arguments by name.

        Raises:
            ToolError: it cannot be described; the text names the tool and the field or parameter.
            TypeError: `source` is nothing that a tool can be made of.
        """
        self._read: Reader = json.loads
        self._invoke: Callable[[Any], Any] | None = None
        self._function: Callable[..., Any] | None = None
        label = "the tool" if name is None else f"tool `{name}`"
        definition = read_definition(source if name is None else _renamed(source, name), label)
        if definition is not None:
            self._use_definition(as_callback(function, "function"))
        elif function is not None:
            message = "`function` is for definitions; this source has a function of its own"
            raise TypeError(message)
        elif isinstance(source, type):
            definition = self._use_type(source, checked_name(name if name is not None else source.__name__, label))
        elif callable(source):
            definition = self._use_function(source, checked_name(name if name is not None else _name_of(source), _label_of(source)))
        else:
            message = (
                f"a tool must be a function, a class that pydantic can describe, or a definition as OpenAI or MCP write it, got {type_name(source)}"
            )
            raise TypeError(message)
        if description is not None:
            definition["description"] = description_of(description, definition["name"])
        self._definition = definition

    @property
    def name(self) -> str:
        """What the model calls it by."""
        name: str = self._definition["name"]
        return name

    @property
    def description(self) -> str:
        """What it does, for the model; empty if nothing says so."""
        description: str = self._definition["description"]
        return description

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of its arguments, an object schema. A copy."""
        parameters: dict[str, Any] = json.loads(json.dumps(self._definition["parameters"]))
        return parameters

    @property
    def is_callable(self) -> bool:
        """Whether there is something to call, or only a definition."""
        return self._invoke is not None

    @property
    def is_async(self) -> bool:
        """Whether its function is a coroutine function."""
        return _is_async(self._function)

    def as_dict(self) -> dict[str, Any]:
        """The tool as OpenAI has it: `{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}`. A copy."""
        return {"type": "function", "function": json.loads(json.dumps(self._definition))}

    def call(self, arguments: Mapping[str, Any] | str) -> Any:
        """Call it with arguments as parsed or as JSON text; they are checked, and become what the annotations say. Blocks.

        An async function runs in an event loop of its own.

        Raises:
            ToolArgumentsError: the arguments do not fit; the function was not called.
            ToolError: there is nothing to call.
            RuntimeError: an async function was called where an event loop runs; use `acall` there.
        """
        values = self.read(arguments)
        invoke = self._invocation()
        if not self.is_async:
            result = invoke(values)
            if not inspect.isawaitable(result):
                return result
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_awaited(invoke(values) if self.is_async else result))
        if not self.is_async and inspect.iscoroutine(result):
            result.close()
        message = f"the tool `{self.name}` is async and an event loop runs here; use `await tool.acall(...)`"
        raise RuntimeError(message)

    async def acall(self, arguments: Mapping[str, Any] | str) -> Any:
        """As `call`, for an event loop (asyncio or trio). A function that is not async runs in a thread."""
        values = self.read(arguments)
        invoke = self._invocation()
        if self.is_async:
            return await invoke(values)
        run = functools.partial(contextvars.copy_context().run, invoke, values)
        result = await running_loop().in_thread(run)
        return await result if inspect.isawaitable(result) else result

    def read(self, arguments: Mapping[str, Any] | str) -> Any:
        """The arguments in their types, without a call: by name, or an object of the class that the tool was made of.

        Raises:
            ToolArgumentsError: they do not fit; `tool` and `field` say which.
        """
        text = arguments.strip() or "{}" if isinstance(arguments, str) else self._text_of(arguments)
        try:
            values = self._read(text)
        except ToolArgumentsError:
            raise
        except ValueError as error:
            raise self._misfit(error) from error
        except RecursionError as error:
            message = f"the arguments of the tool `{self.name}` nest too deeply"
            raise ToolArgumentsError(message, tool=self.name) from error
        return values

    def __repr__(self) -> str:
        return f"<Tool {self.name}({', '.join(self._definition['parameters'].get('properties', {}))})>"

    # Making

    def _use_definition(self, function: Callable[..., Any] | None) -> None:
        self._function = function
        self._read = self._read_plain
        if function is not None:
            self._invoke = lambda values: function(**values)

    def _use_type(self, kind: type, name: str) -> dict[str, Any]:
        _need_pydantic(name)
        from tabagent.tools.object_type import ObjectType  # noqa: PLC0415 (needs pydantic)

        described = ObjectType(kind, name)
        self._read = described.read
        self._invoke = _itself
        return {"name": name, "description": described.description, "parameters": described.schema}

    def _use_function(self, function: Callable[..., Any], name: str) -> dict[str, Any]:
        _need_pydantic(name)
        from tabagent.tools.signature import Signature  # noqa: PLC0415 (needs pydantic)

        signature = Signature(function, name)
        self._function = function
        self._read = signature.read

        def invoke(values: Mapping[str, Any]) -> Any:
            bound = signature.bound(values)
            return function(*bound.args, **bound.kwargs)

        self._invoke = invoke
        return {"name": name, "description": signature.description, "parameters": signature.schema}

    # Calling

    def _invocation(self) -> Callable[[Any], Any]:
        if self._invoke is None:
            message = f"the tool `{self.name}` is a definition alone; give `Tool(definition, function=...)` what it calls"
            raise ToolError(message, tool=self.name)
        return self._invoke

    def _text_of(self, arguments: object) -> str:
        if not isinstance(arguments, Mapping):
            message = f"the arguments of the tool `{self.name}` must be a mapping or JSON text, got {type_name(arguments)}"
            raise ToolArgumentsError(message, tool=self.name)
        try:
            return json.dumps(dict(arguments), allow_nan=False, default=dict)
        except (TypeError, ValueError) as error:
            message = f"the arguments of the tool `{self.name}` are no JSON: {error}"
            raise ToolArgumentsError(message, tool=self.name) from error

    def _read_plain(self, text: str) -> dict[str, Any]:
        """Arguments of a definition: an object that has what the schema requires, and nothing that it excludes."""
        values = json.loads(text)
        parameters = self._definition["parameters"]
        if not isinstance(values, dict):
            message = f"the arguments of the tool `{self.name}` must be an object, got {type_name(values)}"
            raise ToolArgumentsError(message, tool=self.name)
        missing = next((key for key in parameters.get("required", ()) if key not in values), None)
        if missing is not None:
            message = f"the arguments of the tool `{self.name}` have no `{missing}`"
            raise ToolArgumentsError(message, tool=self.name, field=missing)
        known = parameters.get("properties", {})
        if parameters.get("additionalProperties") is False and "patternProperties" not in parameters:
            strange = next((key for key in values if key not in known), None)
            if strange is not None:
                message = f"the tool `{self.name}` has no parameter `{strange}`"
                raise ToolArgumentsError(message, tool=self.name, field=strange)
        return values

    def _misfit(self, error: ValueError) -> ToolArgumentsError:
        """An error of pydantic or of the JSON reader, with the argument that it is about."""
        details = error.errors() if hasattr(error, "errors") else []
        if not details:
            return ToolArgumentsError(f"the arguments of the tool `{self.name}` are no JSON: {error}", tool=self.name)
        field = ".".join(str(step) for step in details[0]["loc"])
        what = f"the argument `{field}` of the tool `{self.name}` does not fit" if field else f"the arguments of the tool `{self.name}` do not fit"
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        return ToolArgumentsError(f"{what}: {_lowered(details[0]['msg'])}{more}", tool=self.name, field=field or None)


def tools_from(values: Iterable[object] | None) -> tuple[Tool, ...]:
    """Tools of everything that `tools=` takes: `Tool` objects, functions, classes and definitions, each with a name of its own.

    Raises:
        ToolError: one cannot be described, or two have the same name.
        TypeError: `values` is no sequence, or one of it is nothing that a tool can be made of.
    """
    if values is None:
        return ()
    if isinstance(values, (str, bytes, Mapping)) or callable(values) or not is_iterable(values):
        message = f"`tools` must be a sequence of functions, classes or definitions, got {type_name(values)}"
        raise TypeError(f"{message}; put it into a list" if callable(values) or isinstance(values, Mapping) else message)
    tools: list[Tool] = []
    places: dict[str, int] = {}
    for index, value in enumerate(values):
        tool = _tool_at(index, value)
        if tool.name in places:
            message = f"`tools[{index}]` has the name `{tool.name}`, and so has `tools[{places[tool.name]}]`; give one of them another name"
            raise ToolError(message, tool=tool.name, field="name")
        places[tool.name] = index
        tools.append(tool)
    return tuple(tools)


def _tool_at(index: int, value: object) -> Tool:
    if isinstance(value, Tool):
        return value
    try:
        return Tool(value)
    except ToolError as error:
        message = f"`tools[{index}]`: {error}"
        raise ToolError(message, tool=error.tool, field=error.field) from error
    except TypeError as error:
        message = f"`tools[{index}]`: {error}"
        raise TypeError(message) from error


def _renamed(source: object, name: str) -> object:
    """A definition under another name; anything else as it is."""
    if not isinstance(source, Mapping):
        return source
    inner = source.get("function")
    return {**source, "function": {**inner, "name": name}} if isinstance(inner, Mapping) else {**source, "name": name}


def _need_pydantic(name: str) -> None:
    try:
        import pydantic  # noqa: F401, PLC0415 (optional)
    except ImportError as error:
        message = f"tool `{name}` needs pydantic to become a schema; install it, or give the tool as a definition"
        raise ToolError(message, tool=name) from error


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _label_of(function: Any) -> str:
    return "a lambda has no name of its own" if _name_of(function) == "<lambda>" else f"the function `{_name_of(function):.80}`"


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 (its method)


def _itself(value: Any) -> Any:
    return value


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


async def _awaited(result: Any) -> Any:
    return await result
