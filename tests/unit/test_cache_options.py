"""How a context keeps keys and values: every pair of types, fused attention, shared and separate cells, and what is refused of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.gguf_image import U32, number
from support.tiny_models import tiny_llama
from support.wide_models import wide_llama
from tabagent import ContextFullError, Model, StateError

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
BLOCKS = TYPES[3:]
TOKENS = [1, *range(40, 100)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    wide_llama().write(path)
    with Model.load(path, threads=1) as model:
        yield model


def logits(model: Model, **options: Any) -> NDArray[np.float32]:
    with model.create_context(context_size=256, threads=1, **options) as context:
        context.decode(TOKENS[:32])
        context.decode(TOKENS[32:])
        return context.logits()


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_every_pair_of_types_gives_nearly_the_same_logits(wide: Model) -> None:
    exact = logits(wide, kv_type="f32", flash_attention="off")
    coarse: dict[tuple[str, str], float] = {}
    for keys, values in itertools.product(TYPES, TYPES):
        coarse[keys, values] = distance(logits(wide, kv_type=(keys, values)), exact)
    assert max(coarse.values()) < 0.2
    assert coarse["f32", "f32"] < 2e-3
    assert coarse["q8_0", "q8_0"] < coarse["q4_0", "q4_0"]
    # Each half of a pair counts.
    assert coarse["q4_0", "f16"] > 2 * coarse["f16", "f16"]
    assert coarse["f16", "q4_0"] > 2 * coarse["f16", "f16"]
    assert coarse["f16", "q4_0"] != coarse["q4_0", "f16"]


@pytest.mark.parametrize("keys", TYPES)
def test_keys_of_any_type_work_without_fused_attention(wide: Model, keys: str) -> None:
    exact = logits(wide, kv_type="f32", flash_attention="off")
    assert distance(logits(wide, kv_type=(keys, "f16"), flash_attention="off"), exact) < 0.2


@pytest.mark.parametrize("values", BLOCKS)
@pytest.mark.parametrize("keys", ["f16", "q8_0"])
def test_values_in_blocks_need_fused_attention(wide: Model, keys: str, values: str) -> None:
    with pytest.raises(ValueError, match=f"`kv_type` `{values}` needs fused attention; leave `flash_attention` on `auto`"):
        wide.create_context(kv_type=(keys, values), flash_attention="off")
    assert logits(wide, kv_type=(keys, values), flash_attention="on").shape == (wide.vocab_size(),)


@pytest.mark.parametrize("flash_attention", ["auto", "on", "off"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_each_half_must_divide_the_heads(tmp_path: Path, kind: str, flash_attention: Any) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with Model.load(path, threads=1) as model:
        for pair in ((kind, "f16"), ("f16", kind)):
            wanted = f"`kv_type` `{kind}` (stores blocks of 32 numbers, and this model has heads of 8|needs fused attention)"
            with pytest.raises(ValueError, match=wanted):
                model.create_context(kv_type=pair, flash_attention=flash_attention)


def test_models_that_keep_keys_and_values_as_one_take_one_type(tmp_path: Path) -> None:
    image = tiny_llama()
    # Metadata alone decides, so this works on a model of another kind.
    image.set("llama.attention.kv_lora_rank", number(U32, 8))
    path = tmp_path / "latent.gguf"
    path.write_bytes(image.to_bytes())
    with Model.load(path, threads=1) as model, pytest.raises(ValueError, match="`llama` keeps both as one, so take one type for both"):
        model.create_context(kv_type=("f32", "f16"))


@pytest.mark.parametrize(
    ("kv_type", "error", "says"),
    [
        (None, TypeError, "`kv_type` must be a str, or a pair"),
        (8, TypeError, "`kv_type` must be a str, or a pair"),
        (("f16",), ValueError, "got 1 types"),
        (("f16", "f16", "f16"), ValueError, "got 3 types"),
        (("f16", None), TypeError, r"`kv_type\[1\]` must be a str"),
        (("f17", "f16"), ValueError, "unknown `kv_type` `f17`"),
        (("f16", "\ud800"), ValueError, r"`kv_type\[1\]`"),
        ({"f16", "f32"}, TypeError, "`kv_type` must be a str, or a pair"),
    ],
)
def test_types_that_are_none_are_refused(wide: Model, tmp_path: Path, kv_type: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        wide.create_context(kv_type=kv_type)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(error, match=says):
        Model.load(path, kv_type=kv_type)


@pytest.mark.parametrize("option", ["kv_unified", "offload_kv", "offload_ops", "full_sliding_window"])
def test_switches_are_bools(wide: Model, tmp_path: Path, option: str) -> None:
    wrong: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError, match=f"`{option}` must be True or False"):
        wide.create_context(**wrong)
    with pytest.raises(TypeError, match=f"`{option}` must be True or False"):
        Model.load(tmp_path / "none.gguf", **wrong)


def test_offloading_can_be_switched_off(wide: Model) -> None:
    assert np.array_equal(logits(wide, offload_kv=False, offload_ops=False), logits(wide))


def test_sequences_with_cells_of_their_own_compute_the_same(wide: Model) -> None:
    def both(*, kv_unified: bool) -> list[NDArray[np.float32]]:
        with wide.create_context(context_size=512, max_sequences=2, threads=1, kv_unified=kv_unified) as context:
            context.decode(TOKENS, sequence=0)
            first = context.logits()
            context.copy_sequence(0, 1)
            context.decode([7, 8], sequence=1)
            return [first, context.logits()]

    for split, shared in zip(both(kv_unified=False), both(kv_unified=True), strict=True):
        assert distance(split, shared) < 1e-3


def test_a_sequence_with_cells_of_its_own_cannot_take_those_of_others(wide: Model) -> None:
    with wide.create_context(context_size=512, max_sequences=2, threads=1, kv_unified=False) as context:
        assert (context.context_size, context.sequence_size) == (512, 256)
        context.decode([5] * 256)
        with pytest.raises(ContextFullError, match="256"):
            context.decode([5])
        context.decode([5] * 256, sequence=1)
    with wide.create_context(context_size=512, max_sequences=2, threads=1) as context:
        assert (context.context_size, context.sequence_size) == (512, 512)
        context.decode([5] * 512)


def test_separate_cells_are_rounded_up(wide: Model) -> None:
    with wide.create_context(context_size=300, max_sequences=3, threads=1, kv_unified=False) as context:
        assert (context.context_size, context.sequence_size) == (768, 256)
        for sequence in range(3):
            context.decode([5] * 200, sequence=sequence)


def test_a_token_of_several_sequences_needs_shared_cells(wide: Model) -> None:
    with wide.create_context(context_size=512, max_sequences=2, threads=1, kv_unified=False) as context:
        with pytest.raises(ValueError, match=r"token 0 belongs to several sequences.* make the context with `kv_unified`"):
            context.decode([5], sequences=[0, 1])
        context.decode([5], sequences=[1])


def test_states_belong_to_the_types_and_cells_they_were_saved_with(wide: Model) -> None:
    def context(**options: Any) -> Any:
        return wide.create_context(context_size=512, max_sequences=2, threads=1, **options)

    with context(kv_type=("f16", "q8_0")) as source:
        source.decode(TOKENS)
        state = source.save_state()
    with context(kv_type=("f16", "q8_0")) as same:
        same.load_state(state)
        assert same.next_position() == len(TOKENS)
    with context(kv_type="f16") as other, pytest.raises(StateError, match="kv_type `f16 and q8_0` and this context has `f16`"):
        other.load_state(state)
    with context(kv_type=("f16", "q8_0"), kv_unified=False) as apart, pytest.raises(StateError, match="kv_unified `true`"):
        apart.load_state(state)
    with context(kv_unified=False) as source:
        source.decode(TOKENS, sequence=1)
        state = source.save_state()
    with context(kv_unified=False) as same:
        same.load_state(state)
        assert (same.next_position(0), same.next_position(1)) == (0, len(TOKENS))


@pytest.mark.parametrize("options", [{"kv_type": "q8_0"}, {"kv_type": ("q8_0", "f16"), "flash_attention": "off"}, {"micro_batch_size": 16}])
def test_a_model_is_loaded_with_the_options(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "wide.gguf"
    wide_llama().write(path)
    with Model.load(path, threads=1, context_size=64, **options) as model:
        assert len(model.generate([1, 50], max_tokens=8, ignore_eos=True).result().tokens) == 8


def test_loading_refuses_what_contexts_do(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    wide_llama().write(path)
    with pytest.raises(ValueError, match="`kv_type` `q4_0` needs fused attention"):
        Model.load(path, threads=1, kv_type=("f16", "q4_0"), flash_attention="off")
    with pytest.raises(ValueError, match="`flash_attention` must be `auto`, `on` or `off`, got `maybe`"):
        Model.load(path, threads=1, flash_attention="maybe")  # type: ignore[arg-type] # what is tested
