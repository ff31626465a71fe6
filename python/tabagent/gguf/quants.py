"""ggml's number formats: stored bytes to floats and back."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tabagent import _native
from tabagent._arguments import as_choice, as_sizes, type_name
from tabagent.gguf.numbers import as_array, as_floats, as_threads
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
    dtype: DTypeLike | None = None,
    byte_order: Literal["little", "big"] = "little",
    out: np.ndarray[Any, Any] | None = None,
    threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """Decode stored bytes of a number type, such as `Q4_K`, to floats: bit for bit what ggml computes.

    Without `shape` (rows first, in weights) the result has one dimension. `dtype` is `float32`, `float16` or `bfloat16` (both rounded from
    `float32`, ties to even) or `float64`. numpy has no `bfloat16`: the result is of `ml_dtypes.bfloat16` if that package is installed, and
    otherwise a `uint16` array of the numbers' bits, the upper half of a `float32`'s. `byte_order` is that of the file that the bytes come
    from. All cores decode, or as many `threads` as are asked for, without the GIL.

    The memory of large results (16 MiB or more) that are gone is reused for the next ones: up to 256 MiB are kept, and the system takes them
    back when it needs them.

    `out` is an array that takes the weights and is returned: of the result's shape, contiguous in C order, not overlapping the data; without
    `dtype` its own is taken. That is faster for many tensors of one size, since the system gives no new memory. If the call is interrupted,
    some of it is written.

    Raises:
        TypeError: the data is neither bytes nor a `uint8` array, or `out` is no array.
        ValueError: there is no such type, the bytes are no whole blocks of it or do not fill the shape, `out` does not fit, or `threads` is
            below 1.
    """
    found = tensor_type(type)
    as_choice(byte_order, "byte_order", ("little", "big"))
    extents = None if shape is None else as_sizes(shape, "shape")
    stored = _stored(data)
    trailer = 32 if type == "I2_S" else 0
    if extents is None:
        extents = (max(stored.size - trailer, 0) // found.block_bytes * found.block_size,)
    return decoded(stored, type, extents, dtype, byte_order, out=out, threads=threads)


def quantize(
    array: ArrayLike,
    type: str,  # noqa: A002 (GGUF's own word)
    *,
    importance: ArrayLike | None = None,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Encode floats as a number type, such as `Q4_K`: the stored bytes, in one dimension.

    The array's last dimension is a row, and must be whole blocks of the type; floats, integers and bools are taken, rounded to `float32`.
    `importance` has a weight for each element of a row (an importance matrix); some types need one. All cores encode, or as many `threads` as
    are asked for, without the GIL.

    Raises:
        TypeError: the array holds no real numbers.
        ValueError: there is no such type or no encoder for it, rows are no whole blocks, a number is infinite or NaN, or `importance` is
            missing or has the wrong length.
    """
    tensor_type(type)
    # `ascontiguousarray` gives an array without dimensions one.
    values = as_floats(array, "`array`")
    weights = None if importance is None else as_floats(importance, "`importance`").reshape(-1)
    return _native.gguf_quantize(values.reshape(-1), values.shape[-1], type, weights, as_threads(threads))


def decoded(
    data: NDArray[np.uint8],
    kind: str,
    shape: tuple[int, ...],
    dtype: DTypeLike | None,
    byte_order: str,
    *,
    out: np.ndarray[Any, Any] | None = None,
    threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """The weights that `data` holds in a file of that byte order, as `out` or a new array of `dtype` and `shape`."""
    wanted, is_bfloat16 = _wanted(dtype, out)
    if not wanted.isnative:
        if out is None:
            return decoded(data, kind, shape, wanted.newbyteorder("="), byte_order, threads=threads).astype(wanted)
        wanted = wanted.newbyteorder("=")
    count, threads = _count(shape), as_threads(threads)
    _check_size(kind, count, data.size)
    is_new = False
    if out is None:
        out, is_new = _room(shape, wanted)
    else:
        _check_out(out, shape, np.dtype(np.uint16) if is_bfloat16 and out.dtype == np.uint16 else wanted, data)
    if byte_order != "little":
        data = _native.gguf_swap_bytes(data, kind)
    if wanted == np.float64 and kind == "F64":
        out[...] = data.view("<f8").reshape(shape)
    elif wanted == np.float64:
        floats = np.empty(count, dtype=np.float32)
        _native.gguf_dequantize(data, kind, floats, "float32", threads, is_new=True)
        out[...] = floats.reshape(shape)
    else:
        form = BFLOAT16 if is_bfloat16 else wanted.name
        items = out.reshape(-1)
        _native.gguf_dequantize(data, kind, items if form == "float32" else items.view(np.uint16), form, threads, is_new=is_new)
    return out


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray[Any, Any], bool]:
    """An array to be written to, and whether its memory is new. Large ones reuse the memory of results that are gone, which is faster."""
    found = _native.gguf_room(_count(shape) * dtype.itemsize)
    if found is None:
        return np.empty(shape, dtype), True
    room, is_new = found
    return room.view(dtype).reshape(shape), is_new


def _wanted(dtype: DTypeLike | None, out: np.ndarray[Any, Any] | None) -> tuple[np.dtype[Any], bool]:
    """The type of the result, and whether its numbers are `bfloat16`: without `dtype` that of `out`."""
    if out is not None and not isinstance(out, np.ndarray):
        message = f"`out` must be a numpy array, got {type_name(out)}"
        raise TypeError(message)
    if dtype is None:
        dtype = np.float32 if out is None else BFLOAT16 if out.dtype == np.uint16 else out.dtype
    named = isinstance(dtype, str) and dtype == BFLOAT16
    # numpy knows the name only where `ml_dtypes` is loaded.
    wanted = _bfloat16() if named else _dtype(dtype)
    is_bfloat16 = named or wanted.name == BFLOAT16
    if wanted.name not in FLOATS and not is_bfloat16:
        message = f"weights are floats, so `dtype` is `float32`, `float16`, `bfloat16` or `float64`, not `{wanted}`"
        raise ValueError(message)
    return wanted, is_bfloat16


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """What numpy makes of a type.

    Raises:
        TypeError: it is none.
    """
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError) as error:
        message = f"weights are floats, so `dtype` is `float32`, `float16`, `bfloat16` or `float64`, not {type_name(dtype)}: {error}"
        raise TypeError(message) from None


def _check_size(kind: str, count: int, n_bytes: int) -> None:
    """Check that the bytes hold that many weights, before memory is allocated for them."""
    found = tensor_type(kind)
    trailer = 32 if kind == "I2_S" else 0
    if count % found.block_size:
        message = f"`{count}` weights of `{kind}` are no whole blocks, but the data has `{n_bytes}` bytes"
        raise ValueError(message)
    expected = count // found.block_size * found.block_bytes + trailer
    if expected != n_bytes:
        message = f"`{count}` weights of `{kind}` are `{expected}` bytes, but the data has `{n_bytes}` bytes"
        raise ValueError(message)


def _check_out(out: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: np.dtype[Any], data: NDArray[np.uint8]) -> None:
    problem = None
    if out.shape != shape:
        problem = f"has shape `{out.shape}`, but the weights have `{shape}`"
    elif out.dtype != dtype:
        problem = f"is of `{out.dtype}`, but the weights are of `{dtype}`"
    elif not out.flags.c_contiguous or not out.flags.aligned:
        problem = "is not contiguous in C order; give `np.ascontiguousarray(out)` and copy it back"
    elif not out.flags.writeable:
        problem = "is read-only"
    elif np.may_share_memory(out, data):
        problem = "overlaps the data"
    if problem is not None:
        message = f"`out` {problem}"
        raise ValueError(message)


def _bfloat16() -> np.dtype[Any]:
    """The type of `bfloat16` numbers, or of their bits where no package has them."""
    try:
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        return np.dtype(np.uint16)
    return found


def _stored(data: NDArray[np.uint8] | bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        if as_array(data, "`data`").dtype != np.uint8:
            message = f"`data` must be bytes or a `uint8` array, got an array of `{data.dtype}`"
            raise ValueError(message)
        return np.ascontiguousarray(data).reshape(-1)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        message = f"`data` must be bytes or a `uint8` array, got {type_name(data)}"
        raise TypeError(message)
    return np.frombuffer(data, dtype=np.uint8)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    if count >= 2**63:
        message = f"`shape` `{tuple(shape)}` has more weights than 63 bits count"
        raise ValueError(message)
    return count
