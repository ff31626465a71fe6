"""Writing GGUF files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tabagent import _native
from tabagent._arguments import as_bool, as_callback, as_choice, as_int, as_path, as_sizes, as_text, type_name
from tabagent.gguf.types import PLAIN, metadata_type, plain_dtype, tensor_type

if TYPE_CHECKING:
    from tabagent.gguf.file import GgufFile, Progress

__all__ = ["GgufWriter"]

BYTE_ORDERS: Final = ("little", "big")
Data = "np.ndarray[Any, Any] | bytes | bytearray | memoryview"


class GgufWriter:
    """Collects metadata and tensors and writes them in one pass.

        writer = GgufWriter()
        writer.set("general.architecture", "llama")
        writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
        writer.write("model.gguf")

    The data of tensors is read when the file is written, one tensor after another: arrays that are views of mapped files, and functions that
    make their data, need no memory before that.
    """

    def __init__(self, *, byte_order: Literal["little", "big"] = "little", version: Literal[2, 3] = 3) -> None:
        if version not in (2, 3):
            message = f"version `{version}` is not written; choose `2` or `3`"
            raise ValueError(message)
        as_choice(byte_order, "byte_order", BYTE_ORDERS)
        self._native = _native.GgufWriter(byte_order, version)
        self._byte_order = byte_order

    @classmethod
    def of(cls, file: GgufFile, *, byte_order: Literal["little", "big"] | None = None) -> GgufWriter:
        """A writer with all that `file` holds, as one file. Written unchanged it is the same bytes again, unless the file was split.

        With another `byte_order` than the file's the bytes of every number are swapped when it is written, in blocks of quantized weights too.
        """
        if not isinstance(getattr(file, "_native", None), _native.GgufFile):
            message = f"`file` must be a GgufFile, got {type_name(file)}; open it with `tabagent.gguf.open`"
            raise TypeError(message)
        if byte_order is not None:
            as_choice(byte_order, "byte_order", BYTE_ORDERS)
        writer = cls.__new__(cls)
        writer._native = _native.GgufWriter.of_model(file._native, byte_order)  # noqa: SLF001 (the two classes are one module's)
        order = file.byte_order if byte_order is None else byte_order
        writer._byte_order = "big" if order == "big" else "little"  # noqa: SLF001 (the two classes are one module's)
        return writer

    def set(self, key: str, value: Any, *, type: str | None = None) -> GgufWriter:  # noqa: A002 (GGUF's own word)
        """Set a metadata value: in its old place, or at the end.

        Without `type` a `bool` is `bool`, a `str` or `bytes` is `str`, a `float` is `f32`, an `int` the first of `u32`, `i32`, `u64`, `i64` that
        holds it; numpy's numbers and arrays keep their type; integers in a list are the first of `i32`, `u32`, `i64`, `u64` that holds them
        all. `type` is one of `u8` `i8` `u16` `i16` `u32` `i32` `u64` `i64` `f32` `f64` `bool` `str`, or `arr[...]` of one of them or
        of another `arr[...]`.

        Raises:
            TypeError: the value is of no such type.
            ValueError: the number does not fit in the type, or an array has several types.
        """
        as_text(key, "key")
        kind, plain = metadata_type(value) if type is None else (as_text(type, "type"), _plain(value))
        self._native.set(key, kind, plain)
        return self

    def update(self, values: Mapping[str, Any]) -> GgufWriter:
        """Set several metadata values, as `set` does without a type."""
        if not isinstance(values, Mapping):
            message = f"`values` must be a mapping from keys to values, got {type_name(values)}"
            raise TypeError(message)
        for key, value in values.items():
            self.set(key, value)
        return self

    def remove(self, key: str) -> GgufWriter:
        """Leave a metadata value out, if it is there."""
        self._native.remove(as_text(key, "key"))
        return self

    def add_tensor(
        self,
        name: str,
        data: np.ndarray[Any, Any] | bytes | Callable[[], np.ndarray[Any, Any] | bytes],
        *,
        type: str | None = None,  # noqa: A002 (GGUF's own word)
        shape: Sequence[int] | None = None,
    ) -> GgufWriter:
        """Add a tensor after those already there.

        `data` is an array of a type that GGUF has (`float32`, `float16`, `float64`, `int8` … `int64`), whose shape, rows first, is the
        tensor's. Or it is the bytes to store, as bytes or a `uint8` array, with `type` and `shape` (in weights, rows first). Or it is a
        function that returns one of these when the tensor is written, with `type` and `shape`.

        Raises:
            TypeError: the array has a type that GGUF lacks.
            ValueError: type and shape are missing, or do not fit the data.
        """
        as_text(name, "name")
        extents = None if shape is None else as_sizes(shape, "shape")
        make: Callable[[], bytes]
        if np.ma.is_masked(data) or not (callable(data) or isinstance(data, (np.ndarray, bytes, bytearray, memoryview))):
            found = "an array with masked numbers" if np.ma.is_masked(data) else f"`{type_name(data)}`"
            message = f"tensor `{name}` needs an array, bytes, or a function that makes them, not {found}"
            raise TypeError(message)
        if callable(data):
            if type is None or extents is None:
                message = f"tensor `{name}` is made later, so it needs `type` and `shape`"
                raise ValueError(message)
            later, kind = data, tensor_type(type).name
            dims = extents
            make = partial(self._stored_later, name, later, kind)
        elif type is None:
            if not isinstance(data, np.ndarray):
                message = f"tensor `{name}` is given as bytes, so it needs `type` and `shape`"
                raise ValueError(message)  # noqa: TRY004 (bytes are fine with the other two)
            kind = _type_of(name, data)
            dims = data.shape if extents is None else extents
            array = data
            make = partial(self._stored, name, array, kind)
        else:
            kind = tensor_type(type).name
            self._check_array(name, data, kind)
            if extents is None and isinstance(data, np.ndarray) and kind in PLAIN and data.dtype != np.uint8:
                extents = data.shape
            if extents is None:
                message = f"tensor `{name}` is given as stored bytes, so it needs `shape`"
                raise ValueError(message)
            dims, stored = extents, data
            make = partial(self._stored, name, stored, kind)
        self._native.add_tensor(name, kind, list(dims[::-1]), _n_bytes(kind, dims), make, data)
        return self

    def write(self, path: str | os.PathLike[str], *, progress: Progress | None = None) -> None:
        """Write the file in one step: others see the old file or the whole new one. A failed or cancelled write leaves nothing.

        `progress` gets the bytes of tensors written and all of them; returning False, or raising, ends the write.

        Raises:
            GgufError: keys or tensors break a rule of the format.
            OSError: the system refuses.
            GgufCancelledError: `progress` returned False.
        """
        self._native.write(as_path(path, "path"), as_callback(progress, "progress"))

    def to_bytes(self) -> bytes:
        """The whole file in memory; raises `GgufError` as `write`."""
        return self._native.to_bytes()

    def write_parts(
        self,
        prefix: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        max_tensors: int | None = None,
        first_without_tensors: bool = False,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Write the model as `prefix-00001-of-0000N.gguf` and so on and return the paths; llama.cpp loads it by the first.

        A part holds at most `max_bytes` bytes of tensors (a larger one has a part of its own) or `max_tensors` tensors. No part appears before
        all are written. Raises as `write`.
        """
        if (max_bytes is None) == (max_tensors is None):
            message = "give either `max_bytes` or `max_tensors`"
            raise ValueError(message)
        paths = self._native.write_parts(
            as_path(prefix, "prefix"),
            None if max_bytes is None else as_int(max_bytes, "max_bytes", 1, 2**63 - 1),
            None if max_tensors is None else as_int(max_tensors, "max_tensors", 1, 2**63 - 1),
            as_bool(first_without_tensors, "first_without_tensors"),
            as_callback(progress, "progress"),
        )
        return [Path(path) for path in paths]

    def _stored_later(self, name: str, later: Callable[[], Any], kind: str) -> bytes:
        return self._stored(name, later(), kind)

    def _check_array(self, name: str, data: Any, kind: str) -> None:
        """An array is of the type's numbers, or holds stored bytes.

        Raises:
            TypeError: it is of another type.
        """
        if not isinstance(data, np.ndarray) or data.dtype == np.uint8:
            return
        if plain_dtype(kind, self._byte_order) is None:
            message = f"tensor `{name}` of type `{kind}` takes its stored bytes as a `uint8` array, not `{data.dtype}`"
            raise TypeError(message)
        if _type_of(name, data) != kind:
            message = f"tensor `{name}` should be `{kind}`, but the array is `{data.dtype}`"
            raise TypeError(message)

    def _stored(self, name: str, data: Any, kind: str) -> bytes:
        """The bytes to store for the caller's data."""
        if isinstance(data, np.ndarray):
            self._check_array(name, data, kind)
            dtype = plain_dtype(kind, self._byte_order)
            return data.tobytes() if dtype is None or data.dtype == np.uint8 else data.astype(dtype, copy=False).tobytes()
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(data)
        message = f"tensor `{name}` needs an array or bytes, not `{type_name(data)}`"
        raise TypeError(message)


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as Python's own."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _type_of(name: str, array: np.ndarray[Any, Any]) -> str:
    for kind, code in PLAIN.items():
        if array.dtype.newbyteorder("=") == np.dtype(code):
            return kind
    message = f"tensor `{name}` is of numpy's `{array.dtype}`, which GGUF lacks; give stored bytes with `type` and `shape`, or convert the array"
    raise TypeError(message)


def _n_bytes(kind: str, shape: Sequence[int]) -> int:
    """Bytes that the tensor takes; the writer itself refuses rows that are no whole blocks."""
    found = tensor_type(kind)
    count = math.prod(shape)
    trailer = 32 if kind == "I2_S" else 0
    return count // found.block_size * found.block_bytes + trailer
