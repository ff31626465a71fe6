"""Contexts and memory: what fits is made, what does not is refused before any of it is allocated."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tiny_models import tiny_llama
from tabagent import Model, OutOfMemoryError, StateError


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with Model.load(path) as loaded:
        yield loaded


def test_a_million_cells_work(model: Model) -> None:
    with model.create_context(context_size=2**20) as context:
        assert context.context_size == 2**20
        context.decode([5] * 600)
        assert context.logits().shape == (model.vocab_size(),)


def test_masks_that_do_not_fit_are_refused_at_once(model: Model) -> None:
    began = time.monotonic()
    with pytest.raises(OutOfMemoryError, match="needs about"):
        # 2 TiB of masks.
        model.create_context(context_size=2**24, batch_size=2**16, micro_batch_size=2**16)
    assert time.monotonic() - began < 1.0


def test_many_tokens_in_many_sequences_are_refused_before_a_batch_is_built(model: Model) -> None:
    # As a batch, they would take 40 GB.
    many = [0] * 100_000
    with model.create_context(context_size=64, max_sequences=2) as context:
        with pytest.raises(ValueError, match="100000 tokens"):
            context.decode(many, sequences=many)
        with pytest.raises(ValueError, match="in each only once"):
            context.decode([5], sequences=many)
        context.decode([5], sequences=[0, 1])


def test_states_are_read_from_regular_files_that_begin_as_one(model: Model, tmp_path: Path) -> None:
    pipe, long = tmp_path / "pipe", tmp_path / "long"
    os.mkfifo(pipe)
    with long.open("wb") as file:
        file.truncate(2**40)
    with model.create_context(context_size=64) as context:
        with pytest.raises(OSError, match="it is a device or a pipe; give the path of a file"):
            context.save_state(pipe)
        assert pipe.is_fifo()
        for path in (pipe, Path("/dev/zero"), tmp_path):
            with pytest.raises(StateError, match="no regular file"):
                context.load_state(path)
        with pytest.raises(StateError, match="TABSTATE"):
            context.load_state(long)
        context.decode([5])
