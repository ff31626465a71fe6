"""Numbers that callers give, as arrays of floats."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tabagent import _native
from tabagent._arguments import as_int, type_name

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["as_array", "as_floats", "as_threads"]

REAL: Final = "fiub"
"""numpy's kinds of floats, integers and bools."""


def as_array(values: "ArrayLike", what: str) -> "np.ndarray[Any, Any]":
    """`values` as an array of real numbers: floats, also those of `ml_dtypes`, integers, or bools, which are 0 and 1.

    Raises:
        TypeError: they are something else, such as texts, complex numbers, times or objects, or some of them are masked.
        ValueError: they are lists of different lengths.
    """
    if np.ma.is_masked(values):
        message = f"{what} must be real numbers, but some are masked; fill them first"
        raise TypeError(message)
    try:
        array = np.asarray(values)
    except ValueError as error:
        message = f"{what} must be an array of real numbers: {error}"
        raise ValueError(message) from None
    if array.dtype.kind not in REAL and not _is_float(array.dtype):
        found = type_name(values) if array.dtype.kind == "O" and not isinstance(values, (np.ndarray, list, tuple)) else array.dtype
        message = f"{what} must be real numbers (floats, integers or bools), got `{found}`"
        raise TypeError(message)
    return array


def as_floats(values: "ArrayLike", what: str) -> "NDArray[np.float32]":
    """`values` as `float32`, items side by side; raises as `as_array`."""
    return np.ascontiguousarray(as_array(values, what), dtype=np.float32)


def as_threads(threads: int | None) -> int | None:
    """A number of threads; None for all cores.

    Raises:
        TypeError, ValueError: it is no int, or out of range.
    """
    return None if threads is None else as_int(threads, "threads", 1, _native.GGUF_MAX_THREADS)


def _is_float(dtype: "np.dtype[Any]") -> bool:
    """Whether the type is a float that another package added to numpy, which calls the kind of such types void."""
    return dtype.kind == "V" and dtype.fields is None and "float" in dtype.name and np.can_cast(dtype, np.float32)
