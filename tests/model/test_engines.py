"""The project's own engine under a model: what it computes, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from support.tiny_architectures import tiny_context
from support.tiny_models import tiny_llama
from tabagent import Model, ModelLoadCancelledError, SamplerConfig, UnsupportedModelError

GREEDY = SamplerConfig.greedy()


@pytest.fixture(scope="module")
def ours(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, engine="rust", context_size=1024, threads=1) as model:
        yield model


def test_the_info_says_which_engine_computes(ours: Model, smollm2: Model) -> None:
    assert (ours.info.engine, smollm2.info.engine) == ("rust", "llama.cpp")
    for fact in ("architecture", "parameters", "size", "layers", "context_train_size", "vocab_size"):
        assert getattr(ours.info, fact) == getattr(smollm2.info, fact), fact
    assert (ours.info.context_size, ours.info.threads, ours.info.kv_types) == (1024, 1, ("f16", "f16"))
    assert ours.info.memory.weights > 0


def test_it_says_what_llama_cpp_says(ours: Model, smollm2: Model) -> None:
    for prompt in ("The capital of France is", "1, 2, 3, 4, 5,"):
        got, want = (model.generate(prompt, max_tokens=8, sampling=GREEDY, ignore_eos=True).result().tokens for model in (ours, smollm2))
        assert_alike(smollm2, prompt, got, want)


def test_streams_run_side_by_side_and_use_what_others_began_with(ours: Model) -> None:
    prompts = [f"{'The quick brown fox jumps over the lazy dog. ' * 6}Number {n}:" for n in range(12)]
    alone = [ours.generate(prompt, max_tokens=12, sampling=GREEDY).result() for prompt in prompts]
    streams = [ours.generate(prompt, max_tokens=12, sampling=GREEDY) for prompt in prompts]
    together = [stream.result() for stream in streams]
    assert sum(one.text == other.text for one, other in zip(alone, together, strict=True)) >= len(prompts) - 2, "more differ than near ties explain"
    assert together[-1].usage.cached_tokens > 40


def test_chat_constraints_scores_and_sessions_work_over_it(ours: Model, tmp_path: Path) -> None:
    answer = ours.chat([{"role": "user", "content": "Say hello."}], max_tokens=16, sampling=GREEDY).result()
    assert answer.content
    chosen = ours.generate("Is water wet? Answer:", choices=["yes", "no"], sampling=GREEDY).result()
    assert chosen.text in {"yes", "no"}
    with ours.session(sampling=GREEDY) as session:
        session.append("My name is Ada and I live in London, where I write programs for a machine.")
        session.generate(max_tokens=4, ignore_eos=True).result()
        session.save(tmp_path / "a.session")
        done = session.generate(max_tokens=8, ignore_eos=True).result()
        with ours.load_session(tmp_path / "a.session") as loaded:
            again = loaded.generate(max_tokens=8, ignore_eos=True).result()
            assert (again.tokens, loaded.tokens) == (done.tokens, session.tokens)
            assert again.usage.cached_tokens > 15


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.embed("a"),
        lambda model: model.create_context(),
        lambda model: model.load_adapter(__file__),
    ],
)
def test_what_needs_the_weights_in_llama_cpp_says_so(ours: Model, call: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="`engine='rust'`"):
        call(ours)


@pytest.mark.filterwarnings("ignore:.*llama.cpp finds no GPU here")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gpu_layers", 3),
        ("devices", ["cpu", "cuda"]),
        ("isolation", "process"),
        ("kv_type", "q8_0"),
        ("kv_unified", False),
        ("metadata_overrides", {"llama.context_length": 10}),
        ("mlock", True),
        ("prompt_threads", 1),
        ("fit", True),
    ],
)
def test_options_that_it_does_not_have_are_refused(smollm2_path: Path, option: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"`{option}`"):
        Model.load(smollm2_path, engine="rust", **{option: value})


def test_a_load_stops_when_told(smollm2_path: Path) -> None:
    with pytest.raises(ModelLoadCancelledError):
        Model.load(smollm2_path, engine="rust", progress=lambda _: False)


def test_unknown_engines_and_architectures_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(ValueError, match=r"`engine` must be .*`rust`"):
        Model.load(path, engine="fast")  # type: ignore[arg-type]
    with Model.load(path, engine="rust") as model:
        assert len(model.generate("a", max_tokens=3, ignore_eos=True).result().tokens) == 3
    path.write_bytes(tiny_context("recurrent").to_bytes())
    with pytest.raises(UnsupportedModelError, match=r"architecture `mamba`.*`engine='llama.cpp'`"):
        Model.load(path, engine="rust")
