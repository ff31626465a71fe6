"""The tensors of a file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tabagent.gguf.types import plain_dtype, tensor_type

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from tabagent import _native

__all__ = ["GgufTensor", "GgufTensors"]


class GgufTensor:
    """A tensor of a file. It keeps the file open; its data is read when it is asked for."""

    __slots__ = ("_native", "gguf_shape", "name", "nbytes", "offset", "part", "type")

    name: str
    type: str
    """The number type, such as `Q4_K`."""
    gguf_shape: tuple[int, ...]
    """The dimensions as GGUF writes them: the length of a row first."""
    part: int
    """Which file of a model in several files holds it, from 0."""
    offset: int
    """Where its data starts, in bytes from the start of that file."""
    nbytes: int
    """How many bytes its data takes."""

    def __init__(self, native: _native.GgufFile, facts: tuple[str, str, Sequence[int], int, int, int]) -> None:
        self._native = native
        name, kind, dims, part, offset, nbytes = facts
        self.name, self.type, self.gguf_shape = name, kind, tuple(dims)
        self.part, self.offset, self.nbytes = part, offset, nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions in numpy's order: rows first."""
        return self.gguf_shape[::-1]

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.gguf_shape)

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes, scales included."""
        return tensor_type(self.type).bits_per_weight

    @property
    def raw(self) -> NDArray[np.uint8]:
        """The stored bytes: a read-only array of one dimension that looks into the file, without a copy."""
        return self._native.raw(self.name)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The numbers of a plain type, in `shape`: a read-only array that looks into the file, without a copy.

        Raises:
            ValueError: numpy has no such type; `dequantize()` makes floats of it.
        """
        dtype = plain_dtype(self.type, self._native.byte_order)
        if dtype is None:
            message = f"tensor `{self.name}` has type `{self.type}`, which numpy does not have; use `dequantize()`"
            raise ValueError(message)
        return self.raw.view(dtype).reshape(self.shape)

    def dequantize(
        self, dtype: DTypeLike | None = None, *, out: np.ndarray[Any, Any] | None = None, threads: int | None = None
    ) -> np.ndarray[Any, Any]:
        """The weights as floats, in `shape`: a new array, or `out`, of `dtype`: `float32`, `float16`, `bfloat16` or `float64`.

        `dtype`, `out` and `threads` are as in `tabagent.gguf.dequantize`.

        Raises:
            TypeError: `out` is no array.
            ValueError: there is no decoder for the type, `dtype` is no float, `out` does not fit, or `threads` is below 1.
        """
        from tabagent.gguf.quants import decoded  # noqa: PLC0415 (only where it is needed)

        return decoded(self.raw, self.type, self.shape, dtype, self._native.byte_order, out=out, threads=threads)

    def __repr__(self) -> str:
        return f"<GgufTensor `{self.name}` {self.type} {self.shape}>"


class GgufTensors:
    """The tensors of a file in order, by number or by name: a sequence whose items also have names."""

    __slots__ = ("_by_name", "_list")

    def __init__(self, native: _native.GgufFile) -> None:
        self._list = [GgufTensor(native, facts) for facts in native.tensors()]
        self._by_name = {tensor.name: tensor for tensor in self._list}

    @overload
    def __getitem__(self, index: int | str) -> GgufTensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[GgufTensor]: ...
    def __getitem__(self, index: int | str | slice) -> GgufTensor | list[GgufTensor]:
        if not isinstance(index, str):
            return self._list[index]
        found = self._by_name.get(index)
        if found is None:
            nearest = difflib.get_close_matches(index, self._by_name, n=1)
            message = f"there is no tensor `{index}`" + (f"; did you mean `{nearest[0]}`?" if nearest else "")
            raise KeyError(message)
        return found

    def __iter__(self) -> Iterator[GgufTensor]:
        return iter(self._list)

    def __len__(self) -> int:
        return len(self._list)

    def __contains__(self, item: object) -> bool:
        """Whether there is a tensor of that name."""
        return item in self._by_name if isinstance(item, str) else item in self._list

    def names(self) -> list[str]:
        """The names in order."""
        return list(self._by_name)

    def __repr__(self) -> str:
        return f"<GgufTensors: {len(self)}>"
