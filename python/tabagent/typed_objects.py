"""Objects of a class while they are written: fields that have come, validated once they are complete."""

from __future__ import annotations

import json
import types
from typing import Any, Union

import typing_extensions
from pydantic import BaseModel, TypeAdapter, ValidationError

from tabagent import _native
from tabagent._typed_dicts import readable_by_pydantic
from tabagent.objects import NOTHING, Events, last_events, number_of

__all__ = ["TypedSnapshots"]


class TypedSnapshots:
    """The object so far after each piece."""

    __slots__ = ("_done", "_reader", "_root")

    def __init__(self, kind: Any) -> None:
        self._reader = _native.JsonReader()
        self._root = Part(readable_by_pydantic(kind))
        self._done = False

    def feed(self, piece: str) -> Any:
        """The object after the piece."""
        return self._after(self._reader.feed(piece))

    def finish(self) -> Any:
        """The object, if the end of the text makes another one of it."""
        events = last_events(self._reader)
        return self._after(events) if events else NOTHING

    def _after(self, events: Events) -> Any:
        for kind, value in events:
            self._root.take(kind, value)
        if not self._root.has_begun:
            return NOTHING
        return self._root.complete() if self._root.is_done else self._root.partial()


class Part:
    """A value of a type, and the part of it that is open."""

    __slots__ = ("_inner", "_items", "_key", "_kind", "_plain", "_text", "has_begun", "is_done")

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._plain: Any = None
        """The value in plain types."""
        self._items: Any = None
        """The complete parts of a container in their types."""
        self._text: str | None = None
        self._key: str | None = None
        self._inner: Part | None = None
        self.has_begun = False
        self.is_done = False

    def take(self, kind: str, value: Any) -> None:
        """Go on by what the reader found."""
        if self._inner is not None:
            self._inner.take(kind, value)
            if self._inner.is_done:
                self._close(self._inner)
        elif self._items is not None:
            self._in_container(kind, value)
        elif kind in {"{", "["}:
            self._plain, self._items = ({}, {}) if kind == "{" else ([], [])
        elif kind == "string":
            self._text = ""
        elif kind == "text":
            text, self._text = self._text or "", None
            text += value
            self._text = text
        else:
            self._plain = self._text if kind == "end of string" else number_of(value) if kind == "number" else value
            self.is_done = True
        self.has_begun = True

    def complete(self) -> Any:
        """The whole value, validated."""
        return _adapter(self._kind).validate_json(json.dumps(self._plain))

    def partial(self) -> Any:
        """The value as far as it has come."""
        if self._text is not None:
            return self._text
        items = self._items.copy()
        if self._inner is not None and self._inner.has_begun:
            if isinstance(items, list):
                items.append(self._inner.partial())
            else:
                items[self._key] = self._inner.partial()
        model = _model_of(self._kind)
        return items if model is None or isinstance(items, list) else _made(model, items)

    def _in_container(self, kind: str, value: Any) -> None:
        if kind == "key":
            self._key = value
        elif kind == "end":
            self.is_done = True
        else:
            self._inner = Part(_kind_of_item(self._kind, self._key))
            self._inner.take(kind, value)
            if self._inner.is_done:
                self._close(self._inner)

    def _close(self, inner: Part) -> None:
        try:
            value = inner.complete()
        except ValidationError:
            # The whole is validated at the end, and says so with its place.
            value = inner._plain
        if isinstance(self._items, list):
            self._plain.append(inner._plain)
            self._items.append(value)
        else:
            self._plain[self._key] = inner._plain
            self._items[self._key] = value
        self._inner = None


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        found = _ADAPTERS.get(kind)
        if found is None:
            found = _ADAPTERS[kind] = TypeAdapter(kind)
    except TypeError:  # what annotates the type cannot be hashed
        return TypeAdapter(kind)
    return found


def _model_of(kind: Any) -> type[BaseModel] | None:
    """The model that a type is, or may be beside None."""
    kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bare(kind: Any) -> Any:
    """A type without what annotates it, and without None."""
    origin = typing_extensions.get_origin(kind)
    if origin is typing_extensions.Annotated:
        return _bare(typing_extensions.get_args(kind)[0])
    unions: tuple[Any, Any] = (Union, types.UnionType)
    if origin in unions:
        some = [part for part in typing_extensions.get_args(kind) if part is not type(None)]
        return _bare(some[0]) if len(some) == 1 else Any
    return kind


def _kind_of_item(kind: Any, key: str | None) -> Any:
    """The type of a part of a container, as far as it can be told."""
    model = _model_of(kind)
    if model is not None:
        field = model.model_fields.get(_field_name(model, key or ""))
        if field is None:
            return Any
        kind = field.annotation
        for extra in field.metadata:
            kind = typing_extensions.Annotated[kind, extra]
        return kind
    kind = _bare(kind)
    origin, arguments = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
    if origin in {list, set, frozenset} and arguments:
        return arguments[0]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    if origin is dict and len(arguments) == 2:
        return arguments[1]
    return Any


def _field_name(model: type[BaseModel], key: str) -> str:
    """The field that a name in the text stands for."""
    if key in model.model_fields:
        return key
    return next((name for name, field in model.model_fields.items() if key in {field.alias, field.validation_alias}), key)


def _made(model: type[BaseModel], items: dict[str, Any]) -> BaseModel:
    values = {_field_name(model, key): value for key, value in items.items()}
    came = {name for name in values if name in model.model_fields}
    missing = {name: None for name, field in model.model_fields.items() if name not in values and field.is_required()}
    return model.model_construct(_fields_set=came, **values, **missing)
