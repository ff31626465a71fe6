"""The metadata of a file: a mapping whose values are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from tabagent._arguments import as_text

if TYPE_CHECKING:
    from tabagent import _native

__all__ = ["GgufArray", "GgufMetadata", "MetadataValue"]

SHOWN = 6


class GgufArray(Sequence[Any]):
    """An array of a file's metadata. Items are decoded one by one, so that a vocabulary of 262,144 strings costs nothing until it is read.

    It keeps its file open. Equal to any list or tuple with equal items.
    """

    __slots__ = ("_native",)
    __hash__ = None  # type: ignore[assignment]  # as lists have none

    def __init__(self, native: _native.GgufArray) -> None:
        self._native = native

    @property
    def item_type(self) -> str:
        """The type of every item: `u8` `i8` `u16` `i16` `u32` `i32` `u64` `i64` `f32` `f64` `bool` `str` or `arr`."""
        return self._native.item_type

    def __len__(self) -> int:
        return len(self._native)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step < 0:
                return self.tolist()[index]
            return [_wrapped(item) for item in self._native.to_list(start, stop)][::step]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            message = f"`{index}` is outside of the array's {len(self)} items"
            raise IndexError(message)
        return _wrapped(self._native.get(place))

    def __iter__(self) -> Iterator[Any]:
        # In runs: a call for each item would take most of the time.
        for start in range(0, len(self), 4096):
            yield from map(_wrapped, self._native.to_list(start, start + 4096))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (GgufArray, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        more = ", …" if len(self) > SHOWN else ""
        return f"<GgufArray of {len(self)} {self.item_type}: [{', '.join(repr(item) for item in self[:SHOWN])}{more}]>"

    def tolist(self) -> list[Any]:
        """All items as a list; arrays in it as lists, too."""
        items = self._native.to_list(0, len(self))
        return [GgufArray(item).tolist() for item in items] if self.item_type == "arr" else items

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy as a numpy array of one dimension.

        Raises:
            TypeError: the items are strings or arrays.
        """
        array = self._native.numpy()
        if array is None:
            message = f"items of type `{self.item_type}` are no numbers; use `tolist()`"
            raise TypeError(message)
        return array


MetadataValue: TypeAlias = bool | int | float | str | GgufArray
"""What metadata holds. Bytes of a string that are not UTF-8 are lone surrogates: `text.encode("utf-8", "surrogateescape")` has them back."""


class GgufMetadata(Mapping[str, Any]):
    """The key-value pairs of a file, in its order. Of a model in several files they are those of the first."""

    __slots__ = ("_keys", "_native")

    def __init__(self, native: _native.GgufFile) -> None:
        self._native = native
        self._keys = dict.fromkeys(native.keys())

    def __getitem__(self, key: str) -> Any:
        """The value: a `bool`, `int`, `float`, `str` or `GgufArray`."""
        if key not in self._keys:
            raise KeyError(key)
        return _wrapped(self._native.value(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def type(self, key: str) -> str:
        """The type as stored, such as `u32`, `str` or `arr[f32]`.

        Raises:
            KeyError: there is no such key.
        """
        return self._native.value_type(as_text(key, "key"))

    def __repr__(self) -> str:
        return f"<GgufMetadata of {len(self)} keys>"


def _wrapped(value: Any) -> Any:
    from tabagent import _native  # noqa: PLC0415 (the compiled module, once it is loaded)

    return GgufArray(value) if isinstance(value, _native.GgufArray) else value
