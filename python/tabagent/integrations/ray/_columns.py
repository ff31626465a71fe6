"""Columns of Ray Data's batches: from cells to what a model reads, and from what it wrote to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tabagent._arguments import type_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Batch", "Conversation", "column_of", "input_of", "with_columns"]

Batch: TypeAlias = "dict[str, NDArray[Any]]"
"""A batch in Ray Data's format `numpy`: an array for each column."""


class Conversation(list[dict[str, Any]]):
    """The messages of a cell."""


def column_of(batch: Mapping[str, Any], name: str) -> NDArray[Any]:
    """A column of a batch.

    Raises:
        TypeError: the batch is none of Ray Data's format `numpy`.
        ValueError: it has no such column.
    """
    if not isinstance(batch, Mapping):
        message = f'a batch must be a dict of arrays, got {type_name(batch)}; leave `batch_format` of `map_batches` at "numpy"'
        raise TypeError(message)
    if name not in batch:
        message = f"the dataset has no column `{name}`, only {', '.join(f'`{each}`' for each in batch) or 'none'}; name the right one as `column`"
        raise ValueError(message)
    found: NDArray[Any] = np.asarray(batch[name])
    return found


def input_of(cell: Any) -> str | list[int] | Conversation:
    """A prompt, its tokens, or a conversation, as Arrow gave it to Ray Data: lists as arrays, and None for each key that another message has."""
    if isinstance(cell, str):
        return str(cell)
    plain = _plain(cell)
    if isinstance(plain, list) and plain and all(isinstance(each, dict) for each in plain):
        return Conversation(plain)
    if isinstance(plain, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in plain):
        return plain
    message = f"a cell must be a text, a list of tokens or a list of messages, got {type_name(cell)}"
    raise TypeError(message)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(each) for each in value]
    return value


def with_columns(batch: Mapping[str, Any], made: Mapping[str, NDArray[Any]], prefix: str) -> Batch:
    """A batch with more columns.

    Raises:
        ValueError: it has one of them already.
    """
    named = {prefix + name: column for name, column in made.items()}
    if taken := named.keys() & batch.keys():
        message = f"the dataset has a column `{min(taken)}` already; give a `prefix` for those that are added, such as `answer_`"
        raise ValueError(message)
    return {**batch, **named}
