"""Conversations of several turns over each kind of memory: what is decoded already is used again, or cleanly computed anew."""

from pathlib import Path
from typing import Final

import pytest

from near_ties import assert_alike
from support.tiny_memories import MEMORIES, memory_file
from tabagent import Model, SamplerConfig

GREEDY: Final = SamplerConfig.greedy()
# What the user adds in each turn.
TURNS: Final = ([5, 9, 33, 7] * 6, [12, 40, 8], [77, 3, 21, 21, 6], [90], [44, 45, 46, 47] * 5)


@pytest.fixture(params=MEMORIES)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Each kind of memory, and a model file with it."""
    return request.param, memory_file(request.param, tmp_path)


def talk(model: Model, *, cache_prompt: bool) -> tuple[list[list[int]], list[tuple[int, ...]], list[int]]:
    """Five turns: the prompts, the answers, and how many tokens of each prompt were there already."""
    text: list[int] = []
    prompts, answers, cached = [], [], []
    for turn in TURNS:
        text = [*text, *turn]
        done = model.generate(text, max_tokens=12, sampling=GREEDY, ignore_eos=True, add_special=False, cache_prompt=cache_prompt).result()
        prompts.append(text)
        answers.append(done.tokens)
        cached.append(done.usage.cached_tokens)
        text = [*text, *done.tokens]
    return prompts, answers, cached


def test_turns_of_a_deterministic_model_are_those_of_a_cold_one(memory: tuple[str, Path]) -> None:
    _, path = memory
    with Model.load(path, threads=1, context_size=512, deterministic=True) as model:
        _, warm, cached = talk(model, cache_prompt=True)
        _, cold, _ = talk(model, cache_prompt=False)
    assert warm == cold
    assert cached == [0] * len(TURNS)


def test_turns_use_what_is_decoded_and_say_the_same(memory: tuple[str, Path]) -> None:
    name, path = memory
    with Model.load(path, threads=1, context_size=512) as model:
        prompts, warm, cached = talk(model, cache_prompt=True)
        _, cold, _ = talk(model, cache_prompt=False)
        for prompt, got, want in zip(prompts, warm, cold, strict=True):
            # Each turn continues the answer before, so they can be compared as long as these are the same.
            assert_alike(model, prompt, got, want)
            if got != want:
                break
    assert cached[0] == 0
    # All of the turn before but its last token, which was never decoded, is there: a state that cannot be cut is one that is continued.
    for before, prompt, n_cached in zip(prompts, prompts[1:], cached[1:], strict=False):
        assert n_cached == len(before) + 11, (name, cached)
        assert n_cached < len(prompt)


def test_turns_that_go_back_are_recomputed_where_the_memory_cannot(memory: tuple[str, Path]) -> None:
    _, path = memory
    with Model.load(path, threads=1, context_size=512) as model:
        text = TURNS[0]
        answers = [
            model.generate([*text, *more], max_tokens=12, sampling=GREEDY, ignore_eos=True, add_special=False, cache_prompt=cache).result().tokens
            for more in ([50, 51], [60], [50, 51, 52], [])
            for cache in (True, False)
        ]
        for more, warm, cold in zip(([50, 51], [60], [50, 51, 52], []), answers[::2], answers[1::2], strict=True):
            assert_alike(model, [*text, *more], warm, cold)
