"""ggml's number formats: stored bytes to floats and back."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tabagent import _native
from tabagent.gguf.types import tensor_type

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["decoded", "dequantize", "quantize"]

FLOATS: Final = ("float32", "float16", "float64")
BFLOAT16: Final = "bfloat16"


def dequantize(
    data: NDArray[np.uint8] | bytes | bytearray | memoryview,
    type: str,  # noqa: A002 (GGUF's own word)
    *,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike = np.float32,
    byte_order: Literal["little", "big"] = "little",
) -> np.ndarray[Any, Any]:
    """Decode stored bytes of a number type, such as `Q4_K`, to floats: bit for bit what ggml computes.

    Without `shape` (rows first, in weights) the result has one dimension. `dtype` is `float32`, `float16` or `bfloat16` (both rounded from
    `float32`, ties to even) or `float64`. numpy has no `bfloat16`: the result is of `ml_dtypes.bfloat16` if that package is installed, and
    otherwise a `uint16` array of the numbers' bits, the upper half of a `float32`'s. `byte_order` is that of the file that the bytes come
    from. All cores decode, without the GIL.

    Raises:
        ValueError: there is no such type, or the bytes are no whole blocks of it, or do not fill the shape.
    """
    found = tensor_type(type)
    stored = _stored(data)
    trailer = 32 if type == "I2_S" else 0
    count = max(stored.size - trailer, 0) // found.block_bytes * found.block_size if shape is None else _count(shape)
    if byte_order not in {"little", "big"}:
        message = f"`byte_order` is `little` or `big`, not `{byte_order}`"
        raise ValueError(message)
    return decoded(stored, type, (count,) if shape is None else tuple(shape), dtype, byte_order)


def quantize(array: ArrayLike, type: str, *, importance: ArrayLike | None = None) -> NDArray[np.uint8]:  # noqa: A002 (GGUF's own word)
    """Encode floats as a number type, such as `Q4_K`: the stored bytes, in one dimension.

    The array's last dimension is a row, and must be whole blocks of the type. `importance` has a weight for each element of a row
    (an importance matrix); some types need one. All cores encode, without the GIL.

    Raises:
        ValueError: there is no such type or no encoder for it, rows are no whole blocks, a number is infinite or NaN, or `importance` is
            missing or has the wrong length.
    """
    tensor_type(type)
    values = np.ascontiguousarray(array, dtype=np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32).reshape(-1)
    row_length = values.shape[-1] if values.ndim else 1
    return _native.gguf_quantize(values.reshape(-1), row_length, type, weights)


def decoded(data: NDArray[np.uint8], kind: str, shape: tuple[int, ...], dtype: DTypeLike, byte_order: str) -> np.ndarray[Any, Any]:
    """The weights that `data` holds in a file of that byte order, as a new array of `dtype` and `shape`."""
    # numpy knows the name only where `ml_dtypes` is loaded.
    wanted = _bfloat16() if isinstance(dtype, str) and dtype == BFLOAT16 else np.dtype(dtype)
    is_bfloat16 = wanted.name == BFLOAT16 or (isinstance(dtype, str) and dtype == BFLOAT16)
    if wanted.name not in FLOATS and not is_bfloat16:
        message = f"weights are floats, so `dtype` is `float32`, `float16`, `bfloat16` or `float64`, not `{wanted}`"
        raise ValueError(message)
    if byte_order != "little":
        data = _native.gguf_swap_bytes(data, kind)
    if kind == "F64" and wanted == np.float64:
        return data.view("<f8").reshape(shape).astype(np.float64)
    count = _count(shape)
    if is_bfloat16:
        return _native.gguf_dequantize(data, kind, count, BFLOAT16).view(wanted).reshape(shape)
    if wanted == np.float16:
        return _native.gguf_dequantize(data, kind, count, "float16").view(np.float16).reshape(shape)
    floats = _native.gguf_dequantize(data, kind, count, "float32").reshape(shape)
    return floats.astype(wanted, copy=False)


def _bfloat16() -> np.dtype[Any]:
    """The type of `bfloat16` numbers, or of their bits where no package has them."""
    try:
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        return np.dtype(np.uint16)
    return found


def _stored(data: NDArray[np.uint8] | bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8:
            message = f"stored bytes are a `uint8` array, not `{data.dtype}`"
            raise ValueError(message)
        return np.ascontiguousarray(data).reshape(-1)
    return np.frombuffer(data, dtype=np.uint8)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    if not 0 <= count < 2**63:
        message = f"shape `{tuple(shape)}` has more weights than 63 bits count, or a negative extent"
        raise ValueError(message)
    return count
