"""Objects while they are written: the value so far of a JSON text that a stream writes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

from tabagent import _native

if TYPE_CHECKING:
    from tabagent.stream import TokenStream

__all__ = ["ObjectStream"]

Events = list[tuple[str, Any]]
"""What the core's reader found in a piece."""

NOTHING: Final = object()
"""The value before it has begun."""


class ObjectStream(Iterator[Any], AsyncIterator[Any]):
    """The values so far of a stream's JSON text, one after each of its events, for `for` and `async for`. Made by `TokenStream.objects`.

    A string is there as far as it has come; a number, a name and its value come when they are certain. The last value is the complete one.
    Values do not change once they are given; a loop that keeps none of them costs time in proportion to the text.
    """

    __slots__ = ("_ended", "_free", "_starts", "_state", "_stream")

    def __init__(self, stream: TokenStream, into: Any, starts: tuple[str, ...] = ()) -> None:
        self._stream = stream
        self._starts = starts
        """What the text in front of the JSON ends with; empty once that has come."""
        self._free = ""
        self._state: Snapshots | Any
        if into is None:
            self._state = Snapshots()
        else:
            from tabagent.typed_objects import TypedSnapshots  # noqa: PLC0415 (needs pydantic)

            self._state = TypedSnapshots(into)
        self._ended = False

    def __iter__(self) -> ObjectStream:
        return self

    def __next__(self) -> Any:
        while not self._ended:
            event = self._stream._next_event()  # noqa: SLF001 (its own other half)
            value = self._end() if event is None else self._value_after(event.text)
            if value is not NOTHING:
                return value
        raise StopIteration

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> Any:
        while not self._ended:
            event = await self._stream._next_event_async()  # noqa: SLF001 (its own other half)
            value = self._end() if event is None else self._value_after(event.text)
            if value is not NOTHING:
                return value
        raise StopAsyncIteration

    def _value_after(self, piece: str) -> Any:
        """The value after the piece; the text up to the first start is passed over."""
        if not self._starts:
            return self._state.feed(piece)
        # Only so much of the text before can be the beginning of a start.
        text = self._free + piece
        ends = [text.index(start) + len(start) for start in self._starts if start in text]
        if not ends:
            self._free = text[-max(map(len, self._starts)) :]
            return NOTHING
        self._starts = ()
        return self._state.feed(text[min(ends) :])

    def _end(self) -> Any:
        """The last value, if the end of the text makes another one of it."""
        self._ended = True
        return self._state.finish()


class Tree:
    """A value that grows: the containers that are open, and where the next part goes."""

    __slots__ = ("key", "open", "places", "root")

    def __init__(self) -> None:
        self.root: Any = NOTHING
        self.open: list[Any] = []
        self.places: list[str | None] = []
        """The name of each open container in the one around it, if that is an object."""
        self.key: str | None = None

    def apply(self, events: Events) -> None:
        """Go on by what the reader found."""
        for kind, value in events:
            if kind == "text":
                self._append(value)
            elif kind == "key":
                self.key = value
            elif kind == "{":
                self._begin({})
            elif kind == "[":
                self._begin([])
            elif kind == "end":
                self.open.pop()
                self.key = self.places.pop()
            elif kind != "end of string":
                self._put(number_of(value) if kind == "number" else value)

    def fork(self) -> Tree:
        """The same value in containers of its own, as far as they are open."""
        other = Tree()
        other.root = self.root
        for container, place in zip(self.open, self.places, strict=True):
            other.key = place
            if other.open and isinstance(other.open[-1], list):
                other.open[-1].pop()
            other._begin(container.copy())
        other.key = self.key
        return other

    def is_free(self) -> bool:
        """Whether nobody else has one of the open containers."""
        counts = [sys.getrefcount(container) for container in self.open]
        return counts == [OWN_COUNT] * len(counts)

    def _begin(self, container: Any) -> None:
        self._put(container)
        self.open.append(container)
        self.places.append(self.key)

    def _put(self, value: Any) -> None:
        if not self.open:
            self.root = value
        elif isinstance(parent := self.open[-1], list):
            parent.append(value)
        else:
            parent[self.key] = value

    def _append(self, text: str) -> None:
        """Appends to the string at the end. Nothing else refers to it meanwhile, so that Python can extend it in place."""
        if not self.open:
            whole, self.root = self.root, None
            whole += text
            self.root = whole
            return
        parent = self.open[-1]
        place: Any = -1 if isinstance(parent, list) else self.key
        whole, parent[place] = parent[place], None
        whole += text
        parent[place] = whole


def _own_count() -> int:
    """How many references Python counts for a container that a tree alone has, asked for as `is_free` does."""
    tree = Tree()
    tree.apply([("{", None)])
    [count] = [sys.getrefcount(container) for container in tree.open]
    return count


OWN_COUNT: Final = _own_count()


class Snapshots:
    """The value so far after each piece. Two trees take turns: while a loop looks at one, the other one catches up."""

    __slots__ = ("_before", "_behind", "_current", "_reader")

    def __init__(self) -> None:
        self._reader = _native.JsonReader()
        self._current = Tree()
        self._behind: Tree | None = Tree()
        self._before: Events = []
        """What the tree behind has still to take."""

    def feed(self, piece: str) -> Any:
        """The value after the piece."""
        return self._turn(self._reader.feed(piece))

    def finish(self) -> Any:
        """The value, if the end of the text makes another one of it."""
        events = last_events(self._reader)
        return self._turn(events) if events else NOTHING

    def _turn(self, events: Events) -> Any:
        tree = self._behind
        if tree is not None and tree.is_free():
            tree.apply(self._before)
        else:
            tree = self._current.fork()
        tree.apply(events)
        self._behind, self._current, self._before = self._current, tree, events
        return tree.root


def last_events(reader: _native.JsonReader) -> Events:
    """What the end of the text makes certain; nothing if the text was cut."""
    try:
        return [] if reader.is_complete else reader.finish()
    except ValueError:
        return []


def number_of(text: str) -> int | float:
    """The number that JSON text writes."""
    return float(text) if any(mark in text for mark in ".eE") else int(text)
