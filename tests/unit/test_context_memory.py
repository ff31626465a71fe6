"""Contexts and memory: what fits is made, what does not is refused before any of it is allocated."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from child import check
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


@pytest.mark.parametrize(
    ("options", "sequences"),
    [({}, 8), ({"context_size": 1}, 1), ({"batch_size": 4}, 4), ({"batch_size": 1}, 1), ({"batch_size": 4, "max_sequences": 3}, 3)],
)
def test_defaults_fit_themselves_to_what_was_given(tmp_path: Path, options: dict[str, int], sequences: int) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with Model.load(path, threads=1, **options) as model:  # type: ignore[arg-type] # only integers
        assert model.info.max_sequences == sequences
        context = model.create_context(threads=1, **{name: value for name, value in options.items() if name != "max_sequences"})  # type: ignore[arg-type]
        assert context.max_sequences == 1


def test_only_what_was_given_is_complained_about(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(ValueError, match="`max_sequences` must be between 1 and 4, got `8`"):
        Model.load(path, threads=1, batch_size=4, max_sequences=8)


@pytest.mark.parametrize("kv_type", ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
def test_a_kv_type_that_does_not_divide_the_heads_is_refused(tmp_path: Path, kv_type: str) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(ValueError, match=f"`kv_type` `{kv_type}` stores blocks of 32 numbers, and this model has heads of 8; take `f16`"):
        Model.load(path, threads=1, kv_type=kv_type)
    with Model.load(path, threads=1) as model, pytest.raises(ValueError, match=f"`kv_type` `{kv_type}` needs fused attention"):
        model.create_context(threads=1, kv_type=kv_type, flash_attention="off")


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_limits_of_the_process_are_memory_limits(tmp_path: Path, limit: str, kv_type: str) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    program = f"""
        import resource, sys
        from pathlib import Path
        from tabagent import Model, OutOfMemoryError
        with Model.load(sys.argv[1], threads=1) as model:
            pages = [int(field) for field in Path("/proc/self/statm").read_text().split()]
            used = pages[{5 if limit == "RLIMIT_DATA" else 0}] * resource.getpagesize()
            resource.setrlimit(resource.{limit}, (used + (600 << 20), -1))
            for size in (2**24, 2**23, 2**22, 2**21):
                try:
                    model.create_context(context_size=size, threads=1, kv_type="{kv_type}")
                except OutOfMemoryError as error:
                    print("lower `context_size`" in str(error))
            model.create_context(context_size=2**12, threads=1, kv_type="{kv_type}").close()
    """
    assert check(program, path) == "True\n" * 4


def test_metadata_and_vocabulary_do_not_need_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama("bpe").to_bytes())
    program = """
        import os, sys
        from tabagent import Model
        model = Model.load(sys.argv[1], threads=1, context_size=64)
        os.truncate(sys.argv[1], 0)
        print(model.metadata["general.name"], model.info.architecture, model.chat_template(), model.stats.active)
        tokens = model.tokenize("ab a")
        print(model.detokenize(tokens), model.token_text(tokens[-1]), model.token_attributes(tokens[-1]), model.token_eos())
        print(model.compile_grammar(regex="[ab]+").start().can_end)
        model.close()
    """
    assert check(program, path).splitlines() == ["tiny llama None 0", "<s>ab a Ġa ['normal'] 2", "False"]
