"""The number types of tensors, and the types of metadata values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tabagent import _native
from tabagent._arguments import as_text, type_name

__all__ = ["PLAIN", "TYPES", "TensorType", "metadata_type", "plain_dtype", "tensor_type"]


@dataclass(frozen=True)
class TensorType:
    """A number type of ggml, such as `Q4_K`."""

    name: str
    id: int
    """ggml's number for it."""
    block_size: int
    """Weights in a block; rows are whole blocks."""
    block_bytes: int
    """Bytes of a block."""

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes, its share of the block's scales included."""
        return self.block_bytes * 8 / self.block_size

    def __str__(self) -> str:
        return self.name


TYPES: Final[Mapping[str, TensorType]] = {
    name: TensorType(name, number, block_size, block_bytes) for name, number, block_size, block_bytes in _native.gguf_types()
}
"""All number types by name."""

PLAIN: Final[Mapping[str, str]] = {"F32": "f4", "F16": "f2", "F64": "f8", "I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8"}
"""Those that numpy has, too. (It has no BF16.)"""

UNSIGNED: Final = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
SIGNED: Final = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}


def tensor_type(name: str) -> TensorType:
    """The number type of that name, which the caller passed as `type`.

    Raises:
        TypeError: it is no text.
        ValueError: there is none.
    """
    found = TYPES.get(as_text(name, "type"))
    if found is None:
        message = f"`{name:.80}` is no type of tensors; `tabagent.gguf.TYPES` lists them"
        raise ValueError(message)
    return found


def plain_dtype(name: str, byte_order: str) -> "np.dtype[Any] | None":
    """The type in numpy of a plain number type in a file of that byte order; None for blocks and BF16."""
    code = PLAIN.get(name)
    return None if code is None else np.dtype((">" if byte_order == "big" else "<") + code)


def metadata_type(value: Any) -> tuple[str, Any]:  # noqa: PLR0911 (a way out for each kind of value)
    """The type that a Python value gets where none is given, and the value as plain Python has it.

    `bool` is `bool`, `str` and `bytes` are `str`, `float` is `f32`; an `int` is the first of `u32`, `i32`, `u64`, `i64` that holds it: what
    llama.cpp reads nearly everywhere. numpy's numbers and arrays keep their type. Of other sequences all items get one type; integers
    the first of `i32`, `u32`, `i64`, `u64`.

    Raises:
        TypeError: no type of GGUF holds such a value.
        ValueError: a sequence is empty, so that it needs a type, or its items have several.
    """
    if isinstance(value, np.ndarray):
        return _array_type(value)
    if isinstance(value, np.generic):
        return _dtype_type(value.dtype), value.item()
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return _integer_type([value], ("u32", "i32", "u64", "i64")), value
    if isinstance(value, float):
        return "f32", value
    if isinstance(value, (str, bytes)):
        return "str", value
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return _sequence_type(list(value))
    message = f"metadata holds numbers, bools, strings and arrays of them, not `{type_name(value)}`"
    raise TypeError(message)


def _sequence_type(items: list[Any]) -> tuple[str, list[Any]]:
    if not items:
        message = "an empty array needs a type, such as `arr[str]`"
        raise ValueError(message)
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        return f"arr[{_integer_type(items, ('i32', 'u32', 'i64', 'u64'))}]", items
    found = [metadata_type(item) for item in items]
    kinds = sorted({kind for kind, _ in found})
    if kinds != [found[0][0]]:
        message = f"all items of an array have one type, but there are {', '.join(f'`{kind}`' for kind in kinds)}; give the type"
        raise ValueError(message)
    return f"arr[{kinds[0]}]", [item for _, item in found]


def _array_type(array: "np.ndarray[Any, Any]") -> tuple[str, Any]:
    if array.ndim == 0:
        return _dtype_type(array.dtype), array.item()
    kind = _dtype_type(array.dtype)
    for _ in range(array.ndim):
        kind = f"arr[{kind}]"
    return kind, array.tolist()


def _dtype_type(dtype: "np.dtype[Any]") -> str:
    kinds = {"b": {1: "bool"}, "u": UNSIGNED, "i": SIGNED, "f": {4: "f32", 8: "f64"}}
    kind = kinds.get(dtype.kind, {}).get(dtype.itemsize)
    if kind is None:
        message = f"metadata has no type for numpy's `{dtype}`"
        raise TypeError(message)
    return kind


def _integer_type(items: list[int], kinds: tuple[str, ...]) -> str:
    low, high = min(items), max(items)
    for kind in kinds:
        bits = int(kind[1:])
        least, most = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if least <= low and high <= most:
            return kind
    message = f"`{high if high > 0 else low}` does not fit in 64 bits"
    raise ValueError(message)
