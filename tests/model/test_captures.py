"""Tensors inside of the model: that they are those that it computes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from support.tiny_lora import TOKENS, untied_llama
from support.tiny_models import HEADS, KV_HEADS, LAYERS, WIDTH
from tabagent import Model, OutOfMemoryError

EXACT: Final[dict[str, Any]] = {"context_size": 64, "threads": 1, "kv_type": "f32", "flash_attention": "off"}
N: Final = len(TOKENS)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    path = tmp_path / "model.gguf"
    path.write_bytes(untied_llama().to_bytes())
    with Model.load(path, context_size=64, threads=1) as made:
        yield made


def test_the_output_of_the_last_layer_gives_the_logits(model: Model) -> None:
    image = untied_llama()
    output = np.frombuffer(next(t.data for t in image.tensors if t.name == "output.weight"), np.float32).reshape(-1, WIDTH)
    with model.create_context(**EXACT, captures=["l_out-*", "result_norm"]) as context:
        assert context.captures == {}
        context.decode(TOKENS, logits="all")
        found = context.captures
        assert set(found) == {*(f"l_out-{layer}" for layer in range(LAYERS)), "result_norm"}
        for array in found.values():
            assert array.shape == (N, WIDTH)
            assert array.dtype == np.dtype(np.float32)
            assert array.flags.writeable
        logits = np.stack([context.logits(index) for index in range(N)])
    last = found[f"l_out-{LAYERS - 1}"]
    # The weights of all norms are 1.
    normed = last / np.sqrt((last.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5)
    assert np.abs(normed - found["result_norm"]).max() < 1e-4
    assert np.abs(normed @ output.T - logits).max() < 1e-3


def test_embeddings_and_projections_are_those_of_numpy(model: Model) -> None:
    weights = {t.name: np.frombuffer(t.data, np.float32).reshape(t.shape[::-1]) for t in untied_llama().tensors}
    with model.create_context(**EXACT, captures=["embd", "Vcur-0", "ffn_up-0", "ffn_norm-0"]) as context:
        context.decode(TOKENS, logits="all")
        found = context.captures
    embeddings = weights["token_embd.weight"][list(TOKENS)]
    assert np.array_equal(found["embd"], embeddings)
    normed = embeddings / np.sqrt((embeddings.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5)
    values = (normed @ weights["blk.0.attn_v.weight"].T).reshape(N, KV_HEADS, WIDTH // HEADS)
    assert found["Vcur-0"].size == values.size
    assert np.abs(found["Vcur-0"].reshape(values.shape) - values).max() < 1e-4
    assert np.abs(found["ffn_norm-0"] @ weights["blk.0.ffn_up.weight"].T - found["ffn_up-0"]).max() < 1e-4


def test_logits_are_the_same_with_and_without(model: Model) -> None:
    with model.create_context(**EXACT) as plain, model.create_context(**EXACT, captures=["*"]) as watched:
        plain.decode(TOKENS)
        watched.decode(TOKENS)
        assert np.array_equal(plain.logits(), watched.logits())
        assert len(watched.captures) > 20 * LAYERS


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_micro_batches_are_joined_in_order(micro: int, model: Model) -> None:
    with model.create_context(**EXACT, captures=["l_out-*"]) as context:
        context.decode(TOKENS, logits="all")
        whole = context.captures
    with model.create_context(**EXACT, captures=["l_out-*"], micro_batch_size=micro) as context:
        context.decode(TOKENS, logits="all")
        parts = context.captures
        assert parts.keys() == whole.keys()
        for name in whole:
            assert np.allclose(parts[name], whole[name], atol=1e-4)
        # The next decode has its own alone, as it has its own logits.
        context.decode(TOKENS[:3])
        assert context.captures["l_out-0"].shape == (3, WIDTH)
        assert context.captures[f"l_out-{LAYERS - 1}"].shape == (1, WIDTH)
        with pytest.raises(ValueError, match="position"):
            context.decode([5], positions=[60])
        assert context.captures == {}


def test_tensors_of_more_dimensions_are_whole_or_refused(model: Model) -> None:
    with model.create_context(**EXACT, captures=["Qcur-0"]) as context:
        context.decode(TOKENS)
        assert context.captures["Qcur-0"].shape == (N, HEADS, WIDTH // HEADS)
    with model.create_context(**EXACT, captures=["Qcur-0"], micro_batch_size=3) as context:
        context.decode(TOKENS[:3])
        with pytest.raises(ValueError, match="`Qcur-0` was computed in 3 micro-batches"):
            context.decode(TOKENS)
        assert context.captures == {}


def test_attention_sums_to_one(model: Model) -> None:
    with model.create_context(**EXACT, captures=["kq_soft_max-*"]) as context:
        context.decode(TOKENS)
        weights = context.captures["kq_soft_max-0"]
    assert weights.shape[:2] == (HEADS, N)
    assert np.abs(weights.sum(axis=2) - 1).max() < 1e-5
    assert weights[:, 0, 0].min() == 1
    assert weights[:, :, N:].max() == 0


def test_a_pattern_without_a_tensor_is_an_error_that_names_some(model: Model) -> None:
    with model.create_context(**EXACT, captures=["l_out-0", "l_aus-*"]) as context:
        with pytest.raises(ValueError, match=r"no tensor matches `l_aus-\*`") as caught:
            context.decode(TOKENS)
        assert "`l_out-0`" in str(caught.value)
        assert context.captures == {}
        with pytest.raises(ValueError, match="no logits"):
            context.logits()


@pytest.mark.parametrize("pattern", ["l_out-[", "a***b", "[z-a"])
def test_broken_patterns_are_refused(pattern: str, model: Model) -> None:
    with pytest.raises(ValueError, match="captures"):
        model.create_context(captures=[pattern])


def test_arguments_have_their_types(model: Model) -> None:
    wrong: list[dict[str, Any]] = [{"captures": "l_out-*"}, {"captures": [1]}, {"captures": None}, {"capture_limit": 1.5}, {"capture_limit": True}]
    for options in wrong:
        with pytest.raises(TypeError, match="capture"):
            model.create_context(**options)
    with pytest.raises(ValueError, match="capture_limit"):
        model.create_context(capture_limit=0)


def test_more_than_the_limit_is_an_error_and_the_context_goes_on(model: Model) -> None:
    rows = 3
    limit = 4 * WIDTH * rows * LAYERS
    with model.create_context(**EXACT, captures=["l_out-*"], capture_limit=limit) as context:
        context.decode(TOKENS[:rows], logits="all")
        wanted = context.captures
        context.clear()
        with pytest.raises(OutOfMemoryError, match="raise `capture_limit`"):
            context.decode(TOKENS, logits="all")
        assert context.captures == {}
        with pytest.raises(ValueError, match="no logits"):
            context.logits()
        context.clear()
        context.decode(TOKENS[:rows], logits="all")
        assert all(np.array_equal(context.captures[name], wanted[name]) for name in wanted)


def test_a_real_model_is_watched(smollm2: Model) -> None:
    tokens = smollm2.tokenize("Once upon a time there was a fox")
    with smollm2.create_context(context_size=64, threads=1, captures=["l_out-*", "embd"]) as context:
        context.decode(tokens)
        found = context.captures
    assert set(found) == {"embd", *(f"l_out-{layer}" for layer in range(30))}
    assert all(found[f"l_out-{layer}"].shape == (len(tokens), 576) for layer in range(29))
    assert found["l_out-29"].shape == (1, 576)
    assert all(np.isfinite(array).all() for array in found.values())
