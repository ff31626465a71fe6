"""`gguf.Imatrix`: importance matrices of both forms."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tabagent import GgufError, gguf

SUMS = np.array([[2, 4], [6, 8], [5, 5]], dtype=np.float32)
COUNTS = np.array([[2], [4], [0]], dtype=np.float32)


def write_gguf(path: Path, *, sums: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = SUMS) -> Path:
    writer = gguf.GgufWriter()
    writer.set("general.type", "imatrix")
    writer.set("imatrix.datasets", ["wiki.txt"])
    writer.set("imatrix.chunk_count", 3)
    writer.set("imatrix.chunk_size", 512)
    writer.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", sums)
    writer.add_tensor("blk.0.ffn_up_exps.weight.counts", COUNTS)
    writer.write(path)
    return path


def test_a_matrix_is_a_mapping_of_importances(tmp_path: Path) -> None:
    matrix = gguf.Imatrix(write_gguf(tmp_path / "imatrix.gguf"))
    assert list(matrix) == ["blk.0.ffn_up_exps.weight"]
    assert matrix["blk.0.ffn_up_exps.weight"].tolist() == [1, 2, 1.5, 2, 1, 1]
    assert matrix["blk.0.ffn_up_exps.weight"].dtype == np.float32
    assert (matrix.datasets, matrix.chunks, matrix.chunk_size, len(matrix)) == (["wiki.txt"], 3, 512, 1)
    assert matrix.get("output.weight") is None
    with pytest.raises(KeyError):
        matrix["output.weight"]
    assert repr(matrix) == "<Imatrix: 1 tensors, 3 chunks>"


def test_older_files_are_read_and_rewritten(tmp_path: Path) -> None:
    name, values = b"blk.0.attn_q.weight", (3.0, 6.0)
    data = struct.pack(f"<ii{len(name)}sii2f", 1, len(name), name, 3, 2, *values) + struct.pack("<ii4s", 3, 4, b"text")
    (tmp_path / "old.dat").write_bytes(data)
    old = gguf.Imatrix(tmp_path / "old.dat")
    old.write(tmp_path / "new.gguf")
    for matrix in (old, gguf.Imatrix(tmp_path / "new.gguf")):
        assert {key: value.tolist() for key, value in matrix.items()} == {"blk.0.attn_q.weight": [1.0, 2.0]}
        assert (matrix.datasets, matrix.chunks) == (["text"], 3)
    (tmp_path / "cut.dat").write_bytes(data[:30])
    with pytest.raises(GgufError, match="cut off"):
        gguf.Imatrix(tmp_path / "cut.dat")


def test_matrices_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="importance `NaN`") as caught:
        gguf.Imatrix(write_gguf(tmp_path / "bad.gguf", sums=np.full((3, 2), np.nan, dtype=np.float32)))
    assert caught.value.tensor == "blk.0.ffn_up_exps.weight.in_sum2"
    with pytest.raises(GgufError, match="importance `-1`"):
        gguf.Imatrix.of({"t": [-1.0]})
    with pytest.raises(FileNotFoundError):
        gguf.Imatrix(tmp_path / "none")
