"""BitNet files with `I2_S` tensors, rewritten, compute in an unmodified llama.cpp what the weights in F32 do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_bitnet import MATRICES, write_f32, write_i2_s
from tabagent import Model, gguf

pytestmark = pytest.mark.model


def logits(path: Path) -> np.ndarray[Any, Any]:
    with Model.load(path, threads=1) as model, model.create_context(context_size=64, threads=1) as context:
        context.decode([1, 260, 262, 263, 264])
        return context.logits()


def test_rewritten_bitnet_files_compute_the_same(tmp_path: Path) -> None:
    f32 = write_f32(tmp_path)
    source = gguf.open(f32)
    i2_s = write_i2_s(f32, tmp_path / "i2_s.gguf")

    done = gguf.convert(i2_s, tmp_path / "tq2_0.gguf")
    assert (done.architecture, done.type) == ("bitnet", "TQ2_0")
    gguf.quantize_model(i2_s, tmp_path / "quantized.gguf", "TQ2_0", token_embedding_type="F32")  # noqa: S106 (a type of numbers)
    for file in ("tq2_0.gguf", "quantized.gguf"):
        rewritten = gguf.open(tmp_path / file)
        for name in MATRICES:
            weights = rewritten.tensors[f"blk.0.{name}.weight"].dequantize() * rewritten.tensors[f"blk.0.{name}.scale"].numpy()
            assert np.array_equal(weights, source.tensors[f"blk.0.{name}.weight"].numpy()), name

    expected, found = logits(f32), logits(tmp_path / "tq2_0.gguf")
    # llama.cpp rounds activations to 8 bits before it multiplies them with TQ2_0.
    assert np.dot(expected, found) / np.linalg.norm(expected) / np.linalg.norm(found) > 0.999
    assert np.array_equal(found, logits(tmp_path / "quantized.gguf"))
