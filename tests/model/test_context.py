"""Contexts of one's own."""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_models import tiny_llama
from tabagent import ClosedError, Context, ContextFullError, Model, StateError

PROMPT = "Once upon a time"


@pytest.fixture
def context(smollm2: Model) -> Iterator[Context]:
    with smollm2.create_context(context_size=256, max_sequences=3, threads=1) as made:
        yield made


def test_greedy_by_hand_is_generate(smollm2: Model, context: Context) -> None:
    from tabagent import SamplerConfig

    wanted = smollm2.generate(PROMPT, max_tokens=8, sampling=SamplerConfig.greedy()).result().tokens
    context.decode(smollm2.tokenize(PROMPT))
    tokens = []
    for _ in range(8):
        tokens.append(int(context.logits().argmax()))
        context.decode(tokens[-1:])
    assert tuple(tokens) == wanted


def test_logits_are_one_float_for_each_token(smollm2: Model, context: Context) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    logits = context.logits()
    assert logits.shape == (smollm2.vocab_size(),)
    assert logits.dtype == np.dtype(np.float32)
    assert np.isfinite(logits).all()
    assert logits.flags.writeable


@pytest.mark.parametrize("numpy_flags", [False, True])
def test_logits_can_be_asked_for_each_token(smollm2: Model, context: Context, *, numpy_flags: bool) -> None:
    tokens = smollm2.tokenize(PROMPT)
    context.decode(tokens, logits="all")
    every = [context.logits(index) for index in range(len(tokens))]
    assert np.array_equal(context.logits(-1), every[-1])
    context.clear()
    flags = [True, False, True, False][: len(tokens)]
    context.decode(tokens, logits=np.array(flags) if numpy_flags else flags)  # type: ignore[arg-type]
    assert np.allclose(context.logits(0), every[0], atol=1e-2)
    with pytest.raises(ValueError, match="logits"):
        context.logits(1)
    context.clear()
    context.decode(tokens, logits="none")
    with pytest.raises(ValueError, match="logits"):
        context.logits()


def test_view_pins_the_context(smollm2: Model, context: Context) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    copy = context.logits()
    view = context.logits(copy=False)
    assert np.array_equal(view, copy)
    assert not view.flags.writeable
    part = view[:10]
    with pytest.raises(BufferError):
        context.decode([5])
    del view
    with pytest.raises(BufferError):
        context.decode([5])
    del part
    gc.collect()
    context.decode([5])
    assert not np.array_equal(context.logits(), copy)


def test_state_round_trip(smollm2: Model, context: Context, tmp_path: Path) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    state = context.save_state()
    assert isinstance(state, bytes)
    assert context.save_state(tmp_path / "state") is None
    context.decode([42])
    wanted = context.logits()
    for source in (state, bytearray(state), memoryview(state), tmp_path / "state", str(tmp_path / "state")):
        context.clear()
        context.load_state(source)
        assert context.next_position() == len(smollm2.tokenize(PROMPT))
        context.decode([42])
        assert np.array_equal(context.logits(), wanted)


def test_state_of_another_model_is_refused(smollm2: Model, gemma: Model, context: Context) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    state = context.save_state()
    assert state is not None
    with gemma.create_context(context_size=256, threads=1) as other, pytest.raises(StateError, match="model"):
        other.load_state(state)


@pytest.mark.parametrize("place", [0, 8, 100, -1])
def test_damaged_state_is_refused_and_nothing_is_lost(smollm2: Model, context: Context, place: int) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    state = context.save_state()
    assert state is not None
    damaged = bytearray(state)
    damaged[place] ^= 1
    with pytest.raises(StateError):
        context.load_state(damaged)
    with pytest.raises(StateError):
        context.load_state(state[: len(state) // 2])
    with pytest.raises(StateError):
        context.load_state(b"")
    assert context.next_position() == len(smollm2.tokenize(PROMPT))
    with pytest.raises(FileNotFoundError):
        context.load_state("/there/is/no/such/state")


def test_sequences_are_copied_and_cut(smollm2: Model, context: Context) -> None:
    tokens = smollm2.tokenize(PROMPT)
    context.decode(tokens)
    context.copy_sequence(0, 1)
    assert context.next_position(1) == len(tokens)
    context.remove(0, start=2)
    assert (context.next_position(0), context.next_position(1)) == (2, len(tokens))
    context.decode(tokens[2:], sequence=0)
    context.decode([7], sequence=0)
    one = context.logits()
    context.decode([7], sequence=1)
    assert np.allclose(one, context.logits(), atol=0.1)
    context.remove(1)
    assert context.next_position(1) == 0


def test_clone_is_independent(smollm2: Model, context: Context) -> None:
    context.decode(smollm2.tokenize(PROMPT))
    with context.clone() as clone:
        context.decode([9])
        clone.decode([9])
        assert np.array_equal(context.logits(), clone.logits())
        clone.clear()
        assert context.next_position() == len(smollm2.tokenize(PROMPT)) + 1


def test_closed_context_says_so(smollm2: Model) -> None:
    context = smollm2.create_context(context_size=64)
    context.close()
    context.close()
    assert context.closed
    assert repr(context) == "<Context closed>"
    with pytest.raises(ClosedError):
        context.decode([1])
    with pytest.raises(ClosedError):
        context.save_state()


def test_full_context_is_an_error(smollm2: Model) -> None:
    with smollm2.create_context(context_size=256, threads=1) as context:
        context.decode([5] * 256)
        with pytest.raises(ContextFullError, match="256"):
            context.decode([5])


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"tokens": "text"}, TypeError, "tokens"),
        ({"tokens": [1.0]}, TypeError, "tokens"),
        ({"tokens": []}, ValueError, "token"),
        ({"tokens": [10**6]}, ValueError, "token"),
        ({"tokens": [5], "sequence": 3}, ValueError, "sequence"),
        ({"tokens": [5], "sequence": -1}, ValueError, "sequence"),
        ({"tokens": [5], "sequence": "0"}, TypeError, "sequence"),
        ({"tokens": [5], "sequence": 0, "sequences": [1]}, TypeError, "sequences"),
        ({"tokens": [5], "sequences": []}, ValueError, "sequence"),
        ({"tokens": [5], "sequences": [0, 0]}, ValueError, "sequence"),
        ({"tokens": [5], "positions": [7]}, ValueError, "position"),
        ({"tokens": [5], "positions": [0, 1]}, ValueError, "position"),
        ({"tokens": [5], "logits": "some"}, ValueError, "logits"),
        ({"tokens": [5], "logits": [True, True]}, ValueError, "logits"),
        ({"tokens": [5], "logits": [1]}, TypeError, "logits"),
        ({"tokens": [5], "logits": True}, TypeError, "logits"),
    ],
)
def test_wrong_argument_is_named_and_nothing_happens(context: Context, options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        context.decode(**options)
    assert [context.next_position(sequence) for sequence in range(3)] == [0, 0, 0]
    context.decode([5])


def test_wrong_options_are_refused(smollm2: Model) -> None:
    for options in ({"context_size": 0}, {"max_sequences": 0}, {"kv_type": "i32"}, {"flash_attention": "maybe"}, {"threads": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            smollm2.create_context(**options)


def test_states_are_never_written_over_their_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    (tmp_path / "link.gguf").symlink_to(path)
    before = path.read_bytes()
    with Model.load(path) as model, model.create_context(context_size=64) as context:
        context.decode([1, 40, 77])
        for out in (path, tmp_path / "link.gguf"):
            with pytest.raises(OSError, match="it is the model's own file") as caught:
                context.save_state(out)
            assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(out))
        with pytest.raises(FileNotFoundError) as missing:
            context.save_state(tmp_path / "missing" / "state")
        assert missing.value.filename == str(tmp_path / "missing" / "state")
    assert path.read_bytes() == before
