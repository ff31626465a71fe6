"""How many threads a model computes with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import tabagent
from tabagent import Model, SamplerConfig

GREEDY = SamplerConfig.greedy()


def in_use(model: Model) -> tuple[int, int]:
    stats = model.stats
    return stats.threads, stats.prompt_threads


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 2}, {"deterministic": True}], ids=str)
@pytest.mark.filterwarnings("ignore:`threads=2` is more than")
def test_number_that_is_given_stays(smollm2_path: Path, options: dict[str, Any]) -> None:
    with Model.load(smollm2_path, context_size=512, **options) as model:
        wanted = options.get("threads", tabagent.hardware().default_threads)
        assert model.info.threads == wanted
        assert in_use(model) == (wanted, wanted)
        seen = set()
        # With one step of another number among them this would be a set of two.
        for _ in model.generate("Once upon a time", max_tokens=48, ignore_eos=True):
            seen.add(in_use(model))
        assert seen == {(wanted, wanted)}


def test_default_is_at_most_the_usable_cores_and_gives_the_same_text(smollm2_path: Path) -> None:
    options: dict[str, Any] = {"max_tokens": 64, "ignore_eos": True, "sampling": GREEDY}
    with Model.load(smollm2_path, context_size=512, threads=1) as fixed:
        wanted = fixed.generate("Once upon a time", **options).result().text
    with Model.load(smollm2_path, context_size=512) as model:
        most = tabagent.hardware().default_threads
        assert model.info.threads == most
        assert in_use(model) == (most, most), "nothing was measured"
        assert model.generate("Once upon a time", **options).result().text == wanted
        assert all(1 <= count <= most for count in in_use(model))


def test_model_without_weights_uses_none(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, vocab_only=True) as model:
        assert in_use(model) == (0, 0)
        assert {"threads", "prompt_threads"} <= {field.name for field in dataclasses.fields(model.stats)}
