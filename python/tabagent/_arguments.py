"""Arguments checked and made plain before they reach the core. Errors name the argument and say what to do."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias, TypeVar

__all__ = [
    "Tokens",
    "as_bool",
    "as_callback",
    "as_choice",
    "as_float",
    "as_int",
    "as_overrides",
    "as_path",
    "as_sizes",
    "as_text",
    "as_texts",
    "as_tokens",
    "check_encodable",
    "is_iterable",
    "surrogate_error",
    "type_name",
]

Tokens: TypeAlias = Iterable[int]
"""Token ids: integers in an order of their own, such as a list or a one-dimensional numpy integer array."""

INT32_MAX: Final = 2**31 - 1
INT32_MIN: Final = -(2**31)
INT64_MAX: Final = 2**63 - 1

_Callback = TypeVar("_Callback")


def type_name(value: object) -> str:
    """The name of the value's type as a user writes it: `str`, `numpy.float32`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def is_iterable(value: object) -> bool:
    """Whether `iter` works on the value. A numpy array without dimensions says so of itself, and does not."""
    return isinstance(value, Iterable) and getattr(value, "ndim", None) != 0


def as_bool(value: object, name: str) -> bool:
    """The value, which must be a bool."""
    if not isinstance(value, bool):
        message = f"`{name}` must be True or False, got {type_name(value)}"
        raise TypeError(message)
    return value


def as_int(value: object, name: str, low: int, high: int | None = None) -> int:
    """An integer (numpy's too, no bool) from `low` to `high`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        message = f"`{name}` must be an int, got {type_name(value)}"
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        message = f"`{name}` must be an int, got {type_name(value)}"
        raise TypeError(message) from None
    if number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None or number < low else f"at most {high}"
        message = f"`{name}` must be {allowed}, got {_shown(number)}"
        raise ValueError(message)
    return number


def as_float(value: object, name: str) -> float:
    """A number (numpy's too, no bool) as a float."""
    refused = isinstance(value, (bool, str, bytes, bytearray)) or getattr(getattr(value, "dtype", None), "kind", None) == "c"
    if refused or not (hasattr(value, "__float__") or hasattr(value, "__index__")) or type(value).__name__ in {"bool", "bool_", "ndarray"}:
        message = f"`{name}` must be a number, got {type_name(value)}"
        raise TypeError(message)
    try:
        return float(value)  # type: ignore[arg-type] # it has one of the two methods that `float` calls
    except TypeError:
        message = f"`{name}` must be a number, got {type_name(value)}"
        raise TypeError(message) from None
    except OverflowError:
        message = f"`{name}` is too large for a float"
        raise ValueError(message) from None


def as_text(value: object, name: str) -> str:
    """The value, which must be a str without halves of characters."""
    if isinstance(value, str):
        if not value.isascii():
            check_encodable(value, name)
        return value
    hint = "; decode it first, for example with `.decode()`" if isinstance(value, (bytes, bytearray, memoryview)) else ""
    message = f"`{name}` must be a str, got {type_name(value)}{hint}"
    raise TypeError(message)


def as_texts(value: object, name: str) -> list[str]:
    """A list of strings from an iterable of them; a single string is refused, and so is a mapping."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not is_iterable(value):
        message = f"`{name}` must be a sequence of str, got {type_name(value)}"
        raise TypeError(message)
    items: Iterable[object] = value  # type: ignore[assignment] # it is one
    return [as_text(item, f"{name}[{index}]") for index, item in enumerate(items)]


def as_tokens(value: object, name: str) -> list[int]:
    """A list of ints from a sequence of token ids or a one-dimensional numpy integer array."""
    if isinstance(value, str):
        message = f"`{name}` must be a sequence of token ids, got str; turn text into tokens with `model.tokenize`"
        raise TypeError(message)
    if isinstance(value, (bytes, bytearray, memoryview)):
        message = f"`{name}` must be a sequence of token ids, got {type_name(value)}; decode text with `.decode()` first, or give a list of ints"
        raise TypeError(message)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        values = _from_array(value, name)
    elif isinstance(value, Iterable) and not isinstance(value, (AbstractSet, Mapping)):
        values = list(value)
    else:
        message = f"`{name}` must be a sequence of token ids, got {type_name(value)}"
        raise TypeError(message)
    if not set(map(type, values)) <= {int}:
        values = [_as_token(item, name, index) for index, item in enumerate(values)]
    if values and not (min(values) >= 0 and max(values) <= INT32_MAX):
        index, token = next((i, t) for i, t in enumerate(values) if not 0 <= t <= INT32_MAX)
        message = f"`{name}[{index}]` is {_shown(token)}, which is no token id; token ids begin with 0 and are below `model.vocab_size()`"
        raise ValueError(message)
    return values


def as_overrides(overrides: object) -> dict[str, int | float | bool | str]:
    """Metadata overrides with plain values."""
    if overrides is None:
        return {}
    if not isinstance(overrides, Mapping):
        message = f"`metadata_overrides` must be a mapping from keys to values, got {type_name(overrides)}"
        raise TypeError(message)
    plain: dict[str, int | float | bool | str] = {}
    for given, value in overrides.items():
        key = as_text(given, "metadata_overrides")
        name = f"metadata_overrides[{key!r:.80}]"
        if isinstance(value, bool):
            plain[key] = value
        elif isinstance(value, str):
            plain[key] = as_text(value, name)
        elif hasattr(value, "__index__"):
            plain[key] = as_int(value, name, -(2**63), 2**63 - 1)
        else:
            plain[key] = as_float(value, name)
    return plain


def as_choice(value: object, name: str, choices: Iterable[str]) -> str:
    """The value, which must be one of the texts in `choices`."""
    text = as_text(value, name)
    known = [f"`{choice}`" for choice in choices]
    if f"`{text}`" not in known:
        message = f"`{name}` must be {', '.join(known[:-1])} or {known[-1]}, got `{text:.80}`"
        raise ValueError(message)
    return text


def as_callback(value: _Callback | None, name: str) -> _Callback | None:
    """The value, which must be a function or None."""
    if value is not None and not callable(value):
        message = f"`{name}` must be a function or None, got {type_name(value)}"
        raise TypeError(message)
    return value


def as_sizes(value: object, name: str) -> tuple[int, ...]:
    """A shape: a tuple of ints that are not negative, from a sequence of them."""
    if isinstance(value, (str, bytes, bytearray, AbstractSet, Mapping)) or not is_iterable(value):
        message = f"`{name}` must be a sequence of ints, got {type_name(value)}"
        raise TypeError(message)
    items: Iterable[object] = value  # type: ignore[assignment] # it is one
    return tuple(as_int(item, f"{name}[{index}]", 0, 2**63 - 1) for index, item in enumerate(items))


def as_path(value: object, name: str) -> str:
    """A path as a str with `~` expanded."""
    if isinstance(value, bytes) or not isinstance(value, (str, os.PathLike)):
        hint = "; decode it with `os.fsdecode`" if isinstance(value, bytes) else ""
        message = f"`{name}` must be a str or os.PathLike, got {type_name(value)}{hint}"
        raise TypeError(message)
    path = os.fspath(value)
    if not isinstance(path, str):
        message = f"`{name}` must be a str or os.PathLike of str, got a path of {type_name(path)}"
        raise TypeError(message)
    if "\0" in path:
        message = f"`{name}` holds a NUL character, which no path can have"
        raise ValueError(message)
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        code = f"U+{ord(error.object[error.start]):04X}"
        message = f"`{name}` holds the character {code} at index {error.start}, which no path of this system can have"
        raise ValueError(message) from None
    return os.path.expanduser(path)  # noqa: PTH111 (`pathlib` would drop a trailing slash and cost an import)


def surrogate_error(error: UnicodeEncodeError, name: str) -> ValueError:
    """What to raise when text cannot be encoded: a `str` may hold halves of UTF-16 pairs, which are no characters."""
    code = f"U+{ord(error.object[error.start]):04X}"
    return ValueError(
        f"`{name}` holds the lone surrogate {code} at index {error.start}, which is no character; replace such characters, "
        'for example with `text.encode("utf-8", "replace").decode()`'
    )


def check_encodable(text: str, name: str) -> str:
    """The text, unless it cannot be encoded.

    Raises:
        ValueError: it holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise surrogate_error(error, name) from None
    return text


def _shown(number: int) -> str:
    """An integer for an error's text; Python refuses to write very long ones."""
    return f"`{number}`" if number.bit_length() <= 128 else f"an integer of {number.bit_length():,} bits"


def _as_token(value: Any, name: str, index: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        message = f"`{name}[{index}]` must be an int, got {type_name(value)}"
        raise TypeError(message)
    try:
        return operator.index(value)
    except TypeError:
        message = f"`{name}[{index}]` must be an int, got {type_name(value)}"
        raise TypeError(message) from None


def _from_array(value: Any, name: str) -> list[int]:
    """The items of something like a numpy array; numpy itself is not needed for that."""
    kind, dimensions = getattr(value.dtype, "kind", "?"), getattr(value, "ndim", 1)
    if kind not in {"i", "u"} or dimensions != 1:
        message = f"`{name}` must be a one-dimensional integer array, got {dimensions} dimensions of `{value.dtype}`"
        raise TypeError(message)
    items: list[int] = value.tolist()
    return items
