"""Definitions of tools that are data: as OpenAI has them (with and without the `function` wrapper), as MCP and as Anthropic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from tabagent._arguments import type_name
from tabagent.errors import ToolError

__all__ = ["checked_name", "checked_parameters", "description_of", "read_definition"]

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
"""What templates and grammars can write as a name: OpenAI's names, and the longer ones with dots and slashes that MCP servers have."""
PARAMETERS: Final = ("parameters", "inputSchema", "input_schema")
"""Where a definition has the schema of its arguments: OpenAI's, MCP's and Anthropic's key."""
OTHER_KEYS: Final = frozenset({
    "_meta", "allowed_callers", "annotations", "cache_control", "defer_loading", "description", "eager_input_streaming", "execution", "icons",
    "input_examples", "meta", "name", "outputSchema", "output_schema", "response", "return", "returns", "strict", "title", "type",
})  # fmt: skip
"""Keys beside those: a definition without a schema but with another key has misspelled it."""


def read_definition(value: Any, label: str) -> dict[str, Any] | None:
    """The function part of a definition in OpenAI's form, with the keys that the definition has; None if the value is none.

    Raises:
        ToolError: it is a definition that breaks a rule; `label` says where it was given.
    """
    mapping = _mapping_of(value)
    if mapping is None:
        return None
    inner = mapping.get("function")
    if inner is not None:
        if not isinstance(inner, Mapping):
            message = f"{label}: `function` must be a mapping, got {type_name(inner)}"
            raise ToolError(message, field="function")
        kind = mapping.get("type", "function")
        if kind != "function":
            message = f"{label}: `type` must be `function`, got `{kind}`"
            raise ToolError(message, field="type")
        mapping = inner
    name = checked_name(mapping.get("name"), label)
    description = description_of(mapping.get("description"), name)
    given = [key for key in PARAMETERS if mapping.get(key) is not None]
    if len(given) > 1:
        message = f"tool `{name}` has both `{given[0]}` and `{given[1]}`; give one of them"
        raise ToolError(message, tool=name, field=given[1])
    strange = sorted(str(key) for key in mapping if key not in OTHER_KEYS and key not in PARAMETERS)
    if not given and strange:
        message = f"tool `{name}` has no `parameters` but has `{strange[0]}`; for a tool without arguments leave `{strange[0]}` out"
        raise ToolError(message, tool=name, field=strange[0])
    definition: dict[str, Any] = {"name": name, "description": description}
    definition["parameters"] = checked_parameters(mapping[given[0]] if given else {}, name, given[0] if given else "parameters")
    definition.update({str(key): item for key, item in mapping.items() if key in {"strict", "return", "returns", "response"} or key in strange})
    return definition


def checked_name(name: object, label: str) -> str:
    """The name of a tool.

    Raises:
        ToolError: there is none, or templates and grammars could not write it.
    """
    if name is None:
        message = f"{label} has no `name`"
        raise ToolError(message, field="name")
    if not isinstance(name, str):
        message = f"{label}: `name` must be a str, got {type_name(name)}"
        raise ToolError(message, field="name")
    if not NAME.fullmatch(name):
        message = f"{label}: the name `{name:.80}` has characters other than letters, digits and `_.:/-`, begins with one of these, or is empty or"
        message += " longer than 128; give another one, for functions with `Tool(function, name=...)`"
        raise ToolError(message, tool=name, field="name")
    return name


def description_of(value: object, name: str) -> str:
    """The description of a tool; empty for none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        message = f"tool `{name}`: `description` must be a str, got {type_name(value)}"
        raise ToolError(message, tool=name, field="description")
    return value


def checked_parameters(schema: object, name: str, field: str) -> dict[str, Any]:
    """A copy of the schema of a tool's arguments, an object schema that is JSON and whose references lead somewhere.

    Raises:
        ToolError: it is none; the text names the tool and the place in the schema.
    """
    if not isinstance(schema, Mapping):
        message = f"tool `{name}`: `{field}` must be a JSON schema of an object, got {type_name(schema)}"
        raise ToolError(message, tool=name, field=field)
    _refuse_cycles(schema, f"{field}", (), name)
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False, default=dict))
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        message = f"tool `{name}`: `{field}` is no JSON: {reason}"
        raise ToolError(message, tool=name, field=field) from error
    kind = plain.get("type", "object")
    kinds = kind if isinstance(kind, list) else [kind]
    if "object" not in kinds:
        message = f"tool `{name}`: `{field}` must describe an object, but its `type` is `{kind}`; put the value into a property"
        raise ToolError(message, tool=name, field=f"{field}.type")
    properties = plain.get("properties", {})
    if not isinstance(properties, dict):
        message = f"tool `{name}`: `{field}.properties` must be a mapping, got {type_name(properties)}"
        raise ToolError(message, tool=name, field=f"{field}.properties")
    for key, part in properties.items():
        if not isinstance(part, (dict, bool)):
            message = f"tool `{name}`: `{field}.properties.{key}` must be a JSON schema, got {type_name(part)}"
            raise ToolError(message, tool=name, field=f"{field}.properties.{key}")
    _check_references(plain, name, field)
    return {"type": "object", "properties": {}} | plain | {"type": "object"}


def _mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """A definition as a mapping: one already, or an object with the attributes of MCP's `Tool`."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type) or not hasattr(value, "name"):
        return None
    schema = next((getattr(value, key) for key in ("inputSchema", "input_schema") if hasattr(value, key)), None)
    if schema is None:
        return None
    return {"name": value.name, "description": getattr(value, "description", None), "inputSchema": schema}


def _refuse_cycles(part: object, path: str, inside: tuple[int, ...], name: str) -> None:
    """Raise if a mapping or list contains itself."""
    if not isinstance(part, (Mapping, list, tuple)):
        return
    if id(part) in inside:
        message = f"tool `{name}`: `{path}` contains itself; put the schema under `$defs` and refer to it with `$ref`"
        raise ToolError(message, tool=name, field=path)
    if len(inside) > 200:
        message = f"tool `{name}`: `{path[:200]}…` nests too deeply; put the inner schemas under `$defs` and refer to them with `$ref`"
        raise ToolError(message, tool=name, field=path[:200])
    items: Any = part.items() if isinstance(part, Mapping) else enumerate(part)
    for key, item in items:
        _refuse_cycles(item, f"{path}.{key}", (*inside, id(part)), name)


def _check_references(schema: dict[str, Any], name: str, field: str) -> None:
    """Raise if a local reference leads nowhere, or from reference to reference back to itself."""
    anchors = {part[key] for part, _ in _parts(schema, field) for key in ("$anchor", "$dynamicAnchor") if isinstance(part.get(key), str)}
    has_ids = any("$id" in part for part, _ in _parts(schema, field))
    for part, path in _parts(schema, field):
        seen: list[str] = []
        target: Any = part
        while isinstance(target, dict) and isinstance(reference := target.get("$ref"), str):
            if reference in seen:
                message = f"tool `{name}`: `{path}` refers to itself (`{'` → `'.join([*seen, reference])}`) and never to a schema"
                raise ToolError(message, tool=name, field=path)
            if not reference.startswith("#") or has_ids or reference[1:] in anchors:
                break
            seen.append(reference)
            try:
                target = _pointed_at(schema, reference)
            except (KeyError, IndexError, ValueError, TypeError):
                message = f"tool `{name}`: `{path}` refers to `{reference}`, which the schema does not have"
                raise ToolError(message, tool=name, field=path) from None


def _parts(part: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a schema, with their places; values that are no schemas (`enum`, `const`, `default`, examples) are not looked into."""
    if isinstance(part, dict):
        yield part, path
        for key, item in part.items():
            if key not in {"enum", "const", "default", "examples", "example"} or path.endswith((".properties", ".$defs", ".definitions")):
                yield from _parts(item, f"{path}.{key}")
    elif isinstance(part, list):
        for index, item in enumerate(part):
            yield from _parts(item, f"{path}.{index}")


def _pointed_at(schema: Any, reference: str) -> Any:
    target = schema
    for step in reference[1:].split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        target = target[int(key)] if isinstance(target, list) else target[key]
    if reference[1:] and not reference.startswith("#/"):
        raise KeyError(reference)
    return target
