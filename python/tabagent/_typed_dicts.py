"""`typing.TypedDict` made readable for pydantic, which before Python 3.12 takes only the one of typing_extensions."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, Union

import typing_extensions

__all__ = ["readable_by_pydantic"]


def readable_by_pydantic(kind: Any) -> Any:
    """The type with each `typing.TypedDict` in it replaced by an equal one of typing_extensions.

    Types are looked into as far as their arguments and the fields of such dictionaries. One that contains itself stays as it is.
    """
    return kind if sys.version_info >= (3, 12) else _replaced(kind, ())


def _replaced(kind: Any, inside: tuple[Any, ...]) -> Any:
    if kind in inside:
        return kind
    if isinstance(kind, type) and typing.is_typeddict(kind):
        return _dictionary(kind, (*inside, kind))
    origin, arguments = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
    if not arguments or origin is typing_extensions.Literal:
        return kind
    if origin is typing_extensions.Annotated:
        whole: Any = (_replaced(arguments[0], inside), *arguments[1:])
        return typing_extensions.Annotated[whole]
    unions: tuple[Any, Any] = (Union, types.UnionType)
    found = tuple(argument if isinstance(argument, list) else _replaced(argument, inside) for argument in arguments)
    if found == arguments:
        return kind
    return Union[found] if origin in unions else origin[found]  # noqa: UP007 (made of what was found)


def _dictionary(kind: Any, inside: tuple[Any, ...]) -> Any:
    fields = typing_extensions.get_type_hints(kind, include_extras=True)
    marks: tuple[Any, Any] = (typing_extensions.NotRequired, typing_extensions.Required)
    made: dict[str, Any] = {}
    for name, field in fields.items():
        # The dictionary knows which of its keys are required: the marks in its fields' types say the same, or were taken off.
        bare = typing_extensions.get_args(field)[0] if typing_extensions.get_origin(field) in marks else field
        made[name] = marks[name in kind.__required_keys__][_replaced(bare, inside)]
    make: Any = typing_extensions.TypedDict
    new = make(kind.__name__, made)
    new.__doc__, new.__module__ = kind.__doc__, kind.__module__
    return new
