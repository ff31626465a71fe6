"""Scores and perplexity, against logits that are decoded step by step."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from near_ties import assert_alike
from tabagent import ClosedError, ContextFullError, Model, SamplerConfig, UnsupportedModelError

TEXT = (
    "The harbour was quiet when the first boats came back. Nets lay drying on the stones, and the old women who mended them spoke of the winter "
    "when the sea froze as far as the lighthouse and people walked to the island for bread."
)


def logprob(logits: NDArray[np.float32], token: int) -> float:
    """A token's log-probability in double precision."""
    row = logits.astype(np.float64)
    return float(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))


def reference(model: Model, before: Sequence[int], *choices: Sequence[int]) -> list[list[float]]:
    """The log-probability of each token of each choice.

    Decoded in the batches that scoring makes: quantized weights give other logits in batches of other sizes, by up to 0.2 on Gemma.
    """
    found = []
    with model.create_context(context_size=512) as context:
        context.decode([*before, *choices[0][:-1]], logits="all")
        last = context.logits(len(before) - 1)
        for index, choice in enumerate(choices):
            rows = [last]
            if index:
                context.remove(start=len(before))
                if len(choice) > 1:
                    context.decode(choice[:-1], logits="all")
            first = 0 if index else len(before)
            rows += [context.logits(first + place) for place in range(len(choice) - 1)]
            found.append([logprob(row, token) for row, token in zip(rows, choice, strict=True)])
    return found


@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_choices_have_the_probability_that_their_logits_say(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    prompt = "The capital of France is"
    choices = [" Paris", " London", " a city in the north of the country, and", " Paris"]
    scores = model.score(prompt, choices)
    assert [score.text for score in scores] == choices
    before = model.tokenize(prompt)
    for score, expected in zip(scores, reference(model, before, *(score.tokens for score in scores)), strict=True):
        assert model.detokenize(score.tokens) == score.text
        assert np.allclose(score.logprobs, expected, atol=1e-4)
        assert math.isclose(score.logprob, sum(score.logprobs))
    assert scores[0] == scores[3]
    assert max(scores, key=lambda score: score.probability).text == " Paris"
    assert math.isclose(sum(score.probability for score in scores), 1.0)


def test_prompt_is_decoded_once(smollm2: Model) -> None:
    tokens = smollm2.tokenize(TEXT)
    stream = smollm2._native.score(tokens, [[5, 6, 7]] * 20, False)
    while stream.next_event() is not None:
        pass
    summary = stream.summary()
    assert summary is not None
    assert (summary["prompt_tokens"], summary["completion_tokens"]) == (len(tokens), 60)
    assert summary["decode_s"] < 60 * summary["prompt_s"]


def test_choice_that_changes_the_prompts_tokens_is_scored_with_them(smollm2: Model) -> None:
    scores = smollm2.score("Once upon a ti", ["me", "ger"])
    for score, whole in zip(scores, ("Once upon a time", "Once upon a tiger"), strict=True):
        tokens = smollm2.tokenize(whole)
        assert tokens[-len(score.tokens) :] == list(score.tokens)
    assert scores[0].probability > scores[1].probability


def test_choices_may_be_tokens_and_the_prompt_be_cached(smollm2: Model) -> None:
    before, after = smollm2.tokenize("Once upon a"), smollm2.tokenize(" time")
    plain = smollm2.score(before, [after, np.array(after)])
    assert plain[0].tokens == tuple(after)
    assert plain[0].text == " time"
    for _ in range(2):
        cached = smollm2.score("Once upon a", [" time"], cache_prompt=True)
        assert np.allclose(cached[0].logprobs, plain[0].logprobs, atol=3e-2)


def test_scoring_takes_its_turn_among_streams(smollm2: Model) -> None:
    wanted = smollm2.generate(TEXT, max_tokens=12, sampling=SamplerConfig.greedy()).result().tokens
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(smollm2.score(TEXT, [" one", " two three"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    # Requests that share a step change the shape of its batch, and with it the last bits of logits.
    assert_alike(smollm2, TEXT, smollm2.generate(TEXT, max_tokens=12, sampling=SamplerConfig.greedy()).result().tokens, wanted)
    for thread in threads:
        thread.join(30)
    assert len(found) == 3
    for scores in found:
        assert [score.logprob for score in scores] == pytest.approx([score.logprob for score in found[0]], abs=1.0)


@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_perplexity_is_that_of_llama_cpps_windows(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    tokens, size = model.tokenize(TEXT), 16
    expected: list[float] = []
    for start in range(0, len(tokens) - size + 1, size):
        window = tokens[start : start + size]
        bos = model.token_bos()
        if model.adds_bos and bos is not None:
            window[0] = bos
        expected += reference(model, window[:9], window[9:])[0]
    found = model.perplexity(TEXT, context_size=size)
    assert (found.tokens, found.windows) == (len(expected), len(tokens) // size)
    assert math.isclose(found.nll, -sum(expected), rel_tol=1e-4)
    assert math.isclose(found.perplexity, math.exp(found.nll / found.tokens))


def test_perplexity_of_a_short_text_scores_all_but_the_first_token(smollm2: Model) -> None:
    tokens = smollm2.tokenize(TEXT)
    found = smollm2.perplexity(TEXT)
    assert (found.tokens, found.windows) == (len(tokens) - 1, 1)
    assert math.isclose(found.nll, -sum(reference(smollm2, tokens[:1], tokens[1:])[0]), rel_tol=1e-2)
    strided = smollm2.perplexity(tokens, context_size=32, stride=8)
    assert strided.tokens == len(tokens) - 1
    assert found.perplexity < strided.perplexity < smollm2.perplexity(list(reversed(tokens))).perplexity


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"text": "a"}, ValueError, "give a longer text"),
        ({"text": 3}, TypeError, "`text`"),
        ({"text": TEXT, "context_size": 3}, ValueError, "`context_size` must be at least 4"),
        ({"text": TEXT, "context_size": 513}, ValueError, "`context_size` must be at most 512"),
        ({"text": TEXT, "context_size": 16, "stride": 16}, ValueError, "`stride` must be at most 15"),
    ],
)
def test_wrong_arguments_of_perplexity_are_named(smollm2: Model, arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        smollm2.perplexity(**arguments)


def test_prompt_with_nothing_before_the_scored_tokens_is_named(smollm2: Model) -> None:
    empty: list[str | list[int]] = ["", []]
    for prompt in empty:
        with pytest.raises(ValueError, match="`prompt` has no tokens"):
            smollm2.score(prompt, ["Paris", "London"])
    with pytest.raises(ValueError, match="`prompt` changes its first token with a choice after it"):
        smollm2.score("a", ["b"])


def test_text_that_cannot_be_encoded_is_named(smollm2: Model) -> None:
    with pytest.raises(ValueError, match=r"`prompt` holds the lone surrogate U\+D800 at index 1"):
        smollm2.score("a\ud800", ["b"])
    with pytest.raises(ValueError, match=r"`choices\[1\]` holds the lone surrogate U\+D800 at index 0"):
        smollm2.score("a", ["b", "\ud800"])


def test_what_does_not_fit_is_an_error(smollm2: Model, smollm2_path: Any, smollm2_vocabulary: Model) -> None:
    with pytest.raises(ContextFullError, match=r"the prompt and continuation 1 have 514 tokens but the context holds 512"):
        smollm2.score([5] * 510, [[6], [6, 7, 8, 9]])
    with pytest.raises(ContextFullError):
        smollm2.score([5] * 600, [[6]])
    with pytest.raises(ValueError, match="ids go from 0 to 49151"):
        smollm2.score([5], [[60_000]])
    with pytest.raises(UnsupportedModelError):
        smollm2_vocabulary.score("a", ["b"])
    model = Model.load(smollm2_path, context_size=64, threads=1)
    model.close()
    with pytest.raises(ClosedError):
        model.score([1], [[2]])
