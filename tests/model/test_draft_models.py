"""Tokens that a smaller model guesses ahead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from support.tiny_embedders import tiny_embedder
from tabagent import ClosedError, Model, SamplerConfig, SpeculativeConfig, gguf

GREEDY = SamplerConfig.greedy()
WARM = SamplerConfig(temperature=0.9, seed=3)
PROMPT = "In a village by the sea there lived a baker who"


@pytest.fixture(scope="module")
def twin(smollm2_path: Path) -> Iterator[Model]:
    """A draft model that guesses right."""
    with Model.load(smollm2_path, threads=1, context_size=512) as model:
        yield model


@pytest.fixture(scope="module")
def stub(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A draft model of three layers, which mostly guesses wrong."""
    path = tmp_path_factory.mktemp("draft") / "stub.gguf"
    gguf.quantize_model(smollm2_path, path, "Q4_0", prune_layers=range(2, 29), allow_requantize=True)
    with Model.load(path, threads=1, context_size=512) as model:
        yield model


@pytest.mark.parametrize("draft", ["twin", "stub"])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_the_text_is_the_one_without_drafts(smollm2: Model, draft: str, sampling: SamplerConfig, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(draft)
    options: dict[str, Any] = {"max_tokens": 60, "sampling": sampling, "ignore_eos": True}
    plain = smollm2.generate(PROMPT, **options).result()
    for speculative in (model, SpeculativeConfig(draft_model=model, max_draft=3)):
        done = smollm2.generate(PROMPT, **options, speculative=speculative).result()
        # On this model batches of any shape give the same logits.
        assert done.tokens == plain.tokens
        assert done.usage.drafted_tokens > 0
        assert done.usage.accepted_tokens <= done.usage.drafted_tokens
        if draft == "twin" and sampling == GREEDY:
            assert done.usage.accepted_tokens >= 0.8 * done.usage.drafted_tokens


def test_a_model_guesses_for_itself(smollm2: Model) -> None:
    plain = smollm2.generate(PROMPT, max_tokens=30, sampling=GREEDY, ignore_eos=True).result()
    assert smollm2.generate(PROMPT, max_tokens=30, sampling=GREEDY, ignore_eos=True, speculative=smollm2).result().tokens == plain.tokens


def test_long_prompts_are_read_in_parts(smollm2: Model, twin: Model) -> None:
    prompt = [1000 + number % 50 for number in range(400)]
    plain = smollm2.generate(prompt, max_tokens=40, sampling=GREEDY, ignore_eos=True, cache_prompt=False).result()
    done = smollm2.generate(prompt, max_tokens=40, sampling=GREEDY, ignore_eos=True, cache_prompt=False, speculative=twin).result()
    assert done.usage.drafted_tokens > 0
    assert_alike(smollm2, prompt, done.tokens, plain.tokens)


def test_texts_that_outgrow_the_draft_model_go_on(smollm2: Model, smollm2_path: Path) -> None:
    with Model.load(smollm2_path, threads=1, context_size=32) as small:
        plain = smollm2.generate(PROMPT, max_tokens=80, sampling=GREEDY, ignore_eos=True).result()
        assert smollm2.generate(PROMPT, max_tokens=80, sampling=GREEDY, ignore_eos=True, speculative=small).result().tokens == plain.tokens


def test_more_texts_than_it_guesses_for(smollm2: Model, twin: Model) -> None:
    plain = smollm2.generate(PROMPT, max_tokens=20, sampling=GREEDY, ignore_eos=True).result()
    for _ in range(2):
        streams = [smollm2.generate(PROMPT, max_tokens=20, sampling=GREEDY, ignore_eos=True, speculative=twin) for _ in range(7)]
        # Beside others, the last bits of logits are others.
        assert [len(stream.result().tokens) for stream in streams] == [20] * 7
    assert smollm2.generate(PROMPT, max_tokens=20, sampling=GREEDY, ignore_eos=True, speculative=twin).result().tokens == plain.tokens


def test_beside_grammars_bans_sessions_and_forks(smollm2: Model, twin: Model) -> None:
    def texts(speculative: Model | None) -> list[object]:
        with smollm2.session(sampling=WARM) as session:
            session.append(PROMPT)
            said = [session.generate(max_tokens=12, ignore_eos=True, speculative=speculative).result().text for _ in range(3)]
        with smollm2.generate(PROMPT, max_tokens=20, sampling=WARM, ignore_eos=True, speculative=speculative) as stream:
            next(stream)
            fork = stream.fork().result().tokens
        banned = smollm2.generate(PROMPT, max_tokens=20, sampling=WARM, ignore_eos=True, ban=" the", speculative=speculative).result().tokens
        form = smollm2.generate("A number: ", regex="[0-9]{3}-[0-9]{3}", sampling=WARM, speculative=speculative).result().text
        return [*said, fork, banned, form]

    assert texts(twin) == texts(None)


def test_other_vocabularies_are_refused(smollm2: Model, gemma: Model, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="the draft model has another vocabulary than this one: it has 262144 tokens where this one has 49152; take a smaller"
    ):
        smollm2.generate(PROMPT, speculative=gemma)
    (tmp_path / "mamba.gguf").write_bytes(tiny_embedder("mamba", context=512).to_bytes())
    with Model.load(tmp_path / "mamba.gguf", threads=1, context_size=512) as recurrent, pytest.raises(ValueError, match="attention alone"):
        smollm2.generate(PROMPT, speculative=recurrent)


def test_models_that_cannot_draft_are_named(smollm2: Model, smollm2_path: Path) -> None:
    draft = Model.load(smollm2_path, threads=1, context_size=256)
    stream = smollm2.generate(PROMPT, max_tokens=60, sampling=GREEDY, ignore_eos=True, speculative=draft)
    next(stream)
    draft.close()
    assert len(stream.result().tokens) == 60
    with pytest.raises(ClosedError):
        smollm2.generate(PROMPT, speculative=draft)
    with pytest.raises(TypeError, match="`draft_model` must be a Model, got str"):
        SpeculativeConfig(draft_model="small.gguf")  # type: ignore[arg-type]
    assert SpeculativeConfig().max_draft == 16
    assert SpeculativeConfig(draft_model=smollm2).max_draft == 8
