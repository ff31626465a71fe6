"""BitNet files with `I2_S` tensors, rewritten, compute in an unmodified llama.cpp what the weights in F32 do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_checkpoints import bitnet
from tabagent import Model, gguf

pytestmark = pytest.mark.model

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def packed(weights: np.ndarray[Any, Any]) -> bytes:
    """Weights of -s, 0 and s as the x86 files of Microsoft's fork hold them: 32 bytes for 128, then s and 28 bytes more."""
    scale = np.abs(weights).max()
    digits = (np.round(weights / scale) + 1).astype(np.uint8).reshape(-1, 4, 32)
    groups = digits[:, 0] << 6 | digits[:, 1] << 4 | digits[:, 2] << 2 | digits[:, 3]
    blocks: bytes = groups.tobytes() + np.float32(scale).tobytes() + bytes(28)
    return blocks


def logits(path: Path) -> np.ndarray[Any, Any]:
    with Model.load(path, threads=1) as model, model.create_context(context_size=64, threads=1) as context:
        context.decode([1, 260, 262, 263, 264])
        return context.logits()


def test_rewritten_bitnet_files_compute_the_same(tmp_path: Path) -> None:
    gguf.convert(bitnet().write(tmp_path / "model"), tmp_path / "f32.gguf", out_type="f32")
    source = gguf.open(tmp_path / "f32.gguf")
    writer = gguf.GgufWriter()
    for key, value in source.metadata.items():
        writer.set(key, value, type=source.metadata.type(key))
    for tensor in source.tensors:
        is_matrix = tensor.name.removesuffix(".weight").rpartition(".")[2] in MATRICES
        data: Any = packed(tensor.numpy()) if is_matrix else tensor.raw
        writer.add_tensor(tensor.name, data, type="I2_S" if is_matrix else "F32", shape=tensor.shape)
    writer.write(tmp_path / "i2_s.gguf")

    done = gguf.convert(tmp_path / "i2_s.gguf", tmp_path / "tq2_0.gguf")
    assert (done.architecture, done.type) == ("bitnet", "TQ2_0")
    rewritten = gguf.open(tmp_path / "tq2_0.gguf")
    for name in MATRICES:
        weights = rewritten.tensors[f"blk.0.{name}.weight"].dequantize() * rewritten.tensors[f"blk.0.{name}.scale"].numpy()
        assert np.array_equal(weights, source.tensors[f"blk.0.{name}.weight"].numpy()), name

    expected, found = logits(tmp_path / "f32.gguf"), logits(tmp_path / "tq2_0.gguf")
    # llama.cpp rounds activations to 8 bits before it multiplies them with TQ2_0.
    assert np.dot(expected, found) / np.linalg.norm(expected) / np.linalg.norm(found) > 0.999
