"""Which prompts are decoded anew, and which begin with what is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tabagent import Model, SamplerConfig

LONG = "One two three four five six seven eight nine ten. " * 12
SHORT = "The capital of France is"


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, threads=1, context_size=1024) as model:
        yield model


def cached(model: Model, prompt: str, *, cache_prompt: bool | None = None) -> int:
    return model.generate(prompt, max_tokens=2, cache_prompt=cache_prompt).result().usage.cached_tokens


def test_long_prompts_are_cached_unless_one_says_otherwise(model: Model) -> None:
    n_tokens = len(model.tokenize(LONG, add_special=True))
    assert n_tokens > 100
    assert cached(model, LONG) == 0
    assert cached(model, LONG) == n_tokens - 1
    assert model.generate(LONG, max_tokens=1).result().usage.cached_tokens == n_tokens - 1
    assert cached(model, LONG, cache_prompt=False) == 0
    assert cached(model, LONG + " And then") >= n_tokens - 1


def test_short_prompts_are_cached_where_one_says_so(model: Model) -> None:
    n_tokens = len(model.tokenize(SHORT, add_special=True))
    assert [cached(model, SHORT) for _ in range(2)] == [0, 0]
    assert [cached(model, SHORT, cache_prompt=True) for _ in range(2)] == [0, n_tokens - 1]
    assert cached(model, SHORT) == 0, "what it would save is not worth it"


def test_beginnings_that_save_little_are_decoded_again(model: Model) -> None:
    few = "A list of colours: red, green, blue, and many more of them, for instance: "
    assert len(model.tokenize(few)) < 64
    for end in ("ships " * 80, "roads " * 80):
        assert cached(model, few + end) == 0


def test_short_prompts_repeat_with_their_seed(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, threads=1, context_size=512) as model:
        texts = {model.generate(SHORT, max_tokens=24, sampling=SamplerConfig(seed=3)).result().text for _ in range(3)}
        assert len(texts) == 1


def test_deterministic_models_cache_nothing(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, threads=1, context_size=1024, deterministic=True) as model:
        assert [cached(model, LONG) for _ in range(2)] == [0, 0]
