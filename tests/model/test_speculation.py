"""Tokens that are guessed ahead, on real models."""

from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from support.tiny_embedders import tiny_embedder
from tabagent import Model, SamplerConfig, SpeculativeConfig

GREEDY = SamplerConfig.greedy()
LINES = "".join(
    f"{number}. The {colour} box holds {number * 7} apples.\n" for number, colour in enumerate(("red", "blue", "green", "white", "black") * 2, 1)
)
COPY = f"{LINES}\nThe same list once more:\n{LINES[:90]}"


@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_text_that_repeats_is_drafted_and_stays_the_same(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    plain = model.generate(COPY, max_tokens=96, sampling=GREEDY, ignore_eos=True).result()
    # How much is drafted follows from measured times, which other work on the machine disturbs: one of a few tries is undisturbed.
    for _ in range(5):
        drafted = model.generate(COPY, max_tokens=96, sampling=GREEDY, ignore_eos=True, speculative="lookup").result()
        if drafted.usage.accepted_tokens > 30:
            break
    assert (plain.usage.drafted_tokens, plain.usage.accepted_tokens) == (0, 0)
    assert drafted.usage.completion_tokens == 96
    assert drafted.usage.drafted_tokens >= drafted.usage.accepted_tokens > 30
    assert_alike(model, COPY, drafted.tokens, plain.tokens)


def test_many_requests_draft_side_by_side(smollm2: Model) -> None:
    prompts = [f"{LINES}\nAgain, from line {line}:\n{line}." for line in range(1, 7)]
    plain = [model_text.tokens for model_text in smollm2.generate_batch(prompts, max_tokens=48, sampling=GREEDY, ignore_eos=True)]
    before = smollm2.metrics()
    drafted = list(smollm2.generate_batch(prompts, max_tokens=48, sampling=GREEDY, ignore_eos=True, speculative=SpeculativeConfig(max_draft=6)))
    for prompt, got, want in zip(prompts, drafted, plain, strict=True):
        assert_alike(smollm2, prompt, got.tokens, want)
    after = smollm2.metrics()
    assert after.drafted_tokens - before.drafted_tokens == sum(done.usage.drafted_tokens for done in drafted)
    assert after.accepted_tokens - before.accepted_tokens == sum(done.usage.accepted_tokens for done in drafted)


def test_drafts_go_together_with_stops_bans_grammars_and_logprobs(smollm2: Model) -> None:
    whole = smollm2.generate(COPY, max_tokens=64, sampling=GREEDY, speculative="lookup", ignore_eos=True).result().tokens
    stopped = smollm2.generate(COPY, max_tokens=64, sampling=GREEDY, speculative="lookup", ignore_eos=True, stop="apples", logprobs=1).result()
    assert stopped.finish_reason == "stop"
    assert stopped.stop_match is not None
    assert stopped.stop_match.value == "apples"
    # The stop string ends the text, to the character, at its first place.
    said = smollm2.detokenize(stopped.tokens)
    assert stopped.text == said.partition("apples")[0]
    # How much is drafted, and so the shape of batches, follows from measured times.
    assert_alike(smollm2, COPY, stopped.tokens, whole[: len(stopped.tokens)])
    assert stopped.logprobs is not None
    assert tuple(entry.token for entry in stopped.logprobs) == stopped.tokens
    banned = smollm2.generate(COPY, max_tokens=64, sampling=GREEDY, speculative="lookup", ban="apples").result()
    assert "apples" not in banned.text
    shaped = smollm2.generate(
        COPY, max_tokens=64, sampling=GREEDY, speculative="lookup", regex=r"([0-9]{1,2}\. The [a-z]{3,5} box holds [0-9]{1,2} apples\.\n){2}"
    ).result()
    assert shaped.constraint_complete


def test_texts_that_were_generated_before_come_faster(smollm2_path: Path) -> None:
    prompt = "The quiet harbour town had a lighthouse keeper who"
    with Model.load(smollm2_path, threads=1, context_size=512) as model:
        options: dict[str, Any] = {"max_tokens": 48, "sampling": GREEDY, "ignore_eos": True}
        plain = model.generate(prompt, **options).result()
        apart = SpeculativeConfig(shared=False)
        # How much is drafted follows from measured times, which other work on the machine disturbs: one of a few tries is undisturbed.
        for _ in range(5):
            alone = model.generate(prompt, **options, speculative=apart).result().usage.accepted_tokens
            again = model.generate(prompt, **options, speculative="lookup").result()
            if again.usage.accepted_tokens > alone + 10:
                break
        assert again.usage.accepted_tokens > alone + 10
        assert_alike(model, prompt, again.tokens, plain.tokens)
    with pytest.raises(TypeError, match="`shared` must be True or False, got int"):
        SpeculativeConfig(shared=1)  # type: ignore[arg-type]


def test_same_seed_gives_the_same_text(smollm2: Model) -> None:
    warm = SamplerConfig(temperature=0.3, top_p=0.9, seed=7)
    texts = {smollm2.generate(COPY, max_tokens=12, sampling=warm, speculative=speculative).result().text for speculative in (None, "lookup")}
    assert len(texts) == 1


def test_memory_that_cannot_go_back_and_deterministic_models_draft_nothing(smollm2_path: Path, tmp_path: Path) -> None:
    (tmp_path / "mamba.gguf").write_bytes(tiny_embedder("mamba", context=512).to_bytes())
    with Model.load(tmp_path / "mamba.gguf", threads=1, context_size=512) as recurrent:
        done = recurrent.generate([1, 2, 3, 4] * 20, max_tokens=40, sampling=GREEDY, ignore_eos=True, speculative="lookup").result()
        assert (done.usage.completion_tokens, done.usage.drafted_tokens) == (40, 0)
    with Model.load(smollm2_path, threads=1, context_size=512, deterministic=True) as model:
        plain, drafted = (
            model.generate(COPY, max_tokens=24, sampling=GREEDY, ignore_eos=True, speculative=speculative).result()
            for speculative in (None, "lookup")
        )
        assert drafted.tokens == plain.tokens
        assert drafted.usage.drafted_tokens == 0


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ("draft", ValueError, "`speculative` must be 'lookup', a Model, a SpeculativeConfig or None, got 'draft'"),
        (3, TypeError, "`speculative` must be 'lookup', a Model, a SpeculativeConfig or None, got int"),
        (True, TypeError, "got bool"),
    ],
)
def test_wrong_values_are_named(smollm2: Model, wrong: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        smollm2.generate("a", speculative=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_match": 0}, "`min_match`"),
        ({"max_draft": 65}, "`max_draft`"),
        ({"min_match": 5, "max_match": 4}, "`max_match` must be at least `min_match`, got 4 with `min_match=5`"),
    ],
)
def test_limits_of_the_settings(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SpeculativeConfig(**options)
