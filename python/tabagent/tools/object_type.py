"""Classes that pydantic can describe, as the arguments of a tool."""

from __future__ import annotations

from typing import Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter

from tabagent._type_schemas import culprit
from tabagent._typed_dicts import readable_by_pydantic
from tabagent.errors import ToolError
from tabagent.tools.docstring import read_docstring
from tabagent.tools.signature import first_line, schema_of_type

__all__ = ["ObjectType"]


class ObjectType:
    """A class whose objects the arguments become: a pydantic model, a dataclass or a TypedDict."""

    def __init__(self, kind: type, tool: str) -> None:
        """Describe it.

        Raises:
            ToolError: pydantic cannot, or it is no object.
        """
        try:
            self._adapter = TypeAdapter(readable_by_pydantic(kind))
            schema = schema_of_type(self._adapter)
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError, NameError) as error:
            field = culprit(kind)
            where = "" if field is None else f"the field `{field}`: "
            message = f"tool `{tool}`: {where}pydantic cannot describe it: {first_line(error)}"
            raise ToolError(message, tool=tool, field=field) from error
        # A class that contains itself is a reference to its own definition.
        reference = schema.get("$ref", "")
        if reference.startswith("#/$defs/"):
            schema = {**schema["$defs"][reference.removeprefix("#/$defs/")], "$defs": schema["$defs"]}
        if schema.get("type") != "object":
            message = f"tool `{tool}`: `{kind.__name__}` is no object with fields; take a pydantic model, a dataclass or a TypedDict"
            raise ToolError(message, tool=tool)
        self.description, fields = read_docstring(schema.pop("description", None))
        for name, part in schema.setdefault("properties", {}).items():
            if name in fields and isinstance(part, dict):
                part.setdefault("description", fields[name])
        self.schema: dict[str, Any] = schema

    def read(self, text: str) -> Any:
        """An object of the class, from JSON text.

        Raises:
            pydantic.ValidationError: it does not fit.
        """
        return self._adapter.validate_json(text)
