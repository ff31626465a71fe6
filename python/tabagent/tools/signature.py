"""The parameters of a Python function as a JSON schema, and arguments read into their types."""

from __future__ import annotations

import functools
import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import typing_extensions
from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import to_jsonable_python

from tabagent._type_schemas import TypeSchema, with_tags
from tabagent._typed_dicts import readable_by_pydantic
from tabagent.errors import ToolError
from tabagent.grammar import closed
from tabagent.tools.docstring import read_docstring

__all__ = ["Signature", "first_line", "schema_of_type"]

NO_TYPE: Final = inspect.Parameter.empty


class ToolSchema(TypeSchema):
    """A schema without the titles that pydantic makes of names: they cost tokens and say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (the base class has it)
        """None is."""
        return False


def schema_of_type(adapter: Any) -> dict[str, Any]:
    """The schema of what a pydantic adapter reads, for a tool."""
    schema: dict[str, Any] = closed(with_tags(adapter.json_schema(schema_generator=ToolSchema)))
    parts = {schema.get("title"): schema, **schema.get("$defs", {})}
    for name, part in parts.items():
        if isinstance(part, dict) and part.get("title") == name:
            part.pop("title", None)
    return schema


class Signature:
    """What a function takes: its schema, and how arguments are read and passed."""

    def __init__(self, function: Callable[..., Any], tool: str) -> None:
        """Read it.

        Raises:
            ToolError: a parameter has no type, or one that JSON cannot have; the text names the tool and the parameter.
        """
        self._tool = tool
        self._function = function
        self._parameters = self._read_parameters()
        description, self._descriptions = read_docstring(_docstring(function))
        self.description = description
        self._adapter = self._make_adapter(self._types())
        self.schema = self._make_schema()

    def read(self, text: str) -> dict[str, Any]:
        """Arguments by name, in their types, from JSON text.

        Raises:
            pydantic.ValidationError: they do not fit.
        """
        values: dict[str, Any] = self._adapter.validate_json(text)
        return values

    def bound(self, values: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments as the function takes them, by position or by name."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            if name not in values:
                if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY or not _positional_follows(self._parameters, name, values):
                    continue
                positional.append(_default(parameter))
            elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(values[name])
            else:
                named[name] = values[name]
        return inspect.signature(self._function).bind(*positional, **named)

    def _read_parameters(self) -> dict[str, inspect.Parameter]:
        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError) as error:
            message = f"tool `{self._tool}`: its signature cannot be read ({error}); wrap it in a function with annotations"
            raise ToolError(message, tool=self._tool) from error
        for name, parameter in signature.parameters.items():
            if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
                stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
                message = f"tool `{self._tool}`: the parameter `{stars}{name}` has no schema; name each parameter, or take a list or a dict"
                raise ToolError(message, tool=self._tool, field=name)
        return dict(signature.parameters)

    def _types(self) -> dict[str, Any]:
        """The annotation of each parameter, with what its default and the docstring add."""
        hints = self._hints()
        made: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            if parameter.annotation is NO_TYPE and name not in hints:
                message = f"tool `{self._tool}`: the parameter `{name}` has no annotation; write its type, such as `{name}: str`"
                raise ToolError(message, tool=self._tool, field=name)
            made[name] = self._described(name, hints.get(name, parameter.annotation), parameter)
        return made

    def _hints(self) -> dict[str, Any]:
        target = self._function
        while isinstance(target, functools.partial):
            target = target.func
        if inspect.isclass(target):
            target = target.__init__
        elif not isinstance(target, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)) and not hasattr(target, "__wrapped__"):
            target = type(target).__call__
        inner: Any = inspect.unwrap(target)
        inner = getattr(inner, "__func__", inner)
        # Classes that a function is defined beside are in its closure, if it uses them.
        cells = {} if getattr(inner, "__closure__", None) is None else inspect.getclosurevars(inner).nonlocals
        annotations = dict(getattr(inner, "__annotations__", {}))
        found: dict[str, Any] = {}
        for name in self._parameters:
            if name not in annotations:
                continue
            holder = types.SimpleNamespace(__annotations__={name: annotations[name]})
            try:
                found |= typing_extensions.get_type_hints(holder, globalns=getattr(inner, "__globals__", {}), localns=cells, include_extras=True)
            except Exception as error:
                message = f"tool `{self._tool}`: the annotation `{annotations[name]}` of the parameter `{name}` cannot be read: {error}"
                raise ToolError(message, tool=self._tool, field=name) from error
        return found

    def _described(self, name: str, kind: Any, parameter: inspect.Parameter) -> Any:
        """The type with the description in its annotation, else in the docstring."""
        extras: list[Any] = []
        said: str | None = None
        if typing_extensions.get_origin(kind) is typing_extensions.Annotated:
            first, *rest = typing_extensions.get_args(kind)
            texts = [extra for extra in rest if isinstance(extra, str)]
            docs = [extra.documentation for extra in rest if isinstance(extra, typing_extensions.Doc)]
            fields = [extra.description for extra in rest if isinstance(extra, FieldInfo) and extra.description]
            said = next(iter([*fields, *docs, *texts]), None)
            extras = [extra for extra in rest if not isinstance(extra, (str, typing_extensions.Doc))]
            kind = first
        if isinstance(parameter.default, FieldInfo):
            said = parameter.default.description or said
            extras.append(parameter.default)
        said = said or self._descriptions.get(name)
        if said:
            extras.append(FieldInfo(description=said))
        kind = readable_by_pydantic(kind)
        for extra in extras:
            kind = typing_extensions.Annotated[kind, extra]
        return kind

    def _make_adapter(self, kinds: Mapping[str, Any]) -> TypeAdapter[Any]:
        marks = {True: typing_extensions.Required, False: typing_extensions.NotRequired}
        items = {name: marks[_is_required(self._parameters[name])][kind] for name, kind in kinds.items()}
        make: Any = typing_extensions.TypedDict
        arguments = make(self._tool, items)
        arguments.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        try:
            return TypeAdapter(arguments)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
            for name, kind in kinds.items():
                self._check_parameter(name, kind)
            message = f"tool `{self._tool}`: {first_line(error)}"
            raise ToolError(message, tool=self._tool) from error

    def _check_parameter(self, name: str, kind: Any) -> None:
        """Raise if a parameter has no schema."""
        try:
            TypeAdapter(kind).json_schema(schema_generator=ToolSchema)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
            message = f"tool `{self._tool}`: the parameter `{name}` has no JSON schema: {first_line(error)}; give it a type that JSON has"
            raise ToolError(message, tool=self._tool, field=name) from error

    def _make_schema(self) -> dict[str, Any]:
        try:
            schema = schema_of_type(self._adapter)
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            for name, kind in self._types().items():
                self._check_parameter(name, kind)
            message = f"tool `{self._tool}` has no JSON schema: {first_line(error)}"
            raise ToolError(message, tool=self._tool) from error
        properties: dict[str, JsonSchemaValue] = schema.setdefault("properties", {})
        for name, parameter in self._parameters.items():
            default = _default(parameter)
            if default is not NO_TYPE and name in properties and "default" not in properties[name]:
                try:
                    properties[name]["default"] = json.loads(json.dumps(to_jsonable_python(default), allow_nan=False))
                except Exception:  # noqa: BLE001, S112 (a default that JSON cannot write is the function's own matter)
                    continue
        return schema


def _positional_follows(parameters: Mapping[str, inspect.Parameter], name: str, values: Mapping[str, Any]) -> bool:
    """Whether a positional-only parameter after `name` has a value."""
    names = list(parameters)
    after = names[names.index(name) + 1 :]
    return any(parameters[other].kind is inspect.Parameter.POSITIONAL_ONLY and other in values for other in after)


def _default(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if isinstance(default, FieldInfo):
        return NO_TYPE if default.is_required() else default.get_default(call_default_factory=True, validated_data={})
    return default


def _is_required(parameter: inspect.Parameter) -> bool:
    return _default(parameter) is NO_TYPE


def _docstring(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return inspect.getdoc(function)
    return inspect.getdoc(type(function).__call__) or inspect.getdoc(type(function))


def first_line(error: Exception) -> str:
    """What an error says first."""
    return str(error).split("\n", 1)[0].rstrip(".")
