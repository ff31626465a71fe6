"""Adapters and control vectors with SmolLM2, whose weights are quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from support.real_adapters import write_adapter, write_control_vector
from tabagent import Context, Model, gguf

EXACT: Final[dict[str, Any]] = {"context_size": 64, "threads": 1, "kv_type": "f32", "flash_attention": "off"}
TEXT: Final = "Once upon a time there was a fox"


def logits(model: Model, context: Context) -> NDArray[np.float32]:
    context.clear()
    context.decode(model.tokenize(TEXT))
    return context.logits()


def merged_logits(base: Path, adapter: Path, out: Path) -> NDArray[np.float32]:
    gguf.merge_lora(base, adapter, out, out_type="f32")
    with Model.load(out, context_size=64, threads=1) as merged, merged.create_context(**EXACT) as context:
        return logits(merged, context)


def test_an_adapter_beside_quantized_weights_does_what_the_merged_model_does(smollm2: Model, smollm2_path: Path, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.gguf", smollm2_path, size=0.05)
    with smollm2.load_adapter(path) as adapter, smollm2.create_context(**EXACT) as context:
        assert (adapter.tensors, adapter.rank, adapter.alpha) == (90, 4, 8.0)
        bare = logits(smollm2, context)
        context.set_adapters(adapter)
        beside = logits(smollm2, context)
        context.set_adapters(None)
        assert np.array_equal(logits(smollm2, context), bare)
    merged = merged_logits(smollm2_path, path, tmp_path / "merged.gguf")
    # The merged model multiplies the changed matrices in F32; with the adapter beside it, the same matrices stay Q4_1, for which llama.cpp rounds the
    # activations to 8 bits. An adapter of nothing shows how far the two are apart for that reason alone.
    nothing = write_adapter(tmp_path / "nothing.gguf", smollm2_path, size=0)
    rounding = np.abs(merged_logits(smollm2_path, nothing, tmp_path / "unchanged.gguf") - bare).mean()
    assert np.abs(beside - merged).mean() < 2 * rounding
    assert np.abs(beside - bare).mean() > 3 * rounding, "the adapter does something"


def test_an_adapter_of_f32_weights_gives_the_logits_of_the_merged_model(smollm2_path: Path, tmp_path: Path) -> None:
    base, path = tmp_path / "base.gguf", write_adapter(tmp_path / "a.gguf", smollm2_path, size=0.05)
    gguf.quantize_model(smollm2_path, base, "F32", allow_requantize=True)
    with Model.load(base, context_size=64, threads=1) as model, model.create_context(**EXACT) as context:
        bare = logits(model, context)
        context.set_adapters(model.load_adapter(path))
        beside = logits(model, context)
    merged = merged_logits(base, path, tmp_path / "merged.gguf")
    for large in (base, tmp_path / "merged.gguf"):
        large.unlink()
    assert np.abs(beside - merged).max() < 1e-3
    assert np.abs(beside - bare).max() > 1, "the adapter does something"


def test_a_control_vector_moves_a_real_model_and_lets_go(smollm2: Model, smollm2_path: Path, tmp_path: Path) -> None:
    vector = smollm2.load_control_vector(write_control_vector(tmp_path / "v.gguf", smollm2_path))
    assert len(vector.layers) == 29
    with smollm2.create_context(**EXACT, captures=["l_out-12"]) as context:
        bare = logits(smollm2, context)
        before = context.captures["l_out-12"]
        context.set_control_vector(vector, layers=(12, 12))
        moved = logits(smollm2, context)
        # A single addition in F32, for every token.
        difference = context.captures["l_out-12"] - before
        assert np.allclose(difference, difference[0], atol=1e-2)
        assert np.abs(moved - bare).max() > 0.01
        context.set_control_vector(None)
        assert np.array_equal(logits(smollm2, context), bare)
