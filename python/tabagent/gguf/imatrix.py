"""Importance matrices: how much each column of a tensor counts when its weights are rounded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tabagent import _native
from tabagent._arguments import as_path, as_text, type_name
from tabagent.gguf.numbers import as_floats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Imatrix"]


class Imatrix(Mapping[str, "NDArray[np.float32]"]):
    """An importance matrix: a mapping from names of tensors to the importances of their columns, for experts one after the other.

        from tabagent import gguf

        matrix = gguf.Imatrix("imatrix.gguf")
        print(matrix.datasets, matrix.chunks, len(matrix))
        blocks = gguf.quantize(weights, "Q4_K", importance=matrix["blk.0.attn_q.weight"])

    Reads what `llama-imatrix` writes: GGUF, and the older `.dat` form. The importance of a column is the mean of the squares of what it is
    multiplied with, as `llama-quantize` computes it; those of an expert that no token chose are 1.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file at `path`; it must not be cut off while this object lives.

        Raises:
            GgufError: it is no importance matrix, or breaks a rule; the message says where and which.
            OSError: it cannot be read.
        """
        self._native = _native.GgufImatrix.open(as_path(path, "path"))

    @classmethod
    def of(cls, importances: Mapping[str, ArrayLike]) -> Imatrix:
        """A matrix of importances that were computed elsewhere.

        Raises:
            TypeError: it is no mapping, a name is no text, or an importance no real number.
            GgufError: one is negative, infinite or NaN, or a tensor has none.
        """
        if not isinstance(importances, Mapping):
            message = f"`importances` must be a mapping from names of tensors to numbers, got {type_name(importances)}"
            raise TypeError(message)
        matrix = cls.__new__(cls)
        entries = [
            (as_text(name, "importances key"), as_floats(values, f"`importances[{name!r:.80}]`").reshape(-1)) for name, values in importances.items()
        ]
        matrix._native = _native.GgufImatrix.from_importances(entries)  # noqa: SLF001 (its own class)
        return matrix

    @property
    def datasets(self) -> list[str]:
        """The texts that the model was run on, by the names that the tool was given; none if the file does not say."""
        return self._native.datasets

    @property
    def chunks(self) -> int:
        """How many chunks of text the model was run on; 0 if the file does not say."""
        return self._native.n_chunks

    @property
    def chunk_size(self) -> int:
        """Tokens in a chunk; 0 if the file does not say, as in the `.dat` form."""
        return self._native.chunk_size

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the matrix as GGUF, in one step.

        Raises:
            GgufError: a name is too long for the format.
            OSError: the system refuses.
        """
        self._native.write(as_path(path, "path"))

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        try:
            found = self._native.importances(as_text(name, "name"))
        except (TypeError, ValueError):  # what no name can be
            found = None
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._native.names)

    def __len__(self) -> int:
        return len(self._native.names)

    def __repr__(self) -> str:
        return f"<Imatrix: {len(self)} tensors, {self.chunks} chunks>"
